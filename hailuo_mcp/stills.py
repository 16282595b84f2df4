"""Single frames of finished videos, at full quality: what the next shot can begin or end with."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, unquote

from hailuo_mcp import files
from hailuo_mcp.collector import Collector
from hailuo_mcp.errors import NotReady, RequestRejected
from hailuo_mcp.media import mp4
from hailuo_mcp.records import Video
from hailuo_mcp.waiting import Sleep, done_within

PATIENCE_SECONDS = 40.0  # for a download, below the 60 s after which many hosts give up on a call
_STEP_SECONDS = 5.0  # a clock that jumps ahead, as after a sleep of the machine, ends one step and not the wait
_REFERENCE = re.compile(r"hailuo://videos/([^/\s]+)/(?:(first|last)-frame|frame/([^/\s]+))")
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,9})?")


def last_frame(clip: str) -> str:
    """The reference that means how a clip ends."""
    return f"hailuo://videos/{quote(clip, safe='')}/last-frame"


def is_reference(source: str) -> bool:
    """Whether a source means a frame of an earlier video."""
    return source.strip()[:9].lower() == "hailuo://"


class Stills:
    """Brings videos home when their frames are wanted. `film_file` finds the file of a film, None for another id."""

    def __init__(
        self,
        collector: Collector,
        film_file: Callable[[str], Awaitable[Path | None]],
        output_dir: Path,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._collector = collector
        self._film_file = film_file
        self._output_dir = output_dir
        self._sleep = sleep

    async def file(self, clip: str) -> tuple[Path, Video | None]:
        """The file of a clip that is named by its task_id, or by its name in the output folder."""
        if path := files.find_video(clip, self._output_dir):
            return path, None
        if path := await self._film_file(clip):
            return path, None
        video = await self._home(clip)
        return Path(str(video.path)), video

    async def _home(self, task_id: str) -> Video:
        """The video with its file at hand; raises NotReady when it is not finished or takes long to download."""
        home = asyncio.create_task(self._collector.bring_home(task_id))
        for _ in range(round(PATIENCE_SECONDS / _STEP_SECONDS)):
            if await done_within(home, _STEP_SECONDS, self._sleep):
                return home.result()
        home.cancel()  # only this caller's wait; the download itself is shared
        raise NotReady(f"Video {task_id} is still being downloaded; that goes on by itself. Ask again in a minute.")

    async def png(self, clip: str, moment: str) -> bytes:
        """A frame of a clip as PNG: the `first`, the `last`, or the one at that second, such as `2.5`."""
        check_moment(moment)
        path, _ = await self.file(clip)
        return await asyncio.to_thread(_extract, path, moment)

    async def save(self, path: Path, moment: str) -> Path:
        """That frame of the clip at `path` as a PNG file in the output folder, made once."""
        return await asyncio.to_thread(_save, path, moment, self._output_dir)

    async def of(self, reference: str) -> bytes:
        """The frame that a `hailuo://videos/...` reference means, as PNG; raises RequestRejected for another one."""
        match = _REFERENCE.fullmatch(reference.strip())
        if match is None:
            raise RequestRejected(
                f"{reference[:200]!r} is no frame of a video; write hailuo://videos/TASK_ID/last-frame, "
                ".../first-frame or .../frame/SECONDS"
            )
        clip, end, second = match.groups()
        return await self.png(unquote(clip), end or second)


def check_moment(moment: str) -> None:
    """Raises RequestRejected for what means no frame of a video."""
    if moment not in ("first", "last") and not _SECONDS.fullmatch(moment):
        raise RequestRejected(f"{moment[:80]!r} is no second of a video; write it like 2.5")


def _save(path: Path, moment: str, folder: Path) -> Path:
    data = _extract(path, moment)
    name = f"{path.stem}-{f'{moment}-frame' if moment in ('first', 'last') else f'at-{moment}s'}.png"
    made = folder / name
    try:
        if made.is_file() and made.read_bytes() == data:
            return made
        with files.draft(folder, name) as draft:
            draft.path.write_bytes(data)
            return draft.publish()
    except OSError as error:
        raise files.unsaved("The frame", folder, error) from error


def _extract(path: Path, moment: str) -> bytes:
    from hailuo_mcp import video  # late: loading FFmpeg takes a moment

    try:
        mp4.inspect(path)  # of a file that was cut off, the last picture that is left would pass for the last one
        return video.extract_png(path, "first" if moment == "first" else "last" if moment == "last" else float(moment))
    except (mp4.NotAVideo, video.Unreadable, OSError) as error:
        raise RequestRejected(f"{path} cannot be read as a video: {error}") from error
