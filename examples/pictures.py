"""The README's pictures, made anew from the real thing: the frames before paying, a finished clip, the terminal.

    python examples/pictures.py [FOLDER]

It runs offline, against the simulated API; the terminal's picture needs macOS or Linux and two usual fonts.
"""

import asyncio
import base64
import fcntl
import io
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import sysconfig
import tempfile
import termios
import time
import unicodedata
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from PIL import Image, ImageDraw, ImageFont

from hailuo_mcp.demo import PICTURES
from hailuo_mcp.simulator import Simulator

PROMPT = "[Push in] The seeds are about to fly"
COLUMNS, ROWS, CELL, MARGIN = 120, 12, (9, 20), 16
INK, PAPER = (218, 221, 228), (24, 26, 33)
FONTS = ("DejaVuSansMono.ttf", "Menlo.ttc"), ("NotoSansCJK-Regular.ttc", "PingFang.ttc")  # narrow and wide letters
SHADES = 8
SECONDS_OF_LAST = 4
WIDEST = 1000


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tour-") as place:
        desk = Path(place).resolve()
        Image.open(PICTURES / "dandelion_first.jpg").save(desk / "dusk.jpg", quality=92)
        # A closing picture of another shape shows what the model will crop.
        close = Image.open(PICTURES / "dandelion_last.jpg")
        close.crop((close.width // 8, 0, close.width * 7 // 8, close.height)).save(desk / "close.jpg", quality=92)
        asyncio.run(make(folder, desk))


async def make(folder: Path, desk: Path) -> None:
    async with Simulator(generation_seconds=1) as simulator:
        environment = os.environ | {
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            "DMXAPI_API_KEY": "sk-simulated",
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_OUTPUT_DIR": str(desk / "videos"),
            "HAILUO_DATA_DIR": str(desk / "data"),
            "HAILUO_ALLOWED_DIRS": str(desk),
            "HAILUO_POLL_INTERVAL": "1",
        }
        save_small(await check(desk, environment), folder / "check.jpg")
        save_small(await clip(environment), folder / "clip.jpg")
        words = f'dusk.jpg close.jpg --prompt "{PROMPT}"'
        screens = [Screen()]
        for line in (f"hailuo-mcp check {words}", f"hailuo-mcp generate {words} --simulate --seconds 8"):
            screens += await asyncio.to_thread(run, line, screens[-1], desk, environment)
    save(screens[1:], folder / "terminal.gif")


async def check(desk: Path, environment: dict[str, str]) -> bytes:
    """What a model sees of two frames before anything is paid."""
    frames = {"first_frame_image": str(desk / "dusk.jpg"), "last_frame_image": str(desk / "close.jpg")}
    return (await call(environment, "check_frames", prompt=PROMPT, **frames))[1]


async def clip(environment: dict[str, str]) -> bytes:
    """What a model sees of a finished video."""
    frames = {f"{name}_frame_image": str(PICTURES / f"dandelion_{name}.jpg") for name in ("first", "last")}
    environment = environment | {"HAILUO_ALLOWED_DIRS": str(PICTURES)}
    task = (await call(environment, "generate_video", prompt=PROMPT, **frames))[0]["task_id"]
    await call(environment, "check_status", task_id=task, wait_seconds=45)
    return (await call(environment, "view_video", task_id=task, frames=9))[1]


async def call(environment: dict[str, str], tool: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
    """The data and the picture of an answer."""
    server = StdioServerParameters(command=sys.executable, args=["-m", "hailuo_mcp"], env=environment)
    async with Client(server) as client:
        result = await client.call_tool(tool, arguments)
    if result.is_error:
        sys.exit(str(result.content))
    pictures = [base64.b64decode(block.data) for block in result.content if block.type == "image"]
    return result.structured_content or {}, pictures[0] if pictures else b""


def save_small(jpeg: bytes, path: Path) -> None:
    picture = Image.open(io.BytesIO(jpeg))
    picture.thumbnail((WIDEST, WIDEST))
    picture.save(path, quality=78, optimize=True, progressive=True)


class Screen:
    """The letters on a terminal that knows line ends, carriage returns and folding."""

    def __init__(self, rows: list[list[str]] | None = None) -> None:
        self.rows = [list(row) for row in rows] if rows else [[]]
        self.column = len(self.rows[-1])

    def put(self, text: str) -> None:
        for letter in re.sub(r"\x1b\[[0-9;]*m", "", text):
            if letter == "\r":
                self.column = 0
            elif letter == "\n" or self.column >= COLUMNS:
                self.rows.append([])
                self.column = 0
            if letter not in "\r\n":
                row = self.rows[-1]
                wide = unicodedata.east_asian_width(letter) in "WF"
                row[self.column : self.column + 1 + wide] = [letter, ""] if wide else [letter]
                self.column += 1 + wide


def run(line: str, before: Screen, desk: Path, environment: dict[str, str]) -> list[Screen]:
    """What the terminal shows while a command runs, each time that it changes."""
    screen, seen = Screen(before.rows), []
    screen.put(f"$ {line}\n")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        shlex.split(line), stdin=theirs, stdout=theirs, stderr=theirs, cwd=desk, env=environment | {"TERM": "xterm"}
    )
    os.close(theirs)
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        time.sleep(0.25)
        if select.select([ours], [], [], 0)[0]:
            try:
                screen.put(os.read(ours, 65536).decode())
            except OSError:  # how Linux says that a terminal's other end is closed
                break
            seen.append(Screen(screen.rows))
    os.close(ours)
    return seen


def save(screens: list[Screen], path: Path) -> None:
    """The screens as a moving picture."""
    narrow, wide = (font(names) for names in FONTS)
    drawn = [draw(screen, narrow, wide) for screen in screens]
    pauses = [500] * (len(drawn) - 1) + [SECONDS_OF_LAST * 1000]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=pauses, loop=0)


def font(names: tuple[str, ...]) -> ImageFont.FreeTypeFont:
    for name in names:
        try:
            return ImageFont.truetype(name, 15)
        except OSError:
            continue
    sys.exit(f"The terminal's picture needs one of these fonts: {', '.join(names)}")


def draw(screen: Screen, narrow: ImageFont.FreeTypeFont, wide: ImageFont.FreeTypeFont) -> Image.Image:
    width, height = CELL
    picture = Image.new("L", (COLUMNS * width + 2 * MARGIN, ROWS * height + 2 * MARGIN))
    pen = ImageDraw.Draw(picture)
    for y, row in enumerate(screen.rows[-ROWS:]):
        for x, letter in enumerate(row):
            at = (MARGIN + x * width, MARGIN + y * height)
            if letter.isascii() or letter in "█░":
                pen.text(at, letter, 255, narrow)
            else:
                pen.text((at[0], at[1] - 4), letter, 255, wide)
    # One palette for all, so that only what changes is stored.
    shades = Image.frombytes("P", picture.size, picture.point(lambda ink: round(ink / 255 * (SHADES - 1))).tobytes())
    mixed = [
        round(paper + (ink - paper) * shade / (SHADES - 1))
        for shade in range(SHADES)
        for paper, ink in zip(PAPER, INK, strict=True)
    ]
    shades.putpalette(mixed)
    return shades


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "pictures"))
