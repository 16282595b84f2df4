"""MP4 in and out: streams to write to, single frames, contact sheets."""

import errno
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer, OutputContainer
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps, ImageStat

from hailuo_mcp import handles

Which = Literal["first", "last"]

_TINY_PIXELS = 320 * 240  # up to here the fastest preset is good enough
THREADS = 2
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


def covering(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in RGB, its middle filling that size; what is transparent becomes white."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS)


def add_stream(container: OutputContainer, size: tuple[int, int], fps: int | Fraction, **options: str) -> VideoStream:
    """A new H.264 stream that plays everywhere, tagged as BT.709; `size` must be even, `options` are libx264's."""
    preset = "ultrafast" if size[0] * size[1] <= _TINY_PIXELS else "veryfast"
    settings = {"preset": preset, "threads": str(THREADS)} | options
    stream = container.add_stream("libx264", rate=fps, options=settings)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return stream


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
    a, b = (covering(picture, small).filter(ImageFilter.GaussianBlur(1)).convert("YCbCr") for picture in (a, b))
    luma, blue, red = ImageStat.Stat(ImageChops.difference(a, b)).mean
    return max(0.0, 1 - (luma + blue + red) / _UNRELATED)


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The MP4 file and its video; whatever is wrong with the content becomes `Unreadable`. Raises OSError otherwise."""
    path.stat()  # a missing file is an OSError of its own, not an unreadable video
    try:
        # Never by auto-detection: a text file named .mp4 could open other files.
        with av.open(str(path), format="mp4", metadata_errors="replace") as container:
            stream = next(stream for stream in container.streams.video if stream.codec_context and stream.width)
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, StopIteration) as error:
        if isinstance(error, OSError) and handles.used_up(error):  # says nothing of the file
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path)) from error
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
