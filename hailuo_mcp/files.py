"""The only code that trusts a path: confined reads, confined writes, atomic publishing."""

import errno
import filecmp
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from hailuo_mcp import handles
from hailuo_mcp.errors import DownloadFailed, RequestRejected

# Names that Windows keeps for devices, with or without an extension.
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_NAME_BYTES_MAX = 200


def open_confined(text: str, folders: Sequence[Path]) -> BinaryIO:
    """Open a regular file within one of the folders; raises RequestRejected with the reason.

    The descriptor stays the judged file, whatever happens to the path afterwards.
    """
    path = _resolve(text, folders)
    # NONBLOCK: a FIFO must not hang the server. NOFOLLOW: the path is resolved, so a link here was just put there.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise RequestRejected(f"{path} cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RequestRejected(f"{path} is not a file")
    return os.fdopen(descriptor, "rb")


def _resolve(text: str, folders: Sequence[Path]) -> Path:
    if not folders:
        raise RequestRejected(
            "files of the server's machine may not be read: give an http(s) URL, or name the folders in "
            "HAILUO_ALLOWED_DIRS"
        )
    path = _path(text)
    if not path.is_absolute():
        raise RequestRejected(f"'{text}' is not a full path; give it from the root, or from `~`")
    try:
        resolved = path.resolve()
        there = resolved.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestRejected(f"'{text}' cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not any(resolved.is_relative_to(folder.resolve()) for folder in folders):
        allowed = ", ".join(map(str, folders))
        raise RequestRejected(
            f"{path} lies outside the allowed folders ({allowed}); move it there, or add its folder to "
            "HAILUO_ALLOWED_DIRS"
        )
    if not there:  # told only of what may be read
        raise RequestRejected(f"{path} does not exist")
    return resolved


def find_video(text: str, folder: Path) -> Path | None:
    """The file that a name, or a full path, means in the folder; None for a bare word, which is no file's name.

    Raises RequestRejected when there is none, or it is elsewhere.
    """
    path = _path(text)
    if path.suffix.lower() != ".mp4" and len(path.parts) < 2:
        return None
    found = _resolve(str(folder / path), [folder])
    if not found.is_file():
        raise RequestRejected(f"{found} is not a file")
    return found


def _path(text: str) -> Path:
    """A path as people and models write it: quoted, as file URL, from `~`."""
    text = text.strip().strip("\"'")
    if text.lower().startswith("file:"):
        text = url2pathname(urlsplit(text).path)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def video_name(name: str) -> str:
    """A safe file name ending in .mp4, the same on every system; raises RequestRejected."""
    name = name.strip()
    stem = name[:-4] if name.lower().endswith(".mp4") else name
    if (
        not stem
        or not stem.isprintable()
        or _FORBIDDEN.search(stem)
        or stem.startswith(".")
        or stem.endswith((".", " "))
    ):
        raise RequestRejected(f"filename: must be a plain name such as 'dandelion.mp4', without folders (got {name!r})")
    if _DEVICES.fullmatch(stem) or len(os.fsencode(stem)) > _NAME_BYTES_MAX:
        raise RequestRejected(f"filename: {name[:80]!r} is reserved or too long; choose another")
    if "." in stem and stem.rsplit(".", 1)[1].lower() in ("mov", "avi", "mkv", "webm", "gif", "m4v"):
        raise RequestRejected(f"filename: the video is an MP4, so the name must end in .mp4 (got {name!r})")
    return f"{stem}.mp4"


def named_after(id: str) -> str:
    """The beginning of the names of a video's files: nothing in an id may lead to another folder."""
    safe = re.sub(r"[^\w.-]", "_", id)
    return f"hailuo-{safe}" if safe == id else f"hailuo-{safe}-{hashlib.sha256(id.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A file in the making: written at `path`, made visible under its name by `publish`."""

    path: Path
    name: str

    def publish(self) -> Path:
        """Give the file its name, or `name-2` and so on when other files have it; never over a file."""
        name = Path(self.name)
        number = 1
        while True:
            target = self.path.with_name(self.name if number == 1 else f"{name.stem}-{number}{name.suffix}")
            try:
                _name(self.path, target)
            except FileExistsError:
                number += 1
                continue
            return target


def _name(path: Path, target: Path) -> None:
    """Move a file to a free name in one step, so that nobody ever finds half of it there; raises FileExistsError."""
    if os.name == "nt":
        path.rename(target)  # never over a file there
        return
    try:
        target.hardlink_to(path)
    except FileExistsError:
        # A process that was killed right here has left both names.
        if not target.samefile(path):
            raise
    except OSError:
        # A file system without hard links: the name is taken first, then filled.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        path.replace(target)
        return
    path.unlink()


def reason(error: OSError) -> str:
    """Why the system refused, in words."""
    if handles.used_up(error):
        return handles.USED_UP
    return "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)


def unsaved(what: str, folder: Path, error: OSError) -> DownloadFailed:
    """Something that was made could not be written into the output folder."""
    remedy = handles.REMEDY if handles.used_up(error) else "Set HAILUO_OUTPUT_DIR to a folder that can be written."
    return DownloadFailed(f"{what} could not be saved in {folder}: {reason(error)}. {remedy}")


def make_folder(folder: Path) -> None:
    """Make the output folder where there is none; raises DownloadFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadFailed(
            f"The output folder {folder} cannot be made: {error.strerror}. Set HAILUO_OUTPUT_DIR to a folder that "
            "can be written."
        ) from error


@contextmanager
def sole(path: Path) -> Iterator[bool]:
    """Whether this process alone has the lock file, until the block ends; one that dies lets go of it."""
    with path.open("ab") as file:
        alone = _lock(file.fileno()) and (os.name == "nt" or _is_still_there(file, path))
        try:
            yield alone
        finally:
            if alone and os.name != "nt":
                path.unlink(missing_ok=True)
    if alone and os.name == "nt":
        with suppress(OSError):  # another process has just opened it
            path.unlink()


def _is_still_there(file: BinaryIO, path: Path) -> bool:
    """Whether it is the file of that name: the process that had it before may just have removed it."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _lock(descriptor: int) -> bool:
    """Lock an open file, unless another process has; where the file system knows no locks, do without."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


@contextmanager
def draft(folder: Path, name: str, *, keep_as: str | None = None) -> Iterator[Draft]:
    """A temporary file beside its final place; removed on failure unless `keep_as` names it for another try."""
    path = folder / f".{keep_as or secrets.token_hex(8)}.part"
    make_folder(folder)
    if path.is_symlink():  # it would be written through
        path.unlink()
    try:
        yield Draft(path, name)
    finally:
        if keep_as is None:
            path.unlink(missing_ok=True)


def copied(file: Path, folder: Path, name: str) -> Path:
    """A copy of a file under another name in the folder, made once; never over another file."""
    made = folder / name
    if made.is_file() and filecmp.cmp(file, made, shallow=False):
        return made
    with draft(folder, name) as copy:
        shutil.copyfile(file, copy.path)
        return copy.publish()
