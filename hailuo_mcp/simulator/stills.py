"""A frame as the document describes it: read, judged, and kept small."""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import urlsplit

from PIL import Image, ImageOps

from hailuo_mcp.rules import (
    FRAME_ASPECT_MAX,
    FRAME_ASPECT_MIN,
    FRAME_BYTES_BELOW,
    FRAME_FORMATS,
    FRAME_SHORT_SIDE_ABOVE,
)

_DATA_URL = re.compile(r"data:([^;,]*);base64,", re.ASCII)
_MAGIC = {"JPEG": rb"\xff\xd8\xff", "PNG": rb"\x89PNG\r\n\x1a\n", "WEBP": rb"RIFF....WEBP"}
_UNDECODABLE = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_URL_SIZE = (1280, 720)  # of the pictures at URLs, which are never fetched: it makes 1364x768, as in the document


class BadFrame(Exception):
    """The frame breaks a limit of the document; `str()` says which."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame as displayed: its full width and height, and a JPEG no larger than the video needs."""

    size: tuple[int, int]
    jpeg: bytes

    def image(self) -> Image.Image:
        """The kept pixels."""
        return Image.open(BytesIO(self.jpeg))


def read_frame(value: object, short_side: int) -> Picture:
    """The picture of a frame argument, its short side scaled down to `short_side`; raises BadFrame."""
    if not isinstance(value, str) or not value:
        raise BadFrame("must be a non-empty string: a public URL or a data URL")
    if value.startswith("data:"):
        return _read_data(value, short_side)
    if value.startswith(("http://", "https://")) and _is_url(value):
        return _placeholder(value, short_side)
    raise BadFrame("must be an http(s) URL or a data URL (data:image/jpeg;base64,...); bare base64 is not accepted")


def _is_url(value: str) -> bool:
    try:
        return bool(urlsplit(value).hostname) and not re.search(r"\s", value)
    except ValueError:
        return False


def _read_data(value: str, short_side: int) -> Picture:
    head = _DATA_URL.match(value[:100])
    if head is None:
        raise BadFrame("is not a base64 data URL (data:image/jpeg;base64,...)")
    declared = head[1]
    if declared not in FRAME_FORMATS.values():
        raise BadFrame(f"declares {declared or 'no media type'}; allowed are {', '.join(FRAME_FORMATS.values())}")
    try:
        data = base64.b64decode(value[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadFrame(f"is not valid base64: {error}") from None
    if len(data) >= FRAME_BYTES_BELOW:
        raise BadFrame(f"has {len(data)} bytes; it must have less than {FRAME_BYTES_BELOW}")
    found = next((name for name, magic in _MAGIC.items() if re.match(magic, data[:16], re.DOTALL)), None)
    if found is None:
        raise BadFrame("is not a JPEG, PNG or WebP picture")
    if FRAME_FORMATS[found] != declared:
        raise BadFrame(f"declares {declared} but holds {FRAME_FORMATS[found]}")
    return _decode(data, short_side)


def _decode(data: bytes, short_side: int) -> Picture:
    try:
        with Image.open(BytesIO(data), formats=tuple(FRAME_FORMATS)) as image:
            turned = _orientation(image)
            size = image.size if turned < 5 else image.size[::-1]
            _judge_size(*size)
            box = _scaled(image.size, short_side)
            image.draft("RGB", box)  # a JPEG is decoded small in the first place
            small = image.convert("RGB")
    except _UNDECODABLE as error:
        raise BadFrame(f"cannot be decoded: {error}") from None
    small.thumbnail(box)
    return Picture(size, _jpeg(small.transpose(_ORIENTATIONS[turned]) if turned in _ORIENTATIONS else small))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except (*_UNDECODABLE, TypeError):
        return 1


def _judge_size(width: int, height: int) -> None:
    if min(width, height) <= FRAME_SHORT_SIDE_ABOVE:
        raise BadFrame(f"is {width}x{height}; the short side must be more than {FRAME_SHORT_SIDE_ABOVE} pixels")
    (low_w, low_h), (high_w, high_h) = FRAME_ASPECT_MIN, FRAME_ASPECT_MAX
    if width * low_h < height * low_w or width * high_h > height * high_w:
        raise BadFrame(f"is {width}x{height}; the aspect ratio must lie between {low_w}:{low_h} and {high_w}:{high_h}")


def _scaled(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    factor = min(1.0, short_side / min(size))
    return round(size[0] * factor), round(size[1] * factor)


def _placeholder(url: str, short_side: int) -> Picture:
    seed = hashlib.sha256(url.encode("utf-8", "replace")).digest()
    dark, bright = tuple(byte // 2 for byte in seed[:3]), tuple(128 + byte // 2 for byte in seed[3:6])
    picture = ImageOps.colorize(Image.linear_gradient("L"), dark, bright)
    return Picture(_URL_SIZE, _jpeg(picture.resize(_scaled(_URL_SIZE, short_side))))


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
