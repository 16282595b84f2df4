"""Is this file a whole MP4 video? Answered from its boxes, without decoding: every truncation shows there."""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_INDEX_BYTES_MAX = 16_000_000  # a `moov` of ten seconds has about 10 kB; this bounds what is read into memory
_UNKNOWN = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # durations that are none
_CODECS = {
    "avc1": "h264",
    "avc3": "h264",
    "hvc1": "hevc",
    "hev1": "hevc",
    "av01": "av1",
    "vp09": "vp9",
    "mp4v": "mpeg4",
}
_BOXES_MAX = 10_000  # side by side: a real file has about five


@dataclass(frozen=True, slots=True)
class Mp4Facts:
    """What the boxes say. `width` and `height` in pixels; `fast_start`: it can play before it is fully loaded.

    A fragmented video does not tell its `seconds` and `frames`: they are 0.
    """

    width: int
    height: int
    seconds: float
    frames: int
    bytes: int
    fast_start: bool
    has_audio: bool
    codec: str  # such as h264

    @property
    def frames_per_second(self) -> float:
        """On average; 0 for a fragmented video."""
        return self.frames / self.seconds if self.seconds else 0.0


class NotAVideo(ValueError):
    """The file is not a whole MP4 video. `str()` is a sentence that says what is wrong."""


def inspect(path: Path) -> Mp4Facts:
    """The facts of a whole MP4 video; raises `NotAVideo` for any other content, `OSError` if it cannot be read."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        places = _top_level(file, size)
        start, length = places["moov"]
        if length > _INDEX_BYTES_MAX:
            raise NotAVideo(f"The file's index (moov) claims {length} bytes, far more than a video needs.")
        file.seek(start)
        moov = memoryview(file.read(length))
    try:
        tracks = [_Track(body) for kind, body in _boxes(moov) if kind == b"trak"]
        video = next((track for track in tracks if track.handler == b"vide"), None)
        if video is None:
            raise NotAVideo("The MP4 file holds no video track.")
        for track in tracks:
            track.check_samples(size)
        (width, height), codec = video.pixels(), video.codec()
        seconds, frames = video.seconds(_clock(_inside(moov, b"mvhd"))[0]), video.samples
    except (struct.error, IndexError) as error:
        raise NotAVideo("The file's index (moov) is damaged: a table in it is shorter than it says.") from error
    # A fragmented video keeps its tables beside its pictures, not in the index: there its boxes alone speak for it.
    if not (width and height and seconds and frames) and "moof" not in places:
        raise NotAVideo(f"The video track is empty: {width}x{height} pixels, {frames} frames, {seconds:g} seconds.")
    audio = any(track.handler == b"soun" for track in tracks)
    return Mp4Facts(width, height, seconds, frames, size, places["moov"] < places["mdat"], audio, codec)


def _top_level(file: BinaryIO, size: int) -> dict[str, tuple[int, int]]:
    """Where the body of each first box of its kind starts, and its length; they must fill the file exactly."""
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for count in range(_BOXES_MAX):
        if at == size:
            break
        file.seek(at)
        kind, header, length = _header(file.read(16), size - at)
        if not count and kind != b"ftyp":
            raise NotAVideo("The file is not an MP4 video: it does not begin with an ftyp box.")
        if not header <= length <= size - at:
            missing = (
                f"{length - size + at} bytes are missing" if length >= header else "a box is smaller than a header"
            )
            raise NotAVideo(f"The MP4 file is cut short or damaged at byte {at}: {missing}.")
        places.setdefault(kind.decode("latin-1"), (at + header, length - header))
        at += length
    else:
        raise NotAVideo(f"The MP4 file is damaged: it has more than {_BOXES_MAX} boxes.")
    for needed, purpose in {"ftyp": "type", "moov": "index", "mdat": "pictures"}.items():
        if needed not in places:
            raise NotAVideo(f"The MP4 file is incomplete: its {purpose} ({needed}) is missing.")
    return places


def _header(head: bytes, room: int) -> tuple[bytes, int, int]:
    """A box's kind, the length of its header and of the whole box. Length 1: 64 bits follow; 0: to the end."""
    if len(head) < 8:
        return b"", 8, 8  # longer than the room there is, which the caller refuses
    length, kind = struct.unpack_from(">I4s", head)
    if length == 1 and len(head) >= 16:
        return kind, 16, struct.unpack_from(">Q", head, 8)[0]
    return kind, 8, length or room


