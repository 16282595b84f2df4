"""The animatic of a shot: a sketch of its camera moves from one flat picture to another, as MP4."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

from hailuo_mcp import camera, video
from hailuo_mcp.media import motion

_DISSOLVE = (0.3, 0.7)  # of the clip


def render(
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
        ThreadPoolExecutor(video.THREADS) as pool,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = video.add_stream(container, size, fps)
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
    planes = _planes(_with_margins(video.covering(picture, size), across, down))
    boxes = [
        (across + left * width, down + top * height, across + right * width, down + bottom * height)
        for left, top, right, bottom in (view.box() for view in views)
    ]
    return _Shot(planes, boxes, size)


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
        interpolation=video.EXACT,
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
        if len(waiting) > 2 * video.THREADS:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


def _video_frame(planes: list[Image.Image], at: int, size: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    frame.pts = at
    for target, plane in zip(frame.planes, planes, strict=True):
        # The stride makes Pillow pad each row as the encoder wants it.
        target.update(plane.tobytes("raw", "L", target.line_size, 1))
    return frame
