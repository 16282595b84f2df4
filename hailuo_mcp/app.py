"""The composition root: settings to edges to studio. The only place that builds."""

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hailuo_mcp import handles
from hailuo_mcp.errors import HailuoError, JournalUnavailable
from hailuo_mcp.settings import Settings, Transport, is_loopback
from hailuo_mcp.waiting import Sleep

if TYPE_CHECKING:
    from hailuo_mcp.collector import Announce
    from hailuo_mcp.films.filming import AnnounceFilm
    from hailuo_mcp.films.films import Films
    from hailuo_mcp.studio import Studio

WATCH_AFTER_SECONDS = 2.0  # the first answers come before the watch over old videos
WATCH_AGAIN_SECONDS = 60.0  # after a failure to open the journal

_log = logging.getLogger(__name__)


class App:
    """Builds the studio when it is first needed, so that a server starts fast, and closes it."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport = "stdio",
        *,
        caller: str = "",
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.settings = settings.of_caller(caller)
        self._caller = caller
        self.transport = transport
        self.announce: Announce | None = None
        self.announce_film: AnnounceFilm | None = None
        self._clock = clock
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._studio: Studio | None = None
        self._films: Films
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._watch: asyncio.Task[None] | None = None

    async def studio(self) -> "Studio":
        """The studio, opened on the first call; raises JournalUnavailable, and tries again on the next call."""
        async with self._lock:
            if self._studio is None:
                await _load()
                self._studio = await self._build()
            return self._studio

    async def films(self) -> "Films":
        """The films, opened with the studio; raises JournalUnavailable."""
        await self.studio()
        return self._films

    async def _build(self) -> "Studio":
        from hailuo_mcp.api import HailuoApi
        from hailuo_mcp.collector import Collector
        from hailuo_mcp.downloads import Downloads
        from hailuo_mcp.files import open_confined
        from hailuo_mcp.films.cutting import Cutter
        from hailuo_mcp.films.filming import Filming
        from hailuo_mcp.films.films import Films
        from hailuo_mcp.films.journal import FilmJournal
        from hailuo_mcp.films.plan import Planner
        from hailuo_mcp.films.screening import Screening
        from hailuo_mcp.journal import Journal
        from hailuo_mcp.remote import Remote
        from hailuo_mcp.review import Reviewer
        from hailuo_mcp.stills import Stills
        from hailuo_mcp.studio import Studio
        from hailuo_mcp.viewing import Viewer

        settings = self.settings
        # A caller's records are a journal of their own: to everybody else they do not exist.
        host = f"{settings.base_url} {self._caller}".strip()
        journal = Journal(settings.journal_url(), host=host, clock=self._clock)
        api = HailuoApi(
            settings.base_url,
            settings.require_key,
            submit_seconds=settings.submit_timeout,
            read_seconds=settings.request_timeout,
        )
        try:
            await journal.open()
        except HailuoError:
            await api.close()
            raise
        downloads = Downloads(api, settings.output_dir, sleep=self._sleep)
        self.collector = Collector(
            api,
            journal,
            downloads,
            interval=settings.poll_interval,
            adopts=not self._caller,
            clock=self._clock,
            sleep=self._sleep,
        )
        self.collector.announce = self.announce
        film_journal = FilmJournal(journal)
        stills = Stills(self.collector, film_journal.file, settings.output_dir, sleep=self._sleep)
        open_file = partial(open_confined, folders=settings.frame_folders(self.transport))
        reviewer = Reviewer(
            open_file, Remote(own_machine=is_loopback(urlsplit(settings.base_url).hostname or "")), stills
        )
        studio = Studio(
            api,
            journal,
            self.collector,
            reviewer,
            stills,
            Viewer(reviewer, stills, settings.output_dir),
            host=settings.base_url,
            submit_seconds=settings.submit_timeout,
            daily_limit=settings.max_videos_per_day,
            clock=self._clock,
            sleep=self._sleep,
        )
        self.filming = Filming(
            journal,
            film_journal,
            self.collector,
            studio.generate,
            Cutter(settings.output_dir),
            side_by_side=settings.film_shots_at_once,
            a_minute=settings.film_shots_per_minute,
            interval=settings.poll_interval,
            sleep=self._sleep,
        )
        self.filming.announce = self.announce_film
        planner = Planner(
            reviewer, journal, daily_limit=settings.max_videos_per_day, side_by_side=settings.film_shots_at_once
        )
        self._films = Films(
            journal,
            film_journal,
            planner,
            self.filming,
            Screening(settings.output_dir),
            settings.require_key,
            interval=settings.poll_interval,
            sleep=self._sleep,
        )
        self._closers = [self.filming.close, studio.close, self.collector.close, api.close, journal.close]
        return studio

    def start_watch(self) -> None:
        """Begin to look after unfinished videos in the background, if the settings want it."""
        wanted = self.settings.collect if self.settings.collect is not None else self.transport == "stdio"
        if wanted and self.settings.api_key is not None and self._watch is None:
            self._watch = asyncio.create_task(self._run_watch())

    async def _run_watch(self) -> None:
        await self._sleep(WATCH_AFTER_SECONDS)
        while True:
            try:
                await self.studio()
                self.filming.start()
                await self.collector.run()
            except HailuoError as error:
                _log.warning("unfinished videos are not watched for now: %s", error)
                await self._sleep(WATCH_AGAIN_SECONDS)

    async def close(self) -> None:
        """Close everything, within the two seconds that hosts give a server."""
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        closers, self._closers, self._studio = self._closers, [], None
        for close in closers:
            try:
                await close()
            except HailuoError as error:
                _log.warning("while closing: %s", error)


async def _load() -> None:
    """Load the heavy libraries, in a thread: pings are answered meanwhile. Raises JournalUnavailable."""
    try:
        await asyncio.to_thread(importlib.import_module, "hailuo_mcp.studio")
    except (OSError, ImportError) as error:
        if not handles.used_up(error):
            raise
        raise JournalUnavailable(f"The journal cannot be opened: {handles.USED_UP}. {handles.REMEDY}") from error


@asynccontextmanager
async def open_studio(settings: Settings, transport: Transport = "stdio") -> AsyncIterator["Studio"]:
    """The studio as a library: `async with open_studio(load_settings()) as studio: ...`."""
    app = App(settings, transport)
    try:
        yield await app.studio()
    finally:
        await app.close()


@asynccontextmanager
async def open_films(settings: Settings, transport: Transport = "stdio") -> AsyncIterator["Films"]:
    """The films as a library: `async with open_films(load_settings()) as films: ...`."""
    app = App(settings, transport)
    try:
        yield await app.films()
    finally:
        await app.close()