def _boxes(parent: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The kind and body of each box in a box that is in memory."""
    at = count = 0
    while len(parent) - at >= 8:
        if count == _BOXES_MAX:
            raise NotAVideo(f"The file's index (moov) is damaged: it has more than {_BOXES_MAX} boxes side by side.")
        count += 1
        kind, header, length = _header(bytes(parent[at : at + 16]), len(parent) - at)
        if not header <= length <= len(parent) - at:
            raise NotAVideo("The file's index (moov) is damaged: a box in it does not fit into its parent.")
        yield kind, parent[at + header : at + length]
        at += length


def _inside(parent: memoryview, *path: bytes) -> memoryview:
    """The body of the first box at that path, empty if there is none."""
    for kind in path:
        parent = next((body for found, body in _boxes(parent) if found == kind), parent[:0])
    return parent


def _clock(header: memoryview) -> tuple[int, int]:
    """Ticks in a second and duration in ticks, of an `mvhd` or `mdhd`, whose version 1 has 64-bit times."""
    scale, duration = struct.unpack_from(">IQ", header, 20) if header[0] else struct.unpack_from(">II", header, 12)
    return scale, duration


class _Track:
    """One `trak`: its tables are read when asked for."""

    def __init__(self, trak: memoryview) -> None:
        self._header = _inside(trak, b"tkhd")
        self._media = _inside(trak, b"mdia")
        self._tables = dict(_boxes(_inside(self._media, b"minf", b"stbl")))
        self.handler = bytes(_inside(self._media, b"hdlr")[8:12])
        self.samples: int = struct.unpack_from(">I", self._table(b"stsz"), 8)[0] if b"stsz" in self._tables else 0

    def _table(self, kind: bytes) -> memoryview:
        return self._tables.get(kind, memoryview(b""))

    def pixels(self) -> tuple[int, int]:
        width, height = struct.unpack_from(">HH", self._table(b"stsd"), 40)
        return width, height

    def codec(self) -> str:
        """How the samples are coded, by its usual name."""
        kind = bytes(self._table(b"stsd")[12:16]).decode("latin-1")
        return _CODECS.get(kind, kind)

    def seconds(self, movie_scale: int) -> float:
        """As long as it plays: the media's own duration also counts what an edit list cuts off."""
        long = self._header[0]
        duration: int = struct.unpack_from(">Q" if long else ">I", self._header, 28 if long else 20)[0]
        if movie_scale and duration not in _UNKNOWN:
            return duration / movie_scale
        scale, duration = _clock(_inside(self._media, b"mdhd"))
        return duration / scale if scale else 0.0

    def check_samples(self, size: int) -> None:
        """Refuse samples that lie, even in part, behind the end of a file of that size."""
        if not self.samples:
            return
        each = struct.unpack_from(">I", self._table(b"stsz"), 4)[0]
        sizes = None if each else _numbers(self._table(b"stsz"), "I", at=12, count=self.samples)
        wide = b"co64" in self._tables
        offsets = _numbers(self._table(b"co64" if wide else b"stco"), "Q" if wide else "I")
        runs = _numbers(self._table(b"stsc"), "I", width=3)
        done = 0
        for first, count, until in _runs(runs, len(offsets)):
            for chunk in range(first, until):
                amount = min(count, self.samples - done)
                length = each * amount if sizes is None else sum(sizes[done : done + amount])
                done += amount
                if offsets[chunk] + length > size:
                    raise NotAVideo("The MP4 file is cut short: pictures or sound lie behind its end.")
        if done < self.samples:
            raise NotAVideo("The MP4 file is damaged: its index does not say where all the pictures are.")


def _runs(table: "array[int]", chunks: int) -> Iterator[tuple[int, int, int]]:
    """First chunk (from 0), samples in each chunk and the chunk behind the last, for each run of equal chunks."""
    for at in range(0, len(table), 3):
        first = table[at] - 1
        until = table[at + 3] - 1 if at + 3 < len(table) else chunks
        if not 0 <= first < until <= chunks:
            raise NotAVideo("The file's index (moov) is damaged: its chunks are not in order.")
        yield first, table[at + 1], until


def _numbers(table: memoryview, code: str, *, at: int = 8, count: int | None = None, width: int = 1) -> "array[int]":
    """A table's big-endian numbers; the count of entries of that width stands at byte 4 unless given."""
    numbers = array(code)
    amount = (struct.unpack_from(">I", table, 4)[0] if count is None else count) * width * numbers.itemsize
    if len(table) < at + amount:
        raise struct.error("table too short")
    numbers.frombytes(table[at : at + amount])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
