"""First and last frame: open, judge, encode for sending."""

import asyncio
import binascii
import hashlib
import io
import ipaddress
import math
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from PIL import Image

from hailuo_mcp.errors import FrameRejected, RequestRejected
from hailuo_mcp.rules import (
    FRAME_ASPECT_MAX,
    FRAME_ASPECT_MIN,
    FRAME_BYTES_BELOW,
    FRAME_FORMATS,
    FRAME_SHORT_SIDE_ABOVE,
)

FrameName = Literal["first_frame_image", "last_frame_image"]

PIXELS_MAX = 64_000_000  # a frame of 20 MB that unpacks to more is a bomb, not a photograph
_DECODE_PIXELS_MAX = 4_000_000  # decoded in full up to here; larger ones are checked by their structure (memory)
_PIECE_BYTES = 384 * 1024  # a multiple of 3, so that base64 pieces join; small enough to keep memory flat
_TAIL_BYTES = 64 * 1024  # some cameras write data after the JPEG's end marker
_EXIF_ORIENTATION = 0x0112
_PILLOW_ERRORS = (SyntaxError, ValueError, OSError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Frame:
    """A judged frame. `label` is what a person calls it; sizes are as displayed, in pixels, and None for a URL."""

    name: FrameName
    label: str
    sha256: str
    url: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None  # bytes
    warnings: tuple[str, ...] = ()
    _file: BinaryIO | None = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()

    @property
    def head(self) -> str:
        """What the sent value starts with: the whole URL, or a data URL up to its bytes."""
        return self.url or f"data:{FRAME_FORMATS[self.format or '']};base64,"

    @property
    def encoded_bytes(self) -> int:
        """Length of the base64 text that follows `head`."""
        return 4 * math.ceil((self.size or 0) / 3)

    async def encoded(self) -> AsyncIterator[bytes]:
        """The picture as base64, piece by piece, from the start each time; raises FrameRejected when it shrank."""
        left = self.size or 0
        offset = 0
        while left:
            piece = await asyncio.to_thread(self._piece, offset, min(left, _PIECE_BYTES))
            offset += _PIECE_BYTES
            left = max(0, left - _PIECE_BYTES)
            yield piece

    def _piece(self, offset: int, size: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise FrameRejected(f"{self.name}: {self.label} became shorter while it was sent; nothing was paid")
        return binascii.b2a_base64(data, newline=False)


def open_frame(name: FrameName, source: str, open_file: Callable[[str], BinaryIO]) -> Frame:
    """Open and judge a frame given as path, http(s) URL or data URL; raises FrameRejected. Blocks: use a thread.

    `open_file` opens a path that a person gave, within what may be read; raises RequestRejected.
    """
    try:
        scheme = source.strip()[:8].lower()
        if scheme.startswith(("http:", "https:")):
            return _from_url(name, source.strip())
        if scheme.startswith("data:"):
            return _judge(name, "data URL", _from_data_url(source.strip()))
        if len(source) > 4096 or "\x00" in source:
            raise RequestRejected("is neither a path, an http(s) URL nor a data URL (data:image/jpeg;base64,...)")
        return _judge(name, source.strip(), open_file(source))
    except FrameRejected:
        raise
    except RequestRejected as error:
        raise FrameRejected(f"{name}: {error}") from None


def _from_url(name: FrameName, url: str) -> Frame:
    try:
        parts = urlsplit(url)
        host, credentials, _ = parts.hostname, parts.username or parts.password, parts.port
    except ValueError as error:
        raise RequestRejected(f"{url[:200]!r} is not a URL: {error}") from None
    if not host or credentials or any(character.isspace() for character in url) or len(url) > 4096:
        raise RequestRejected(f"{url[:200]!r} must be a plain public URL, without spaces or a password")
    warnings = []
    if _is_private(host):
        warnings.append(f"{name}: {host} can probably not be reached by the API from outside; a path is safer")
    return Frame(name, url, hashlib.sha256(url.encode()).hexdigest(), url=url, warnings=tuple(warnings))


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".localhost", ".internal")) or "." not in host


