"""Brings one finished file to the disk: resumed after a break, checked to play to its end, under a name of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from hailuo_mcp import files
from hailuo_mcp.api import RANGE_NOT_SATISFIABLE, HailuoApi
from hailuo_mcp.errors import ApiRefused, ApiUnavailable, DownloadFailed
from hailuo_mcp.media import mp4
from hailuo_mcp.waiting import Sleep

ATTEMPTS = 5
# Several times what ten seconds of this API weigh. What is larger is none of its videos, and its boxes must do.
DECODED_BYTES_MAX = 80_000_000
TOTAL_SECONDS = 1800.0  # of one try; what it brought stays, and a link lasts for hours
VIDEO_BYTES_MAX = 2_000_000_000  # far more than ten seconds can be
_WRITE_BYTES = 1 << 20


class Downloads:
    """Downloads into one folder."""

    def __init__(self, api: HailuoApi, folder: Path, *, sleep: Sleep = asyncio.sleep) -> None:
        self._api = api
        self._folder = folder
        self._sleep = sleep

    @contextmanager
    def alone(self, task_id: str) -> Iterator[bool]:
        """Whether nobody else downloads that video into this folder, until the block ends; raises DownloadFailed."""
        files.make_folder(self._folder)
        with ExitStack() as stack:
            try:
                alone = stack.enter_context(files.sole(self._folder / f".{files.named_after(task_id)}.lock"))
            except OSError as error:
                raise DownloadFailed(self._disk_trouble(task_id, error)) from error
            yield alone

    async def fetch(
        self, task_id: str, name: str, url: str | None, fresh_link: Callable[[], Awaitable[str]], *, never_home: bool
    ) -> tuple[Path, mp4.Mp4Facts]:
        """The file's path and facts, from `url` or a fresh link; raises DownloadFailed.

        `never_home`: no file of this video was ever written down, so one that is there was brought by a process that
        was stopped before it could. What a broken download has brought so far stays for the next try, also of another
        process.
        """
        with files.draft(self._folder, name, keep_as=files.named_after(task_id)) as draft:
            trouble: Exception | None = None
            for attempt in range(ATTEMPTS):
                if attempt:
                    await self._sleep(min(30.0, 0.5 * 2**attempt))
                try:
                    made = self._folder / name
                    if never_home and name == usual_name(task_id) and (facts := await asyncio.to_thread(_facts, made)):
                        draft.path.unlink(missing_ok=True)
                        return made, facts
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
                    with contextlib.suppress(OSError):  # a disk that takes nothing gives nothing up either
                        draft.path.unlink(missing_ok=True)
                    raise DownloadFailed(self._disk_trouble(task_id, error)) from error
        raise DownloadFailed(
            f"Video {task_id} is finished but could not be downloaded: {trouble} It is still on the server; call "
            "download_video again in a minute, or get_download_url for its link."
        ) from trouble

    def copy(self, task_id: str, home: Path, name: str) -> Path:
        """A copy of a video that is home, under another name, made once; raises DownloadFailed or NotAVideo."""
        try:
            mp4.inspect(home)  # the record may have been made to name any file
            return files.copied(home, self._folder, name)
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
        return (
            f"Video {task_id} is finished but could not be saved in {self._folder}: {files.reason(error)}. It is still "
            "on the server: mend that, or set HAILUO_OUTPUT_DIR to another folder, and call download_video again."
        )


def usual_name(task_id: str) -> str:
    """The name of a video for which nobody wished another one."""
    return f"{files.named_after(task_id)}.mp4"


def _facts(made: Path) -> mp4.Mp4Facts | None:
    """What is there already, if it is whole."""
    try:
        return _checked(made) if made.exists() else None
    except mp4.NotAVideo:
        return None


def _has_all(part: Path) -> bool:
    """Whether an earlier try was cut off only after it had everything."""
    try:
        return part.exists() and mp4.inspect(part).bytes > 0
    except mp4.NotAVideo:
        return False


def _checked(part: Path) -> mp4.Mp4Facts:
    facts = mp4.inspect(part)
    if facts.bytes > DECODED_BYTES_MAX:
        return facts
    from hailuo_mcp.media import damage  # late: loading FFmpeg takes a moment

    return damage.check(part)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def _write(file: BinaryIO, pieces: AsyncIterator[bytes]) -> int:
    """Write pieces in large blocks, off the event loop and while the next ones arrive; returns the bytes written."""
    start, size = file.tell(), 0
    block: list[bytes] = []
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in pieces:
            block.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                if writing:
                    await writing
                if file.tell() > VIDEO_BYTES_MAX:
                    writing, block = None, []
                    raise mp4.NotAVideo(f"The file is too large for a video: it goes on after {VIDEO_BYTES_MAX} bytes.")
                writing = asyncio.create_task(asyncio.to_thread(file.writelines, block))
                block, size = [], 0
    finally:
        # Also when the connection breaks: the next try goes on from here, so nothing may be left out in between.
        if writing:
            await writing
        file.writelines(block)
    return file.tell() - start
