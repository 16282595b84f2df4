"""A video small enough to travel inside a message: fewer pixels, fewer bits, no sound, and its first picture."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from hailuo_mcp import video

CLIP_BYTES_MAX = 560_000  # some hosts refuse results over 1 MB, and base64 makes a third more of it
SHORT_SIDE = 360  # pixels
LONG_SECONDS = 15.0  # a longer film has too few bits for that size
LONG_SHORT_SIDE = 240
BITS_PER_SECOND = (80_000, 1_000_000)  # below that nothing can be made out, above it nothing is gained
FRAMES_PER_SECOND_MAX = 24
PICTURE_SIDE = 640  # pixels, of the longer side
_SPARE = 0.85  # of the bytes: the encoder meets its rate on average only
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Miniature:
    """An MP4 without sound and a JPEG of its first picture. Of a long film it is the first `seconds` only."""

    clip: bytes
    poster: bytes
    seconds: float
    is_whole: bool


def miniature(path: Path, max_bytes: int = CLIP_BYTES_MAX) -> Miniature:
    """The small copy of a video; raises `video.Unreadable`, also when it cannot be made that small."""
    poster = small_jpeg(video.read_frame(path, "first"))
    whole, least = _seconds(path), BITS_PER_SECOND[0]
    seconds = min(whole, max_bytes * _SPARE * 8 / least)
    bits = min(BITS_PER_SECOND[1], int(max_bytes * _SPARE * 8 / max(seconds, 0.1)))
    for _ in range(_TRIES):
        clip = _encode(path, LONG_SHORT_SIDE if seconds > LONG_SECONDS else SHORT_SIDE, bits, seconds)
        if len(clip) <= max_bytes:
            return Miniature(clip, poster, seconds, seconds == whole)
        bits = bits * 2 // 3
    raise video.Unreadable(path, "cannot be made small enough; save it and open the file.")


def small_jpeg(picture: Image.Image) -> bytes:
    """A JPEG to look at, at most 640 pixels wide and high."""
    picture = picture.convert("RGB")
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=78, optimize=True)
    return file.getvalue()


def _seconds(path: Path) -> float:
    with video.opened(path) as (container, _):
        return (container.duration or 0) / av.time_base


def _encode(path: Path, short_side: int, bits: int, seconds: float) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as target, video.opened(path) as (source, stream):
        rate = min(FRAMES_PER_SECOND_MAX, round(stream.average_rate or FRAMES_PER_SECOND_MAX) or 1)
        size = video.output_size((stream.width, stream.height), min(short_side, stream.width, stream.height))
        small = video.add_stream(target, size, rate, maxrate=str(bits), bufsize=str(bits))
        small.bit_rate = bits
        for frame in _scaled(source.decode(stream), size, rate, round(seconds * rate)):
            target.mux(small.encode(frame))
        target.mux(small.encode(None))
    return file.getvalue()


def _scaled(frames: Iterator[av.VideoFrame], size: tuple[int, int], rate: int, ticks: int) -> Iterator[av.VideoFrame]:
    """The pictures in BT.709 and that size, at most one for each of so many ticks of that rate."""
    scaler, last = VideoReformatter(), -1
    for frame in frames:
        tick = round((frame.time or 0) * rate)
        if tick >= ticks and last >= 0:
            return
        if tick <= last:
            continue
        small = scaler.reformat(
            frame,
            *size,
            format="yuv420p",
            src_colorspace=video.untagged_space(frame),
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        last = small.pts = tick
        small.time_base = Fraction(1, rate)
        small.pict_type = PictureType.NONE  # else each keyframe stays one
        yield small
