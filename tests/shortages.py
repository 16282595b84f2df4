"""What a machine may run out of, taken from a running server and given back: room, writing, the lock, handles."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

if os.name != "nt":
    import resource


@contextmanager
def limited(pid: int, kind: str, most: int) -> Iterator[None]:
    """A process that may use only so much of one thing."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux changes the limits of a running process")
    number = getattr(resource, kind)
    before = resource.prlimit(pid, number)
    resource.prlimit(pid, number, (most, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            resource.prlimit(pid, number, before)


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator["Disk"]:
    """A file system of its own, of that size."""
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Disk:
    """A mounted file system."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @contextmanager
    def full(self, *, but: int = 0) -> Iterator[None]:
        """No room is left, but for so many bytes."""
        filler = self.place / "filler"
        free = os.statvfs(self.place)
        with filler.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - but))
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written; works only while nothing is open for writing."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.place)], check=True, capture_output=True)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program holds the journal."""
    import sqlite3

    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def words(result: dict[str, Any]) -> str:
    """All text of a result."""
    return "\n".join(block["text"] for block in result["content"] if block["type"] == "text")
