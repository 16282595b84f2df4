"""MP4 in and out: the animatic of a shot, single frames, contact sheets. The only importer of PyAV."""

import io
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.video.reformatter import Colorspace, ColorRange
from av.video.stream import VideoStream
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps, ImageStat

from hailuo_mcp import camera, motion

Which = Literal["first", "last"]

_DISSOLVE = (0.3, 0.7)  # of the clip
_TINY_PIXELS = 320 * 240  # up to here the fastest preset is good enough
_THREADS = 2
_BT709 = 1  # the number of BT.709 as colour space, primaries and transfer in H.264
_UNTAGGED = 2
_LIMITED = 1  # the range 16 to 235
_UNRELATED = 70.0  # levels of 255 by which two unrelated photographs differ on average, once blurred


class Unreadable(ValueError):
    """The file cannot be decoded as an MP4 video. `str()` is a sentence that says so."""


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
    """
    frames = max(round(seconds * fps), 1)
    cues = [
        (move.at / max(prompt_length, 1), tuple(command.english for command in move.commands)) for move in moves
    ]
    shots = _shots(first, last, motion.journey(cues, frames, seconds), size)
    strip = _caption_strip(caption, size)

    def draw(at: int) -> list[Image.Image]:
        return _compose(shots, at, strip if 0 < at < frames - 1 else None)

    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _add_stream(container, size, fps)
        for at, planes in enumerate(_ahead(draw, frames)):
            container.mux(stream.encode(_video_frame(planes, at, size)))
        container.mux(stream.encode(None))
