"""One small picture to look at: the frames side by side, and on the last one what the model will cut away."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

LONG_EDGE_MAX = 1568  # pixels that hosts show a model without scaling
BYTES_MAX = 200_000
_CELL = (560, 420)
_GAP = 8
_LINE = 24
_DIMMED = 0.35


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture, or its size where only that is known, with the lines under it. `kept`: the shape, width to height,
    that is cut from its middle."""

    lines: Sequence[str]
    image: Image.Image | None = None
    size: tuple[int, int] | None = None
    kept: float | None = None


def draw_board(panels: Sequence[Panel]) -> bytes:
    """The panels side by side, as a JPEG of at most 200 kB."""
    drawn = [_picture(panel) for panel in panels]
    height = max(picture.height for picture in drawn)
    lines = max(len(panel.lines) for panel in panels)
    font, left = ImageFont.load_default(17), _GAP
    widest = (max(map(font.getlength, panel.lines), default=0) for panel in panels)
    rooms = [max(picture.width, min(math.ceil(line), _CELL[0])) for picture, line in zip(drawn, widest, strict=True)]
    board = Image.new("RGB", (sum(rooms) + _GAP * (len(rooms) + 1), height + 2 * _GAP + lines * _LINE), "white")
    draw = ImageDraw.Draw(board)
    for panel, picture, room in zip(panels, drawn, rooms, strict=True):
        board.paste(picture, (left, _GAP + height - picture.height))
        for number, line in enumerate(panel.lines):
            draw.text((left, height + 2 * _GAP + number * _LINE), _fitting(line, font, room), fill="black", font=font)
        left += room + _GAP
    return _jpeg(board)


def _picture(panel: Panel) -> Image.Image:
    if panel.image:
        picture = ImageOps.contain(panel.image.convert("RGB"), _CELL, Image.Resampling.LANCZOS)
    else:
        shape = ImageOps.contain(Image.new("RGB", panel.size or (4, 3), "#d8d8d8"), _CELL)
        picture = ImageOps.expand(ImageOps.crop(shape, 2), 2, "#a0a0a0")
    return _with_cut(picture, panel.kept) if panel.kept else picture


def _with_cut(picture: Image.Image, kept: float) -> Image.Image:
    """What is outside the middle of that shape dimmed, with a line where it is cut."""
    width, height = picture.size
    across = max(0, round((width - height * kept) / 2))
    down = 0 if across else max(0, round((height - width / kept) / 2))
    box = (across, down, width - across, height - down)
    dimmed = ImageEnhance.Brightness(picture).enhance(_DIMMED)
    dimmed.paste(picture.crop(box), box)
    draw = ImageDraw.Draw(dimmed)
    edges = [(across, 0, across, height), (width - across, 0, width - across, height)]
    if down:
        edges = [(0, down, width, down), (0, height - down, width, height - down)]
    for edge in edges:
        draw.line(edge, fill="#ff2020", width=3)
    return dimmed


def _fitting(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    """The text in the letters that Pillow's own font has, cut to the room there is."""
    text = " ".join(text.encode("ascii", "replace").decode().split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text}..."


def _jpeg(board: Image.Image) -> bytes:
    board.thumbnail((LONG_EDGE_MAX, LONG_EDGE_MAX))
    for quality in (85, 70, 50, 30):
        file = io.BytesIO()
        board.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= BYTES_MAX:
            break
    return file.getvalue()
