"""What came of a payment and could not be written down at once: tried again until the journal takes it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from hailuo_mcp.errors import JournalUnavailable, NotFound
from hailuo_mcp.records import Video
from hailuo_mcp.waiting import Sleep

AGAIN_SECONDS = 5.0
LAST_TRY_SECONDS = 1.0  # while the server closes

Write = Callable[[], Awaitable[Video]]
_log = logging.getLogger(__name__)


class Owed:
    """Writes outcomes into the journal, in order, however long that takes; `tell` hears of each."""

    def __init__(self, tell: Callable[[Video], Awaitable[None]], *, sleep: Sleep = asyncio.sleep) -> None:
        self._tell = tell
        self._sleep = sleep
        self._writes: list[Write] = []
        self._trying: asyncio.Task[None] | None = None

    async def write(self, write: Write, what: str) -> Video:
        """Write now; raises JournalUnavailable when it must be done later, which then happens by itself."""
        try:
            video = await write()
        except JournalUnavailable as error:
            _log.warning("%s could not be written into the journal yet: %s", what, error)
            self._writes.append(write)
            if self._trying is None or self._trying.done():
                self._trying = asyncio.create_task(self._try_again())
            raise
        await self._tell(video)
        return video

    async def close(self) -> None:
        """One last try, not waited for any longer than a closing host allows: a locked database would hold it up."""
        if self._trying:
            self._trying.cancel()
        if not self._writes:
            return
        last = asyncio.create_task(self._write_all())
        done, _ = await asyncio.wait({last}, timeout=LAST_TRY_SECONDS)
        if not done or last.exception():
            _log.warning("%d outcomes could not be written into the journal", len(self._writes))

    async def _try_again(self) -> None:
        while self._writes:
            await self._sleep(AGAIN_SECONDS)
            try:
                await self._write_all()
            except JournalUnavailable as error:
                _log.info("the journal is tried again: %s", error)

    async def _write_all(self) -> None:
        while self._writes:
            try:
                video = await self._writes[0]()
            except NotFound as error:  # another journal stands in its place, which knows nothing of the record
                _log.warning("an outcome is not written into the journal: %s", error)
            else:
                await self._tell(video)
            del self._writes[0]
