"""What can be wrong with this computer: Python, packages, libraries, clock, folders, disk."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from hailuo_mcp.settings import Settings

PYTHON_LEAST = (3, 11)
SKEW_SECONDS = 120.0  # links are signed with times
DISK_LOW_BYTES, DISK_LEAST_BYTES = 1_000_000_000, 100_000_000  # a video takes 2 to 20 MB

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    found: str
    advice: str = ""


def python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}, on {platform.platform(terse=True)}"
    if sys.version_info < PYTHON_LEAST:
        return Finding("Python", "fail", found, f"Install Python {'.'.join(map(str, PYTHON_LEAST))} or newer.")
    return Finding("Python", "ok", found)


def packages() -> Finding:
    wrong, seen = [], [f"hailuo-mcp {importlib.metadata.version('hailuo-mcp')}"]
    for requirement in importlib.metadata.requires("hailuo-mcp") or ():
        words = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*extra.*)?", requirement)
        if words is None or words[3]:
            continue
        try:
            version = importlib.metadata.version(words[1])
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{words[1]} is missing")
            continue
        seen.append(f"{words[1]} {version}")
        if not within(version, words[2]):
            wrong.append(f"{words[1]} is {version}, but {words[2].strip()} is needed")
    if wrong:
        return Finding("packages", "fail", "; ".join(wrong), "Install hailuo-mcp anew, in an environment of its own.")
    return Finding("packages", "ok", ", ".join(seen))


def within(version: str, ranges: str) -> bool:
    """Whether a version lies in ranges such as `>=2.3,<3`; only the numbers count."""
    tests: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        ">=": lambda have, limit: have >= limit,
        "<": lambda have, limit: have < limit,
    }
    have = _numbers(version)
    return all(tests[sign](have, _numbers(limit)) for sign, limit in re.findall(r"(>=|<)([0-9.]+)", ranges))


def _numbers(version: str) -> tuple[int, ...]:
    found = [int(number) for number in re.findall(r"\d+", re.split(r"[a-z+]", version)[0])]
    return tuple([*found, 0, 0, 0][:3])


def ffmpeg() -> Finding:
    try:
        from hailuo_mcp import video

        return Finding("FFmpeg libraries", "ok", video.libraries())
    except (ImportError, OSError, ValueError) as error:
        advice = "Install the package av anew; its wheels bring FFmpeg with them."
        return Finding("FFmpeg libraries", "fail", f"cannot be loaded: {error}", advice)


def clock(date: str | None, now: float) -> Finding:
    try:
        skew = now - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", "ok", "could not be compared: the API sent no date")
    if abs(skew) > SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        advice = "Set this computer's clock: links and their ends are told in times."
        return Finding("clock", "warn", f"is {abs(skew) / 60:.0f} minutes {way} the API's", advice)
    return Finding("clock", "ok", "agrees with the API's")


def output_folder(folder: Path) -> Finding:
    place = existing(folder)
    made = "" if place == folder else f" (it will be made in {place})"
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding("output folder", "ok", f"{folder} can be written{made}")
    except OSError as error:
        advice = "Make it writable, or set HAILUO_OUTPUT_DIR to another folder."
        return Finding("output folder", "fail", f"{folder} cannot be written: {error.strerror}", advice)


def disk(folder: Path) -> Finding:
    free = shutil.disk_usage(existing(folder)).free
    found = f"{free / 1e9:.1f} GB free for {folder}"
    if free < DISK_LOW_BYTES:
        return Finding(
            "disk", "fail" if free < DISK_LEAST_BYTES else "warn", found, "Free some space; a video takes up to 20 MB."
        )
    return Finding("disk", "ok", found)


def existing(folder: Path) -> Path:
    return next((place for place in (folder, *folder.parents) if place.exists()), Path(folder.anchor))


def allowed_folders(settings: Settings) -> Iterator[Finding]:
    for folder in dict.fromkeys(settings.frame_folders("stdio")):
        if folder == settings.output_dir:
            continue
        try:
            os.scandir(folder).close()
        except OSError as error:
            advice = "Correct HAILUO_ALLOWED_DIRS, or allow this program to read the folder in the system's settings."
            yield Finding("allowed folder", "fail", f"{folder} cannot be read: {error.strerror}", advice)
        else:
            yield Finding("allowed folder", "ok", f"frames may be read from {folder}")
