"""Pictures mended for sending, without changing what they mean; the files themselves stay as they are."""

import contextlib
import io
import threading
from typing import BinaryIO

from PIL import Image, ImageCms

from hailuo_mcp.errors import RequestRejected
from hailuo_mcp.media.pictures import BROKEN, DEEP_MODES, damaged, look, opened, orientation_of

# More cannot help: a 4:3 frame that is cropped to the 1920x1080 of a 16:9 video needs 1440.
SHORT_SIDE_KEPT = 1440
PNG_BYTES_MAX = 4_000_000  # what is mended and larger as PNG becomes a JPEG
JPEG_QUALITY = 92
_STRIP_PIXELS = 1_000_000  # converted at a time, so that memory holds one whole copy at most
_REDUCING_GAP = 1.5  # how much larger than wanted a picture is before the last, careful step
_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_one_at_a_time = threading.Lock()  # unpacking is what takes memory


def upright(label: str, file: BinaryIO, short_side: int) -> tuple[Image.Image, bool]:
    """The first picture of a file in RGB, as displayed, its short side scaled down to that many pixels, and whether
    anything of it was transparent, which is white then. Raises RequestRejected when it is damaged."""
    with _one_at_a_time:
        try:
            return _upright(opened(file), short_side)
        except BROKEN:
            raise damaged(label) from None


def glimpse(label: str, file: BinaryIO, short_side: int) -> Image.Image | None:
    """A picture as `upright` gives it, None where it cannot be read."""
    try:
        return upright(label, file, short_side)[0] if look(label, file).readable else None
    except RequestRejected:
        return None


def _upright(picture: Image.Image, short_side: int) -> tuple[Image.Image, bool]:
    orientation = orientation_of(picture)
    final = _within(picture.size, short_side)
    picture.draft(None, final)  # a JPEG is unpacked no larger than needed
    picture.load()
    factor = max(1, int(min(picture.size) / (_REDUCING_GAP * min(final))))
    colours = _Colours(picture)
    small = picture if picture.mode == "RGB" and factor == 1 else _in_strips(picture, factor, colours)
    if small.size != final:
        small = small.resize(final, Image.Resampling.LANCZOS)
    if orientation in _TURNS:
        small = small.transpose(_TURNS[orientation])
    kept = {"icc_profile": picture.info.get("icc_profile")} if picture.mode in ("RGB", "RGBA") else {}
    small.info = {name: value for name, value in kept.items() if value}
    return small, colours.transparent


def _in_strips(picture: Image.Image, factor: int, colours: "_Colours") -> Image.Image:
    """The picture in RGB, a whole number of times smaller, with no second copy of it in memory."""
    width, height = picture.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, _STRIP_PIXELS // width // factor) * factor
    for top in range(0, height, rows):
        strip = colours.rgb(picture.crop((0, top, width, min(top + rows, height))))
        small.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return small


class _Colours:
    """Brings strips of a picture to RGB of 8 bits."""

    def __init__(self, picture: Image.Image) -> None:
        self.transparent = False
        self._highest = 255.0
        if picture.mode in DEEP_MODES:
            _, highest = picture.getextrema()
            assert isinstance(highest, (int, float))
            integer = picture.mode != "F"
            steps = (65535,) if integer else (1, 255, 65535)
            self._highest = float(next((step for step in steps if highest <= step), highest))
        self._from_print = None
        profile = picture.info.get("icc_profile")
        if picture.mode == "CMYK" and profile:
            with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile is as good as none
                self._from_print = ImageCms.buildTransform(
                    ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "CMYK", "RGB"
                )
        if picture.mode == "LAB":
            self._from_print = ImageCms.buildTransform(
                ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
            )

    def rgb(self, strip: Image.Image) -> Image.Image:
        """The strip in RGB; what is transparent becomes white."""
        if strip.mode in DEEP_MODES:
            # Converting straight to 8 bits would cut everything bright off.
            wide = strip.convert("F").point(lambda level: level * (255 / self._highest) + 0.5)
            return wide.convert("L").convert("RGB")
        if self._from_print:
            converted = ImageCms.applyTransform(strip, self._from_print)
            assert converted is not None
            return converted
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            lowest, _ = strip.getchannel("A").getextrema()
            if lowest < 255:  # type: ignore[operator]
                self.transparent = True
                strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        return strip.convert("RGB")


def _within(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    factor = min(1.0, short_side / min(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def encode(picture: Image.Image, source_format: str) -> tuple[io.BytesIO, str]:
    """A mended picture as a file for sending, and its format: PNG for what was lossless and stays small, or JPEG."""
    profile = picture.info.get("icc_profile")
    if source_format in _LOSSLESS:
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=3, icc_profile=profile)
        if file.tell() <= PNG_BYTES_MAX:
            return file, "PNG"
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, icc_profile=profile)
    return file, "JPEG"
