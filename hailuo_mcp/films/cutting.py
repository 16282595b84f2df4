"""The cutting room: a film's shots as one file in the output folder."""

import asyncio
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hailuo_mcp import files
from hailuo_mcp.errors import DownloadFailed
from hailuo_mcp.films.film import Film
from hailuo_mcp.media import mp4


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
        gone = threading.Event()
        async with self._cutting:
            try:
                return await asyncio.to_thread(self._cut, film, gone)
            except asyncio.CancelledError:
                gone.set()  # the thread goes on, but nobody would ever hear of the file that it made
                raise

    async def copy(self, film: Path, name: str) -> Path:
        """A copy of a film under that name, made once; raises DownloadFailed."""
        try:
            return await asyncio.to_thread(files.copied, film, self._folder, name)
        except OSError as error:
            raise DownloadFailed(
                f"The film is at {film}, but could not be copied as {name}: {files.reason(error)}"
            ) from error

    async def discard(self, cut: Cut) -> None:
        """Remove the file of a film of which nobody was told."""
        with suppress(OSError):
            await asyncio.to_thread(cut.path.unlink)

    def _cut(self, film: Film, gone: threading.Event) -> Cut:
        from hailuo_mcp import video  # late: loading FFmpeg takes a moment
        from hailuo_mcp.media import joining

        clips = [Path(str(shot.path)) for shot in film.shots]
        name = film.record.id
        for left in self._folder.glob(f".{name}-*.part"):  # by a process that was killed
            with suppress(OSError):
                left.unlink()
        try:
            with files.draft(self._folder, f"{name}.mp4", keep_as=f"{name}-{secrets.token_hex(4)}") as draft:
                try:
                    joined = joining.join(clips, draft.path, exact=film.script.exact)
                    facts = mp4.inspect(draft.path)
                    if gone.is_set():
                        raise asyncio.CancelledError
                    return Cut(draft.publish(), facts.bytes, round(joined.seconds, 3), joined.reason)
                finally:
                    draft.path.unlink(missing_ok=True)
        except video.Unreadable as error:
            number = clips.index(error.path) + 1
            raise Damaged(number, f"The file of shot {number} is damaged, so it is fetched again. {error}") from error
        except OSError as error:
            raise DownloadFailed(
                f"All {len(clips)} shots are at home, but the film could not be saved in {self._folder}: "
                f"{files.reason(error)}. Mend that, then check_status("
                f"task_id={film.record.id!r}) joins it; nothing more is paid"
            ) from error