def _from_data_url(url: str) -> BinaryIO:
    header, comma, payload = url.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise RequestRejected("the data URL must look like data:image/jpeg;base64,...")
    try:
        data = binascii.a2b_base64(payload.encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RequestRejected(f"the data URL's base64 is damaged ({error}); a path is safer than copied text") from None
    return io.BytesIO(data)


def _judge(name: FrameName, label: str, file: BinaryIO) -> Frame:
    try:
        size = file.seek(0, io.SEEK_END)
        picture_format, (width, height), turned = _check(label, file, size)
        digest = _digest(file)
    except BaseException:
        file.close()
        raise
    note = f"{name}: the photo is stored turned, with a note to turn it back; the API may ignore that note"
    return Frame(name, label, digest, None, picture_format, width, height, size, (note,) if turned else (), file)


def _check(label: str, file: BinaryIO, size: int) -> tuple[str, tuple[int, int], bool]:
    """Format, displayed size and whether it is turned; raises RequestRejected for what the API would refuse."""
    if not size:
        raise RequestRejected(f"{label} is empty (0 bytes)")
    if size >= FRAME_BYTES_BELOW:
        raise RequestRejected(f"{label} has {size / 1e6:.1f} MB; less than {FRAME_BYTES_BELOW / 1e6:.0f} MB is allowed")
    picture_format, (width, height), turned = _look(label, file)
    if problems := _shape_problems(label, width, height):
        raise RequestRejected("; ".join(problems))
    _check_complete(label, picture_format, file, size, width * height)
    return picture_format, (width, height), turned


def _look(label: str, file: BinaryIO) -> tuple[str, tuple[int, int], bool]:
    """Format by content, displayed size in pixels, and whether an EXIF note turns the picture."""
    file.seek(0)
    allowed = one_line(FRAME_FORMATS)
    try:
        picture = Image.open(file)
    except _PILLOW_ERRORS as error:
        if isinstance(error, Image.DecompressionBombError):
            raise RequestRejected(f"{label} unpacks to far too many pixels") from None
        raise RequestRejected(f"{label} is not a picture that can be read; {allowed} is needed") from None
    # Phones write JPEGs with a second picture behind the first; Pillow calls those MPO.
    real = "JPEG" if picture.format == "MPO" else str(picture.format)
    if real not in FRAME_FORMATS:
        raise RequestRejected(f"{label} is a {real} by content; {allowed} is needed")
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise RequestRejected(f"{label} is animated; a still picture is needed")
    if picture.width * picture.height > PIXELS_MAX:
        raise RequestRejected(
            f"{label} has {picture.width * picture.height / 1e6:.0f} megapixels; at most {PIXELS_MAX // 10**6} are read"
        )
    orientation = _orientation(picture)
    size = picture.size if orientation < 5 else picture.size[::-1]
    return real, (size[0], size[1]), orientation > 1


def _orientation(picture: Image.Image) -> int:
    try:
        # A PNG would be decoded as a whole to look for EXIF behind its pixels: only what stands before counts.
        exif = Image.Exif()
        exif.load(picture.info.get("exif", b""))
        value = exif.get(_EXIF_ORIENTATION, 1)
    except _PILLOW_ERRORS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _shape_problems(label: str, width: int, height: int) -> list[str]:
    problems = []
    if min(width, height) <= FRAME_SHORT_SIDE_ABOVE:
        problems.append(
            f"{label} is {width}x{height} pixels; its short side must be over {FRAME_SHORT_SIDE_ABOVE} pixels"
        )
    (low_width, low_height), (high_width, high_height) = FRAME_ASPECT_MIN, FRAME_ASPECT_MAX
    if width * low_height < low_width * height or width * high_height > high_width * height:
        problems.append(
            f"{label} is {width}x{height}, an aspect of {width / height:.2f}:1; from {low_width}:{low_height} to "
            f"{high_width}:{high_height} is allowed"
        )
    return problems


def _check_complete(label: str, picture_format: str, file: BinaryIO, size: int, pixels: int) -> None:
    """Refuse a truncated or damaged picture, without unpacking large ones into memory."""
    whole = {"JPEG": _jpeg_is_whole, "PNG": _png_is_whole, "WEBP": _webp_is_whole}[picture_format]
    damaged = RequestRejected(f"{label} is damaged or cut off; save or export the picture again")
    if not whole(file, size):
        raise damaged
    if picture_format == "JPEG" or pixels <= _DECODE_PIXELS_MAX:
        file.seek(0)
        try:
            picture = Image.open(file, formats=tuple(FRAME_FORMATS))
            if not picture.info.get("progressive") or pixels <= 4 * _DECODE_PIXELS_MAX:
                picture.draft("RGB", (picture.width // 8, picture.height // 8))
                picture.load()
        except _PILLOW_ERRORS:
            raise damaged from None


def _jpeg_is_whole(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - _TAIL_BYTES))
    return b"\xff\xd9" in file.read(_TAIL_BYTES)


def _png_is_whole(file: BinaryIO, size: int) -> bool:
    """Walk the chunks with their checksums to IEND."""
    offset = 8
    while offset + 12 <= size:
        file.seek(offset)
        length, kind = struct.unpack(">I4s", file.read(8))
        if offset + 12 + length > size:
            return False
        checksum, left = zlib.crc32(kind), length
        while left:
            piece = file.read(min(left, 1 << 20))
            checksum, left = zlib.crc32(piece, checksum), left - len(piece)
        if file.read(4) != struct.pack(">I", checksum):
            return False
        if kind == b"IEND":
            return True
        offset += 12 + length
    return False


def _webp_is_whole(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    (riff_bytes,) = struct.unpack("<I", file.read(4))
    return bool(riff_bytes + 8 <= size)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def crop_loss(first: Frame, last: Frame) -> float:
    """Share of the last frame, 0 to 1, that is lost when it is cropped to the first one's shape."""
    if not (first.width and first.height and last.width and last.height):
        return 0.0
    ratio = (first.width * last.height) / (first.height * last.width)
    return 1 - min(ratio, 1 / ratio)


def crop_warning(first: Frame, last: Frame) -> str | None:
    """What the model will cut from the last frame, when that is 1 % or more."""
    loss = crop_loss(first, last)
    if loss < 0.01:
        return None
    wider = (last.width or 0) * (first.height or 0) > (first.width or 0) * (last.height or 0)
    return (
        f"last_frame_image: is {last.width}x{last.height} and the first frame is {first.width}x{first.height}; the "
        f"model will crop {loss:.0%} of the last frame, at its {'left and right' if wider else 'top and bottom'}"
    )


def one_line(formats: dict[str, str]) -> str:
    """`JPEG, PNG or WebP`."""
    names = ["WebP" if name == "WEBP" else name for name in formats]
    return f"{', '.join(names[:-1])} or {names[-1]}"
