"""The filming: carries films on, shot by shot, until each is one file, whatever happens meanwhile."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from hailuo_mcp.clocks import Steady
from hailuo_mcp.collector import Collector, is_home
from hailuo_mcp.errors import (
    ApiUnavailable,
    BudgetReached,
    HailuoError,
    JournalUnavailable,
    NotReady,
    Unconfirmed,
)
from hailuo_mcp.films.cutting import Cutter, Damaged
from hailuo_mcp.films.film import Film, ShotState, assemble
from hailuo_mcp.films.journal import FilmJournal, FilmRecord
from hailuo_mcp.films.script import Script
from hailuo_mcp.journal import Journal
from hailuo_mcp.media import mp4
from hailuo_mcp.records import Video
from hailuo_mcp.stills import last_frame
from hailuo_mcp.studio import Place, Request, Submitted
from hailuo_mcp.waiting import Sleep, done_within

LEASE_SECONDS = 60.0
BACKOFF_MAX_SECONDS = 600.0
DOUBLINGS_MAX = 10  # of the pause between two tries
MINUTE = 60.0

_log = logging.getLogger(__name__)
Generate = Callable[[Request, Place], Awaitable[Submitted]]
AnnounceFilm = Callable[[Film], Awaitable[None]]


@dataclass(slots=True)
class _Care:
    """What this process knows of a film between two turns."""

    turn: "asyncio.Task[None] | None" = None
    next_turn: float = 0.0
    next_submit: float = 0.0
    busy: ApiUnavailable | None = None  # why nothing is submitted before then
    failures: int = 0
    damaged: set[str] = field(default_factory=set)  # tasks whose file was fetched again once


class Filming:
    """Looks after the films of one journal; with several processes each film is carried on by one at a time.

    `side_by_side` bounds a film's videos under way, `a_minute` the submits of all films in this process.
    """

    def __init__(
        self,
        journal: Journal,
        films: FilmJournal,
        collector: Collector,
        generate: Generate,
        cutter: Cutter,
        *,
        side_by_side: int,
        a_minute: int,
        interval: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._journal = journal
        self._films = films
        self._collector = collector
        self._generate = generate
        self._cutter = cutter
        self._side_by_side = side_by_side
        self._interval = interval
        self._lease_seconds = max(LEASE_SECONDS, 3 * interval)
        self._clock = Steady(journal.clock)
        self._sleep = sleep
        self._owner = secrets.token_urlsafe(12)
        self._sent: deque[float] = deque(maxlen=a_minute)
        self._cares: dict[str, _Care] = {}
        self._running: asyncio.Task[None] | None = None
        self.announce: AnnounceFilm | None = None

    async def close(self) -> None:
        """Stop what is under way and let other processes take over; what was sent is in the journal."""
        running = [care.turn for care in self._cares.values() if care.turn] + ([self._running] if self._running else [])
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._films.release(self._owner)

    async def begin(self, key: str, script: Script) -> tuple[FilmRecord, bool]:
        """Write a film down; who makes it carries it on, as another process may not be allowed to read its pictures."""
        return await self._films.begin(key, script.to_json(), self._owner, self._lease_seconds)

    async def find(self, film_id: str) -> Film:
        """The film as it stands; raises NotFound."""
        record = await self._films.find(film_id)
        return assemble(record, await self._journal.shots(record.id))

    async def copy(self, film: Film, name: str) -> Path:
        """A copy of a film that is joined, under that name; raises DownloadFailed."""
        return await self._cutter.copy(Path(str(film.record.path)), name)

    async def go_on(self, film_id: str, patience: float) -> Film:
        """One turn, or the end of the one that is under way, waited for a while; then the film as it stands."""
        self.start()
        if await self._films.lease(self._owner, seconds=self._lease_seconds, film_id=film_id):
            await done_within(self._take_turn(film_id), patience, self._sleep)
        return await self.find(film_id)

    async def run(self) -> None:
        """Carry unfinished films on until cancelled, also those of processes that died."""
        while True:
            try:
                held = await self._films.lease(self._owner, seconds=self._lease_seconds)
                self._forget_all_but({record.id for record in held})
                for record in held:
                    # Not awaited: one film must not hold up the others.
                    if self._clock() >= self._care(record.id).next_turn:
                        self._take_turn(record.id)
            except HailuoError as error:
                _log.warning("films are not carried on for now: %s", error)
            await self._sleep(self._interval)

    def start(self) -> None:
        """Run in the background: a film that was confirmed here goes on without being asked after."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self.run())

    def _forget_all_but(self, held: Collection[str]) -> None:
        """What is finished is nobody's care; a pause that the API asked for is kept all the same."""
        now = self._clock()
        for film_id, care in [*self._cares.items()]:
            busy = now < max(care.next_turn, care.next_submit) or (care.turn and not care.turn.done())
            if film_id not in held and not busy:
                del self._cares[film_id]

    def _take_turn(self, film_id: str) -> "asyncio.Task[None]":
        """Start a film's turn, if none is under way."""
        care = self._care(film_id)
        if care.turn is None or care.turn.done():
            care.turn = asyncio.create_task(self._turn(film_id, care))
            care.turn.add_done_callback(_retrieve)
        return care.turn

    async def _turn(self, film_id: str, care: _Care) -> None:
        """Send what is ready, ask after what is under way, bring home what is done; join when all is there."""
        await self._journal.recover()  # a shot that a process was sending when it died
        before = film = await self.find(film_id)
        held = self._clock() < care.next_submit
        troubles = await self._send(film, care)
        film = await self.find(film_id)
        troubles += filter(None, await asyncio.gather(*(self._tend(shot) for shot in film.shots)))
        film = await self.find(film_id)
        if film.all_home and not film.record.finished:
            troubles += await self._join(film, care)
        words = "; ".join(dict.fromkeys(map(str, troubles))) or None
        film = await self.find(film_id)
        if words != film.record.failure and not film.record.finished:
            await self._films.fail(film_id, words)
        if not held:
            care.failures = care.failures + 1 if troubles else 0
        care.next_turn = self._clock() + (self._pause(care.failures) if troubles else self._interval)
        if self.announce and _looks(film) != _looks(before):
            await self.announce(film)

    async def _send(self, film: Film, care: _Care) -> list[HailuoError]:
        """Submit shots that are ready, as many as may be under way at once and in a minute.

        After the API was busy nothing is submitted for a while, however often somebody looks.
        """
        under_way = sum(shot.status in ("Submitting", "Processing") for shot in film.shots)
        ready = [shot for shot in film.shots if film.is_ready(shot)][: max(self._side_by_side - under_way, 0)]
        if ready and care.busy and self._clock() < care.next_submit:
            return [care.busy]
        sent = await asyncio.gather(*(self._submit(film, shot) for shot in ready if self._may_send()))
        troubles = [trouble for trouble in sent if trouble]
        busy = [trouble for trouble in troubles if isinstance(trouble, ApiUnavailable)]
        care.busy = busy[-1] if busy else None
        pause = max([self._pause(care.failures + 1), *(error.retry_after or 0.0 for error in busy)]) if busy else 0.0
        care.next_submit = self._clock() + pause
        return troubles

    def _pause(self, failures: int) -> float:
        return min(BACKOFF_MAX_SECONDS, self._interval * 2.0 ** min(failures, DOUBLINGS_MAX))

    def _may_send(self) -> bool:
        now = self._clock()
        if len(self._sent) == self._sent.maxlen and now - self._sent[0] < MINUTE:
            return False
        self._sent.append(now)
        return True

    async def _submit(self, film: Film, state: ShotState) -> HailuoError | None:
        """Pay for one shot; what may pass is returned, and what a person must decide on is written down."""
        shot, script, number = state.shot, film.script, state.number
        first = shot.first
        if script.follows(number) and (before := film.shots[number - 2].usable):
            if not await self._is_whole(before):
                return None  # it is brought home first, and that may be tried again: a refusal would be for good
            first = last_frame(str(before.task_id))
        request = Request(
            shot.prompt,
            first,
            shot.last,
            shot.duration,
            script.resolution,
            script.prompt_optimizer,
            script.aigc_watermark,
            shot.take,
            script.mend,
        )
        try:
            await self._generate(request, Place(film.record.id, number))
        except Unconfirmed:
            pass  # its record says so
        except (ApiUnavailable, BudgetReached, NotReady) as error:
            return error
        except JournalUnavailable:
            raise
        except HailuoError as error:
            await self._halt(film.record.id, number, " ".join(str(error).split()))
        return None

    async def _is_whole(self, video: Video) -> bool:
        """Whether a shot is at home; one whose file is damaged is to be fetched again."""
        if not is_home(video):
            return False
        try:
            await asyncio.to_thread(mp4.inspect, Path(str(video.path)))
        except mp4.NotAVideo:
            await self._journal.lost(str(video.task_id))
            return False
        except OSError:
            return False
        return True

    async def _halt(self, film_id: str, number: int, reason: str) -> None:
        def halted(record: FilmRecord) -> str:
            script = Script.from_json(record.script)
            return script.with_shot(number, replace(script.shot(number), halted=reason)).to_json()

        await self._films.edit(film_id, halted)

    async def _tend(self, shot: ShotState) -> HailuoError | None:
        """See how a shot's video stands, and bring it home when it is done."""
        video = shot.newest if shot.status == "Processing" else shot.usable
        if video is None or not video.task_id or is_home(video):
            return None
        try:
            if video.state == "Processing":
                video = await self._collector.glance(video.task_id)
            if video.state == "Success":
                home = asyncio.ensure_future(self._collector.bring_home(str(video.task_id)))
                if await done_within(home, self._interval, self._sleep):
                    home.result()
                else:
                    home.cancel()  # only this wait; the download itself is shared
        except JournalUnavailable:
            raise
        except HailuoError as error:
            return error
        return None

    async def _join(self, film: Film, care: _Care) -> list[HailuoError]:
        """Make one file of the shots; a shot's file that is damaged is fetched again, once."""
        try:
            cut = await self._cutter.cut(film)
        except Damaged as error:
            video = film.shots[error.number - 1].usable
            task_id = str(video.task_id) if video else ""
            if task_id in care.damaged:
                await self._halt(film.record.id, error.number, f"Its file came damaged twice. {error.__cause__}")
                return []
            care.damaged.add(task_id)
            await self._journal.lost(task_id)
            return [error]
        except HailuoError as error:
            return [error]
        made = {"path": str(cut.path), "bytes": cut.bytes, "seconds": cut.seconds}
        try:
            told = await self._films.finish(film.record, **made, encoded_because=cut.encoded_because)
        except JournalUnavailable:
            await self._cutter.discard(cut)  # else each try would leave one more
            raise
        if not told:
            await self._cutter.discard(cut)
            _log.info("film %s was changed while it was joined, and is joined again", film.record.id)
        return []

    def _care(self, film_id: str) -> _Care:
        return self._cares.setdefault(film_id, _Care())


def _looks(film: Film) -> tuple[object, ...]:
    """What of a film a subscriber would see change."""
    return (film.status, film.record.failure, *((shot.status, shot.path) for shot in film.shots))


def _retrieve(turn: "asyncio.Task[None]") -> None:
    """What is foreseen is tried again in the next turn; anything else is a bug, and told by the event loop."""
    if not turn.cancelled() and isinstance(error := turn.exception(), HailuoError):
        _log.warning("a film is not carried on for now: %s", error)
    elif not turn.cancelled() and error:
        raise error
