"""The files that everybody works with. Usage: fixtures.py FOLDER; needs ffmpeg, and this project's own libraries."""

import os
import struct
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from PIL import Image, ImageOps

PICTURE_BYTES = 19_000_000
VIDEO_BYTES = 100_000_000
CLIPS = 4


def heavy_picture(target: Path) -> None:
    """A JPEG of about 19 MB: noise, which compresses as badly as the sharpest photograph."""

    def write(width: int) -> int:
        noise = [Image.effect_noise((width, width * 9 // 16), sigma) for sigma in (60, 50, 40)]
        Image.merge("RGB", noise).save(target, quality=92)
        return target.stat().st_size

    write(round(1000 * (PICTURE_BYTES / write(1000)) ** 0.5))


def photographs(folder: Path) -> None:
    """Two photographs of 1920x1080: first.jpg and last.jpg."""
    pictures = sorted(files("hailuo_mcp.simulator").joinpath("pictures").iterdir(), key=str)
    jpegs = [Path(str(picture)) for picture in pictures if str(picture).endswith(".jpg")]
    for name, picture in zip(("first.jpg", "last.jpg"), jpegs, strict=False):
        with Image.open(picture) as image:
            ImageOps.fit(image.convert("RGB"), (1920, 1080)).save(folder / name, quality=90)


def clip(target: Path, number: int) -> None:
    """Six seconds of moving pictures."""
    source = f"testsrc2=size=1364x768:rate=24:duration=6,hue=h={90 * number}"
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, *encoder, str(target)]
    subprocess.run(command, check=True)


def heavy_video(source: Path, target: Path) -> None:
    """A whole MP4 of 100 MB: a clip whose last box, the one with the pictures, is filled up."""
    content = source.read_bytes()
    at = 0
    while content[at + 4 : at + 8] != b"mdat":
        at += struct.unpack_from(">I", content, at)[0]
    length = struct.pack(">I", VIDEO_BYTES - at)
    filling = os.urandom(VIDEO_BYTES - len(content))
    target.write_bytes(content[:at] + length + content[at + 4 :] + filling)


def main(folder: Path) -> None:
    """Make all of them."""
    heavy_picture(folder / "heavy.jpg")
    photographs(folder)
    for number in range(CLIPS):
        clip(folder / f"clip{number}.mp4", number)
    heavy_video(folder / "clip0.mp4", folder / "heavy.mp4")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
