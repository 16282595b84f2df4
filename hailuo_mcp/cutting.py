"""The cutting room: a film's shots as one file in the output folder."""

import asyncio
import errno
from dataclasses import dataclass
from pathlib import Path

from hailuo_mcp import files, mp4
from hailuo_mcp.errors import DownloadFailed
from hailuo_mcp.film import Film


@dataclass(frozen=True, slots=True)
class Cut:
    """A film that was joined. `encoded_because` is None when every picture is as it was in its shot."""

    path: Path
    bytes: int
    seconds: float
    encoded_because: str | None


class Damaged(DownloadFailed):
    """The file of shot `number` cannot be read."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Cutter:
    """Joins films, one at a time: it takes both cores."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cutting = asyncio.Lock()

    async def cut(self, film: Film) -> Cut:
        """The film as a file, under a name of its own; raises Damaged, or DownloadFailed when it cannot be saved."""
        async with self._cutting:
            return await asyncio.to_thread(self._cut, film)

    def _cut(self, film: Film) -> Cut:
        from hailuo_mcp import joining, video  # late: loading FFmpeg takes a moment

        clips = [Path(str(shot.path)) for shot in film.shots]
        try:
            with files.draft(self._folder, f"{film.record.id}.mp4") as draft:
                joined = joining.join(clips, draft.path, exact=film.script.exact)
                facts = mp4.inspect(draft.path)
                return Cut(draft.publish(), facts.bytes, round(joined.seconds, 3), joined.reason)
        except video.Unreadable as error:
            number = clips.index(error.path) + 1
            raise Damaged(number, f"The file of shot {number} is damaged, so it is fetched again. {error}") from error
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise DownloadFailed(
                f"All {len(clips)} shots are at home, but the film could not be saved in {self._folder}: "
                f"{'the disk is full' if full else error.strerror or error}. Mend that, then check_status("
                f"task_id={film.record.id!r}) joins it; nothing more is paid"
            ) from error
