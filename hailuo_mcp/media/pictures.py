"""A picture judged by its content: what it is, what stands against sending it, and what of that can be mended."""

import contextlib
import importlib
import io
import struct
import sys
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, cast

from PIL import Image, ImageCms

from hailuo_mcp import handles
from hailuo_mcp.errors import RequestRejected
from hailuo_mcp.media.containers import Body, Bounded, picture_of, webp_size
from hailuo_mcp.rules import (
    FRAME_ASPECT_MAX,
    FRAME_ASPECT_MIN,
    FRAME_BYTES_BELOW,
    FRAME_FORMATS,
    FRAME_SHORT_SIDE_ABOVE,
)

PIXELS_MAX = 64_000_000  # a frame that unpacks to more is a bomb, not a photograph
JPEG_PIXELS_MAX = 220_000_000  # of a baseline JPEG, which can be unpacked at an eighth of its size
FILE_BYTES_MAX = 200_000_000
DECODE_PIXELS_MAX = 4_000_000  # decoded to find damage; larger ones are judged by their structure
_ORIENTATION = 0x0112
_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Mpo", "Png", "Tiff", "WebP")
_READABLE = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JPEG2000")
_NAMES = {"WEBP": "WebP", "HEIF": "HEIC", "MPO": "JPEG", "DIB": "BMP", "JPEG2000": "JPEG 2000"}
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "F")  # modes of more than 8 bits
BROKEN = (
    SyntaxError,  # Pillow's word for a broken file
    ValueError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

Image.MAX_IMAGE_PIXELS = JPEG_PIXELS_MAX
warnings.simplefilter("error", Image.DecompressionBombWarning)  # up to twice that Pillow would go on


@dataclass(frozen=True, slots=True)
class Facts:
    """What a picture is: its format by content, its size as displayed, in pixels, and in bytes."""

    format: str
    width: int
    height: int
    bytes: int

    @property
    def name(self) -> str:
        """The format as people write it."""
        return _NAMES.get(self.format, self.format)


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps a picture from being sent as it is. `fatal`: the API would refuse it."""

    words: str
    deed: str  # what mending does about it
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture's header says: its facts if it has any, what is beyond mending, and what can be mended."""

    facts: Facts | None
    problems: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    may_be_transparent: bool = False
    readable: bool = False  # small enough to be unpacked


def look(label: str, file: BinaryIO, size: int | None = None) -> Look:
    """Judge a picture by its header; `size` in bytes is given when the file holds only the picture's beginning."""
    whole = size is None
    size = file.seek(0, io.SEEK_END) if size is None else size
    if not size:
        return Look(None, (f"{label} is empty (0 bytes)",))
    try:
        picture = opened(file)
        return _look(label, picture, size, whole)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Look(None, (f"{label} unpacks to far too many pixels",))
    except BROKEN as error:
        if isinstance(error, OSError) and handles.used_up(error):  # a part of Pillow could not be loaded
            raise
        return _strange(label, file, size, whole)


def _look(label: str, picture: Image.Image, size: int, whole: bool) -> Look:
    kind = "JPEG" if picture.format == "MPO" else str(picture.format)
    orientation = orientation_of(picture)
    width, height = picture.size if orientation < 5 else picture.size[::-1]
    facts = Facts(kind, width, height, size)
    excess = []
    in_steps = kind == "JPEG" and not picture.info.get("progressive")
    most = JPEG_PIXELS_MAX if in_steps else PIXELS_MAX
    if width * height > most:
        excess.append(f"{label} has {width * height / 1e6:.0f} megapixels; at most {most // 10**6} are read")
    if size > FILE_BYTES_MAX:
        excess.append(f"{label} has {size / 1e6:.0f} MB; at most {FILE_BYTES_MAX // 10**6} MB are read")
    problems = [*excess, *_shape_problems(label, width, height)]
    readable = whole and not excess
    faults = _faults(label, picture, facts, orientation, whole)
    return Look(facts, tuple(problems), tuple(faults), readable and picture.has_transparency_data, readable)


def _faults(label: str, picture: Image.Image, facts: Facts, orientation: int, whole: bool) -> list[Fault]:
    faults = []
    native = facts.format in FRAME_FORMATS
    if not native:
        faults.append(
            Fault(
                f"{label} is {_article(facts.name)} by content; {one_line(FRAME_FORMATS)} is needed",
                f"converted from {facts.name}",
                fatal=True,
            )
        )
    if whole and getattr(picture, "is_animated", False) and picture.format != "MPO":
        several = "has several pages" if facts.format == "TIFF" else "is animated"
        faults.append(Fault(f"{label} {several}; a still picture is needed", "reduced to its first picture", True))
    if orientation > 1 or (facts.format == "TIFF" and picture.getexif().get(_ORIENTATION, 1) != 1):
        faults.append(
            Fault(f"{label} is stored turned, with a note to turn it back that the API may ignore", "turned upright")
        )
    if picture.mode in ("CMYK", "LAB"):
        faults.append(Fault(f"{label} is in {picture.mode}, the colours of print", "converted to RGB"))
    if picture.mode in DEEP_MODES or (native and any(";16" in str(tile.args) for tile in getattr(picture, "tile", ()))):
        faults.append(Fault(f"{label} has more than 8 bits for a colour", "brought to 8 bits"))
    if facts.bytes >= FRAME_BYTES_BELOW:
        allowed = f"{FRAME_BYTES_BELOW / 1e6:.0f} MB"
        faults.append(
            Fault(f"{label} has {facts.bytes / 1e6:.1f} MB; less than {allowed} is allowed", "compressed", True)
        )
    elif facts.width * facts.height > PIXELS_MAX:
        faults.append(Fault(f"{label} has {facts.width * facts.height / 1e6:.0f} megapixels", "scaled down", True))
    return faults


def _strange(label: str, file: BinaryIO, size: int, whole: bool) -> Look:
    """What is to be said of a file that Pillow does not open."""
    file.seek(0)
    head = file.read(1024)
    if not whole and (measures := webp_size(head)):
        facts = Facts("WEBP", *measures, size)
        return Look(facts, tuple(_shape_problems(label, *measures)), tuple(_too_large(label, facts)))
    return Look(None, (f"{label} is {_kind(head)}; {one_line(FRAME_FORMATS)} is needed",))


def _too_large(label: str, facts: Facts) -> list[Fault]:
    return [] if facts.bytes < FRAME_BYTES_BELOW else [Fault(f"{label} has {facts.bytes / 1e6:.1f} MB", "", True)]


def _kind(head: bytes) -> str:
    text, brand = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower(), head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        needs = "is damaged" if "HEIF" in formats() else "needs the package pillow-heif (or export it as JPEG)"
        return f"a HEIC photo, which {needs}"
    if brand in (b"avif", b"avis"):
        return "an AVIF picture, which is damaged"
    if brand:
        return "a video, not a picture (view_video shows how to take a frame of one)"
    if b"<svg" in text:
        return "an SVG drawing, not a picture of pixels"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture"
    if head.startswith((b"%PDF", b"%!PS")):
        return "a document, not a picture"
    return "not a picture that can be read"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def orientation_of(picture: Image.Image) -> int:
    """The EXIF number of how a picture is to be turned for display, 1 when not at all."""
    if picture.format == "TIFF":
        return 1  # Pillow turns these by itself
    try:
        if picture.format == "PNG":
            # It would be decoded as a whole to look for EXIF behind its pixels: only what stands before counts.
            exif = Image.Exif()
            exif.load(picture.info.get("exif", b""))
        else:
            exif = picture.getexif()
        value = exif.get(_ORIENTATION, 1)
    except BROKEN:
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


def whole_picture(label: str, file: BinaryIO, facts: Facts) -> Body | None:
    """The picture alone, if it is in a format that can be sent; large ones are not unpacked into memory for that.

    Raises RequestRejected for a picture that is cut off or damaged.
    """
    body = None
    if facts.format in FRAME_FORMATS and (body := picture_of(facts.format, file)) is None:
        raise damaged(label)
    if facts.width * facts.height <= DECODE_PIXELS_MAX:
        try:
            opened(file).load()
        except BROKEN:
            raise damaged(label) from None
    return body


def opened(file: BinaryIO) -> Image.Image:
    """The picture in a file, its header read; raises one of BROKEN."""
    bounded = Bounded(file)
    picture = Image.open(cast(BinaryIO, bounded), formats=formats())
    if picture.format in ("BMP", "DIB"):
        bounded.bytes_left = sys.maxsize  # packed ones are read byte by byte
    elif picture.format == "GIF":
        bounded.bytes_left += 20 * bounded.size  # read in blocks of 255 bytes
    return picture


def damaged(label: str) -> RequestRejected:
    return RequestRejected(f"{label} is damaged or cut off; save or export the picture again")


@cache
def formats() -> tuple[str, ...]:
    """What can be read here; HEIC where its library is installed. Never the formats that run other programs."""
    for plugin in _PLUGINS:
        importlib.import_module(f"PIL.{plugin}ImagePlugin")
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in _READABLE if name in Image.OPEN)


def one_line(formats: dict[str, str]) -> str:
    """`JPEG, PNG or WebP`."""
    names = [_NAMES.get(name, name) for name in formats]
    return f"{', '.join(names[:-1])} or {names[-1]}"
