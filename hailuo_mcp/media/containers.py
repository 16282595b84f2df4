"""JPEG, PNG and WebP by their parts: is the picture whole, and which bytes are the picture alone.

What tells who took it, where and with what (EXIF, XMP, IPTC, comments, what phones append) is left out, and no pixel
is touched. The pictures stay compressed: even 20 MB cost milliseconds.
"""

import io
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from hailuo_mcp.rules import FRAME_FORMATS

Piece = bytes | range  # bytes of our own, or a range of places in the file

_SCAN_BYTES = 1 << 20
_START_OF_SCAN, _COMMENT = 0xDA, 0xFE
_NO_PART = {0x00, 0x01, *range(0xD0, 0xD9), 0xFF}  # stray bytes and padding, which decoders pass over
_NO_METADATA = {0xE0, 0xEE}  # JFIF and Adobe, which say how the colours are meant
_COLOUR_PROFILE = b"ICC_PROFILE\0"
# Within the pixels, and in stray bytes, FF is followed by 00 or a restart number; anything else ends them.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_PNG_METADATA = {b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_WEBP_METADATA = {b"EXIF", b"XMP "}
_WEBP_METADATA_FLAGS = 0x08 | 0x04
_READ_COST = 1024  # in bytes: what looking at one more part costs
_SMALL_FILE_BYTES = 100_000_000  # may be read of any file, however small


class Bounded:
    """An open file that can be read a few times over and no more: where millions of tiny parts, or parts that lead
    back and forth, would keep a reader busy for minutes, `read` raises OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        self.bytes_left = _SMALL_FILE_BYTES + 4 * self.size
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes_left -= len(data) + _READ_COST
        if self.bytes_left < 0:
            raise OSError("the file has far too many parts")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Body:
    """Pieces of a file, read as if they were a file of their own. Closing it closes the file."""

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = pieces
        self.size = sum(map(len, pieces))

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from that place; fewer where the file has become shorter."""
        found = bytearray()
        for piece in self._pieces:
            part = piece[offset : offset + size - len(found)] if offset < len(piece) else piece[:0]
            offset = max(0, offset - len(piece))
            if isinstance(part, range):
                self._file.seek(part.start)
                part = self._file.read(len(part)) if part else b""
            if len(part) == size:
                return part
            found += part
            if len(found) >= size:
                break
        return bytes(found)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def picture_of(picture_format: str, file: BinaryIO) -> Body | None:
    """The picture alone, of a file in one of the formats of `rules`; None when it is cut off or damaged."""
    assert picture_format in FRAME_FORMATS
    size = file.seek(0, io.SEEK_END)
    try:
        pieces = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}[picture_format](cast(BinaryIO, Bounded(file)), size)
    except OSError:
        return None
    return Body(file, pieces) if pieces else None


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the first 30 bytes of a WebP file, which Pillow opens only as a whole; None without."""
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return (width & 0x3FFF, height & 0x3FFF) if width & 0x3FFF and height & 0x3FFF else None


def _jpeg(file: BinaryIO, size: int) -> list[Piece] | None:
    head, at = bytearray(b"\xff\xd8"), 2
    while True:
        file.seek(at)
        start = file.read(4)
        if len(start) < 4:
            return None
        if start[0] != 0xFF or start[1] in _NO_PART:
            at = _next_marker(file, at + 1)
            continue
        marker, length = start[1], 2 + int.from_bytes(start[2:], "big")
        if marker == _START_OF_SCAN:
            end = _jpeg_end(file, at, size)
            return [bytes(head), range(at, end)] if end else None
        body = file.read(max(0, length - 4))
        if len(body) != length - 4:
            return None
        application = 0xE0 <= marker <= 0xEF and marker not in _NO_METADATA
        if not (application or marker == _COMMENT) or body.startswith(_COLOUR_PROFILE):
            head += start + body
        at += length


def _jpeg_end(file: BinaryIO, at: int, size: int) -> int | None:
    """The place behind the end marker, from the first scan on; None when it never comes."""
    while at < size:
        file.seek(at)
        start = file.read(4)
        at += 2 + int.from_bytes(start[2:], "big")
        if start[1] == _START_OF_SCAN:
            at = _next_marker(file, at)
        file.seek(at)
        marker = file.read(2)
        while marker == b"\xff\xff":
            at += 1
            file.seek(at)
            marker = file.read(2)
        if marker == b"\xff\xd9":
            return at + 2
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
    return None


def _next_marker(file: BinaryIO, at: int) -> int:
    """The place of the first marker from there on, which ends the pixels there, or the end of the file."""
    file.seek(at)
    while len(piece := file.read(_SCAN_BYTES)) > 1:
        if found := _MARKER.search(piece):
            return at + found.start()
        at += len(piece) - 1  # a marker may lie across the end
        file.seek(at)
    return at + len(piece)


def _png(file: BinaryIO, size: int) -> list[Piece] | None:
    """The chunks, with their checksums, to IEND."""
    pieces: list[Piece] = [range(8)]
    at = 8
    while at + 12 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        end = at + 12 + length
        if end > size or not _checksum_holds(file, kind, length):
            return None
        if kind not in _PNG_METADATA:
            _join(pieces, range(at, end))
        if kind == b"IEND":
            return pieces
        at = end
    return None


def _checksum_holds(file: BinaryIO, kind: bytes, left: int) -> bool:
    checksum = zlib.crc32(kind)
    while left:
        piece = file.read(min(left, _SCAN_BYTES))
        if not piece:
            return False
        checksum, left = zlib.crc32(piece, checksum), left - len(piece)
    return file.read(4) == struct.pack(">I", checksum)


def _webp(file: BinaryIO, size: int) -> list[Piece] | None:
    file.seek(4)
    riff_size = int.from_bytes(file.read(4), "little") + 8
    pieces: list[Piece] = []
    at = 12
    while at + 8 <= riff_size <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        end = at + 8 + length + length % 2
        if at + 8 + length > riff_size or (kind == b"VP8X" and not length):
            return None
        if kind == b"VP8X":
            flags = file.read(1)[0] & ~_WEBP_METADATA_FLAGS
            pieces += [struct.pack("<4sIB", kind, length, flags), range(at + 9, end)]
        elif kind not in _WEBP_METADATA:
            _join(pieces, range(at, min(end, size)))
        at = end
    if not pieces:
        return None
    return [b"RIFF" + struct.pack("<I", 4 + sum(map(len, pieces))) + b"WEBP", *pieces]


def _join(pieces: list[Piece], more: range) -> None:
    """Append a range, as one with the range before it where they touch."""
    if pieces and isinstance(last := pieces[-1], range) and last.stop == more.start:
        pieces[-1] = range(last.start, more.stop)
    else:
        pieces.append(more)
