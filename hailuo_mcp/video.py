"""MP4 in and out: the animatic of a shot, single frames, contact sheets. The only importer of PyAV."""

import io
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps, ImageStat

from hailuo_mcp import camera, motion

Which = Literal["first", "last"]

_DISSOLVE = (0.3, 0.7)  # of the clip
_TINY_PIXELS = 320 * 240  # up to here the fastest preset is good enough
_THREADS = 2
_BT709 = 1  # the number of BT.709 as colour space, primaries and transfer in H.264
_UNTAGGED = 2
EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT  # halves the error
_LIMITED = 1  # the range 16 to 235
_DECODED_PIXELS_MAX = 3_000_000_000  # 12 s of work: in clips that have more, single frames are sought
_UNRELATED = 100.0  # levels of 255, brightness and colours added: the least that unrelated photographs differ by


class Unreadable(ValueError):
    """The file at `path` cannot be decoded as an MP4 video. `str()` is a sentence that says so."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path.name} {fault}")
        self.path = path


def libraries() -> str:
    """PyAV's version and those of the FFmpeg libraries it brought; raises ValueError where H.264 cannot be written."""
    av.Codec("libx264", "w")
    versions = (f"{name} {'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items()))
    return f"PyAV {av.__version__} with {', '.join(versions)}"


def output_size(first_size: tuple[int, int] | None, short_side: int) -> tuple[int, int]:
    """Even width and height in pixels with the first frame's aspect, or 16:9: 768 gives 1364x768, as the API does."""
    width, height = first_size or (16, 9)
    short = max(short_side // 2, 1) * 2
    long = short * max(width, height) // min(width, height) // 2 * 2
    return (long, short) if width >= height else (short, long)


def render_animatic(
    target: Path,
    *,
    first: Image.Image | None,
    last: Image.Image | None,
    moves: Sequence[camera.Move],
    prompt_length: int,
    seconds: float,
    size: tuple[int, int],
    fps: int = 24,
    caption: str = "",
) -> None:
    """Write a sketch of the shot as H.264: from `first` to `last`, dissolving in the middle, the camera moving.

    Both pictures carry the move, the first from rest and the last to rest, so the ends are the pictures themselves
    (cover-cropped to `size`, which must be even). A command acts from where it stands in a prompt of `prompt_length`
    characters until the next one. The picture is flat: a pan looks like a truck, a tilt like a pedestal.
    A `caption` stands on all frames but the first and the last, with the commands that act at that moment.
    """
    frames = max(round(seconds * fps), 1)
    cues = [(move.at / max(prompt_length, 1), [command.english for command in move.commands]) for move in moves]
    shots = _shots(first, last, motion.journey(cues, frames, seconds), size)
    acting = motion.acting(cues, frames)
    strips = {names: _caption_strip(caption, names, size) for names in set(acting)}

    def draw(at: int) -> list[Image.Image]:
        planes = _blended(shots, at, frames)
        if 0 < at < frames - 1:
            for plane, (color, mask, corner) in zip(planes, strips[acting[at]], strict=False):
                plane.paste(color, corner, mask)
        return planes

    with (
        ThreadPoolExecutor(_THREADS) as pool,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = add_stream(container, size, fps)
        for at, planes in enumerate(_ahead(pool, draw, frames)):
            container.mux(stream.encode(_video_frame(planes, at, size)))
        container.mux(stream.encode(None))


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture with mirrored margins, as its Y, U and V planes, and the box of it that each video frame shows."""

    planes: list[Image.Image]
    boxes: list[tuple[float, float, float, float]]  # pixels of the Y plane
    size: tuple[int, int]

    def draw(self, at: int) -> list[Image.Image]:
        width, height = self.size
        drawn = []
        for plane, step in zip(self.planes, (1, 2, 2), strict=True):
            left, top, right, bottom = (edge / step for edge in self.boxes[at])
            # Pillow refuses a box that leaves the picture by a rounding error.
            box = (max(left, 0.0), max(top, 0.0), min(right, float(plane.width)), min(bottom, float(plane.height)))
            drawn.append(plane.resize((width // step, height // step), Image.Resampling.BILINEAR, box))
        return drawn


def _shots(
    first: Image.Image | None, last: Image.Image | None, path: list[motion.View], size: tuple[int, int]
) -> list[_Shot]:
    frames = len(path)
    seen = [range(frames)] * 2
    if first and last:
        seen = [range(math.ceil(frames * _DISSOLVE[1])), range(int(frames * _DISSOLVE[0]), frames)]
    if not first and not last:
        first = _card(size)
    pictures = [
        (picture, rest, visible)
        for picture, rest, visible in zip((first, last), (0, frames - 1), seen, strict=True)
        if picture
    ]
    path = motion.reined_in(path, [(rest, visible) for _, rest, visible in pictures])
    return [_shot(picture, [view.seen_from(path[rest]) for view in path], size) for picture, rest, _ in pictures]


def _shot(picture: Image.Image, views: list[motion.View], size: tuple[int, int]) -> _Shot:
    width, height = size
    across, down = (math.ceil(side * motion.MARGIN / 2) * 2 for side in size)
    planes = _planes(_with_margins(_covering(picture, size), across, down))
    boxes = [
        (across + left * width, down + top * height, across + right * width, down + bottom * height)
        for left, top, right, bottom in (view.box() for view in views)
    ]
    return _Shot(planes, boxes, size)


def _covering(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in RGB, its middle filling that size; what is transparent becomes white."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS)


def _with_margins(picture: Image.Image, across: int, down: int) -> Image.Image:
    """Mirrored borders, so that a move never shows an edge."""
    width, height = picture.size
    wide = Image.new("RGB", (width + 2 * across, height + 2 * down))
    wide.paste(picture, (across, down))
    mirrored = ImageOps.mirror(picture)
    wide.paste(mirrored.crop((width - across, 0, width, height)), (0, down))
    wide.paste(mirrored.crop((0, 0, across, height)), (across + width, down))
    flipped = ImageOps.flip(wide.crop((0, down, wide.width, down + height)))
    wide.paste(flipped.crop((0, height - down, wide.width, height)), (0, 0))
    wide.paste(flipped.crop((0, 0, wide.width, down)), (0, down + height))
    return wide


def _card(size: tuple[int, int]) -> Image.Image:
    """A picture for a shot that has none: soft colours and a grid, which show which way the camera goes."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    card = Image.merge("RGB", (across, down, Image.radial_gradient("L"))).resize(size, Image.Resampling.BICUBIC)
    step, draw = min(size) / 6, ImageDraw.Draw(card)
    for at in range(1, math.ceil(max(size) / step)):
        draw.line((at * step, 0, at * step, size[1]), fill="white", width=2)
        draw.line((0, at * step, size[0], at * step), fill="white", width=2)
    return card


def _planes(picture: Image.Image) -> list[Image.Image]:
    rgb: av.VideoFrame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    frame = rgb.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT,
    )
    return [
        Image.frombytes("L", (plane.width, plane.height), bytes(plane), "raw", "L", plane.line_size)
        for plane in frame.planes
    ]


def _blended(shots: list[_Shot], at: int, frames: int) -> list[Image.Image]:
    start, end = _DISSOLVE
    share = min(max((at / max(frames - 1, 1) - start) / (end - start), 0.0), 1.0)
    if len(shots) == 1 or share in (0, 1):
        return shots[-1 if share else 0].draw(at)
    share = share * share * (3 - 2 * share)
    return [Image.blend(old, new, share) for old, new in zip(shots[0].draw(at), shots[1].draw(at), strict=True)]


def _caption_strip(
    caption: str, names: Sequence[str], size: tuple[int, int]
) -> list[tuple[Image.Image, Image.Image, tuple[int, int]]]:
    """For each plane what to paste, through which mask, and where. Pillow's own font draws Latin letters only."""
    text = " ".join(caption.encode("ascii", "ignore").decode().split())
    if not text:
        return []
    text += f": {' + '.join(names)}" if names else ""
    width, height = size
    strip = max(min(size) // 24, 7) * 2
    font = ImageFont.load_default(strip * 0.66)
    text = text[: width // 2]
    while text and font.getlength(text) > width - strip:
        text = text[:-1]
    letters = Image.new("L", (width, strip))
    ImageDraw.Draw(letters).text((strip // 2, strip // 2), text, fill=255, font=font, anchor="lm")
    luma = letters.point(lambda level: 16 + level * 219 // 255)
    veil = ImageChops.lighter(letters, Image.new("L", letters.size, 150))
    small = (width // 2, strip // 2)
    gray, thin = Image.new("L", small, 128), veil.resize(small, Image.Resampling.BOX)
    return [(luma, veil, (0, height - strip)), *[(gray, thin, (0, (height - strip) // 2))] * 2]


def _ahead(
    pool: ThreadPoolExecutor, draw: Callable[[int], list[Image.Image]], frames: int
) -> Iterator[list[Image.Image]]:
    """Each frame's planes in order, a few of them drawn while the encoder works."""
    waiting: deque[Future[list[Image.Image]]] = deque()
    for at in range(frames):
        waiting.append(pool.submit(draw, at))
        if len(waiting) > 2 * _THREADS:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


def add_stream(container: OutputContainer, size: tuple[int, int], fps: int | Fraction, **options: str) -> VideoStream:
    """A new H.264 stream that plays everywhere, tagged as BT.709; `size` must be even, `options` are libx264's."""
    preset = "ultrafast" if size[0] * size[1] <= _TINY_PIXELS else "veryfast"
    settings = {"preset": preset, "threads": str(_THREADS)} | options
    stream = container.add_stream("libx264", rate=fps, options=settings)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return stream


def _video_frame(planes: list[Image.Image], at: int, size: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    frame.pts = at
    for target, plane in zip(frame.planes, planes, strict=True):
        # The stride makes Pillow pad each row as the encoder wants it.
        target.update(plane.tobytes("raw", "L", target.line_size, 1))
    return frame


def read_frame(path: Path, which: Which | float) -> Image.Image:
    """The exact first or last frame, or the one shown at that second (clamped to the clip), in RGB."""
    # A file that ends early gives its last whole frame: whether a download is complete is asked elsewhere.
    with opened(path) as (container, stream):
        if which == "first" or (which != "last" and not which > 0):
            return _image(next(container.decode(stream)))
        shown = _shown_at(container, stream, math.inf if which == "last" else float(which))
        if shown is None:
            raise Unreadable(path, "cannot be read as a video: no picture can be decoded.")
        return _image(shown)


def extract_png(path: Path, which: Which | float) -> bytes:
    """That frame as a lossless PNG. Level 1: higher ones are slower and no smaller for photographs."""
    out = io.BytesIO()
    read_frame(path, which).save(out, "PNG", compress_level=1)
    return out.getvalue()


def contact_sheet(
    path: Path, frames: int = 9, *, long_edge: int = 1568, max_bytes: int = 200_000
) -> tuple[bytes, list[float]]:
    """A JPEG grid of frames spread evenly from the first to the last, and each one's second.

    `long_edge` in pixels; quality, then size, go down until the JPEG has at most `max_bytes`.
    """
    columns = math.ceil(math.sqrt(max(frames, 1)))
    found = tiles(path, frames, (long_edge // columns, long_edge // columns))
    labelled = [(f"{second:.1f} s", tile) for second, tile in found]
    rows = [labelled[at : at + columns] for at in range(0, len(labelled), columns)]
    return sheet(rows, max_bytes), [second for second, _ in found]


def tiles(path: Path, wanted: int, box: tuple[int, int]) -> list[tuple[float, Image.Image]]:
    """At least one frame, spread evenly from the first to the last, no larger than `box`, and each one's second."""
    with opened(path) as (container, stream):
        scale = min(1.0, box[0] / stream.width, box[1] / stream.height)
        size = (max(round(stream.width * scale), 1), max(round(stream.height * scale), 1))
        found = list(_spread(container, stream, wanted, size))
    if not found:
        raise Unreadable(path, "cannot be read as a video: no picture can be decoded.")
    return found


def sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]], max_bytes: int) -> bytes:
    """Rows of labelled pictures as a JPEG; quality, then size, go down until it has at most `max_bytes`."""
    heights = [max(tile.height for _, tile in row) for row in rows]
    page = Image.new("RGB", (max(sum(tile.width for _, tile in row) for row in rows), sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for label, tile in row:
            _stamp(tile, label)
            page.paste(tile, (left, top))
            left += tile.width
        top += height
    return _small_jpeg(page, max_bytes)


def likeness(a: Image.Image, b: Image.Image) -> float:
    """How alike two pictures look: 1 the same, 0 as different as unrelated photographs (or more).

    The mean difference of brightness and colour between small blurred copies, so grain and compression do not
    count; `b` is cropped to the shape of `a` first.
    """
    width, height = a.size
    small = (max(64 * width // max(a.size), 1), max(64 * height // max(a.size), 1))
    a, b = (_covering(picture, small).filter(ImageFilter.GaussianBlur(1)).convert("YCbCr") for picture in (a, b))
    luma, blue, red = ImageStat.Stat(ImageChops.difference(a, b)).mean
    return max(0.0, 1 - (luma + blue + red) / _UNRELATED)


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The MP4 file and its video; whatever is wrong with the content becomes `Unreadable`."""
    path.stat()  # a missing file is an OSError of its own, not an unreadable video
    try:
        # Never by auto-detection: a text file named .mp4 could open other files.
        with av.open(str(path), format="mp4", metadata_errors="replace") as container:
            stream = next(stream for stream in container.streams.video if stream.codec_context and stream.width)
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, StopIteration) as error:
        raise Unreadable(path, "cannot be read as a video; it is damaged or of another kind.") from error


def _seek(container: InputContainer, stream: VideoStream, second: float) -> None:
    """Go to a keyframe before that second, the last one if the second is behind the end."""
    begin, length = stream.start_time or 0, stream.duration or 0
    tick = float(stream.time_base or 1)
    # The file's index counts in decoding order, up to a second ahead of what is shown.
    offset = length if second >= length * tick else max(int((second - 1) / tick), 0)
    container.seek(begin + offset, stream=stream)


def _shown_at(container: InputContainer, stream: VideoStream, second: float) -> av.VideoFrame | None:
    """The frame that is shown at that second, the last one if the second is behind the end."""
    _seek(container, stream, second)
    shown = None
    for frame in container.decode(stream):
        if shown and _second(frame, stream) > second + 1e-6:
            break
        shown = frame
    return shown


def _second(frame: av.VideoFrame, stream: VideoStream) -> float:
    return float(((frame.pts or 0) - (stream.start_time or 0)) * (stream.time_base or 0))


def _image(frame: av.VideoFrame, size: tuple[int, int] | None = None) -> Image.Image:
    """RGB, scaled to that size."""
    width, height = size or (frame.width, frame.height)
    image: Image.Image = frame.to_image(  # type: ignore[no-untyped-call]
        width=width, height=height, src_colorspace=untagged_space(frame), interpolation=EXACT
    )
    return image


def untagged_space(frame: av.VideoFrame) -> Colorspace | None:
    """How players read a frame without a tag: BT.709 for high definition, else BT.601. None: it has one."""
    if frame.colorspace != _UNTAGGED:
        return None
    return Colorspace.ITU709 if min(frame.width, frame.height) > 576 else Colorspace.ITU601


def _spread(
    container: InputContainer, stream: VideoStream, wanted: int, size: tuple[int, int]
) -> Iterator[tuple[float, Image.Image]]:
    total = stream.frames
    count = max(min(wanted, total), 1)
    indices = sorted({round(i * (total - 1) / max(count - 1, 1)) for i in range(count)})
    frames: Iterable[tuple[int, av.VideoFrame]] = enumerate(container.decode(stream))
    if total * stream.width * stream.height > _DECODED_PIXELS_MAX:
        length = float((stream.duration or 0) * (stream.time_base or 0))
        seconds = (math.inf if at == total - 1 else at * length / total for at in indices)
        found = (_shown_at(container, stream, second) for second in seconds)
        frames = zip(indices, filter(None, found), strict=False)
    for index, frame in frames:
        if frame.is_corrupt:
            raise Unreadable(Path(container.name), f"is damaged: its picture at {_second(frame, stream):.1f} s.")
        if index in indices:
            yield round(_second(frame, stream), 3), _image(frame, size)


def _stamp(tile: Image.Image, text: str) -> None:
    """Write the time into the tile's upper left corner."""
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(max(min(tile.size) / 14, 10))
    _, _, right, bottom = draw.textbbox((4, 3), text, font=font)
    draw.rectangle((0, 0, right + 4, bottom + 3), fill="black")
    draw.text((4, 3), text, fill="white", font=font)


def _small_jpeg(sheet: Image.Image, max_bytes: int) -> bytes:
    while True:
        for quality in range(80, 30, -10):
            out = io.BytesIO()
            sheet.save(out, "JPEG", quality=quality, optimize=True)
            if out.tell() <= max_bytes or max(sheet.size) < 64:
                return out.getvalue()
        sheet = sheet.resize((sheet.width * 4 // 5, sheet.height * 4 // 5), Image.Resampling.BOX)
