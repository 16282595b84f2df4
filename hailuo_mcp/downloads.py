"""Brings one finished file to the disk: resumed after a break, checked to play to its end, under a name of its own."""

import asyncio
import errno
import filecmp
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from hailuo_mcp import files, mp4
from hailuo_mcp.api import RANGE_NOT_SATISFIABLE, HailuoApi
from hailuo_mcp.errors import ApiRefused, ApiUnavailable, DownloadFailed

ATTEMPTS = 5
TOTAL_SECONDS = 1800.0  # of one try; what it brought stays, and a link lasts for hours
VIDEO_BYTES_MAX = 2_000_000_000  # far more than ten seconds can be
_WRITE_BYTES = 1 << 20


class Downloads:
    """Downloads into one folder."""

    def __init__(
        self, api: HailuoApi, folder: Path, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._api = api
        self._folder = folder
        self._sleep = sleep

    async def fetch(
        self, task_id: str, name: str, url: str | None, fresh_link: Callable[[], Awaitable[str]]
    ) -> tuple[Path, mp4.Mp4Facts]:
        """The file's path and facts, from `url` or a fresh link; raises DownloadFailed.

        What a broken download has brought so far stays for the next try, also of another process.
        """
        with files.draft(self._folder, name, keep_as=f"hailuo-{task_id}") as draft:
            trouble: Exception | None = None
            for attempt in range(ATTEMPTS):
                if attempt:
                    await self._sleep(min(30.0, 0.5 * 2**attempt))
                try:
                    if not await asyncio.to_thread(_has_all, draft.path):
                        url = url or await fresh_link()
                        await self._stream(url, draft.path)
                    facts = await asyncio.to_thread(_checked, draft.path)
                    return draft.publish(), facts
                except ApiRefused as error:
                    trouble, url = error, None
                    if error.code == RANGE_NOT_SATISFIABLE:
                        draft.path.unlink(missing_ok=True)
                except ApiUnavailable as error:
                    trouble = error
                except mp4.NotAVideo as error:
                    draft.path.unlink(missing_ok=True)
                    trouble, url = error, None
                except OSError as error:
                    draft.path.unlink(missing_ok=True)
                    raise DownloadFailed(self._disk_trouble(task_id, error)) from error
        raise DownloadFailed(
            f"Video {task_id} is finished but could not be downloaded: {trouble} It is still on the server; call "
            "download_video again in a minute, or get_download_url for its link."
        ) from trouble

    def copy(self, task_id: str, home: Path, name: str) -> Path:
        """A copy of a video that is home, under another name, made once; raises DownloadFailed."""
        made = self._folder / name
        try:
            if made.is_file() and filecmp.cmp(home, made, shallow=False):
                return made
            with files.draft(self._folder, name) as draft:
                shutil.copyfile(home, draft.path)
                return draft.publish()
        except OSError as error:
            raise DownloadFailed(self._disk_trouble(task_id, error)) from error

    async def _stream(self, url: str, part: Path) -> None:
        """Write the file, going on where an earlier try stopped; raises ApiUnavailable when it ends too soon."""
        start = _size(part)
        try:
            async with asyncio.timeout(TOTAL_SECONDS), self._api.download(url, start) as download:
                if (download.total or 0) > VIDEO_BYTES_MAX:
                    raise mp4.NotAVideo(f"The file is too large for a video: {download.total} bytes.")
                with part.open("r+b" if download.start else "wb") as file:
                    file.seek(download.start)
                    have = download.start + await _write(file, download.pieces)
        except TimeoutError as error:
            raise ApiUnavailable(f"The download took longer than {TOTAL_SECONDS:g} s.") from error
        if download.total is not None and have != download.total:
            raise ApiUnavailable(f"The download ended after {have} of {download.total} bytes.")

    def _disk_trouble(self, task_id: str, error: OSError) -> str:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        return (
            f"Video {task_id} is finished but could not be saved in {self._folder}: {reason}. It is still on the "
            "server: mend that, or set HAILUO_OUTPUT_DIR to another folder, and call download_video again."
        )


def _has_all(part: Path) -> bool:
    """Whether an earlier try was cut off only after it had everything."""
    try:
        return part.exists() and mp4.inspect(part).bytes > 0
    except mp4.NotAVideo:
        return False


def _checked(part: Path) -> mp4.Mp4Facts:
    from hailuo_mcp import damage  # late: loading FFmpeg takes a moment

    return damage.check(part)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def _write(file: BinaryIO, pieces: AsyncIterator[bytes]) -> int:
    """Write pieces in large blocks, off the event loop and while the next ones arrive; returns the bytes written."""
    written, size = 0, 0
    block: list[bytes] = []
    writing: asyncio.Task[int] | None = None
    try:
        async for piece in pieces:
            block.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                written += await writing if writing else 0
                if file.tell() > VIDEO_BYTES_MAX:
                    writing, block = None, []
                    raise mp4.NotAVideo(f"The file is too large for a video: it goes on after {VIDEO_BYTES_MAX} bytes.")
                writing = asyncio.create_task(asyncio.to_thread(file.write, b"".join(block)))
                block, size = [], 0
    finally:
        # Also when the connection breaks: the next try goes on from here, so nothing may be left out in between.
        written += await writing if writing else 0
        written += file.write(b"".join(block))
    return written
