"""Films as a person asks for them: planned, confirmed once, looked after, retaken shot by shot, lengthened."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hailuo_mcp import files
from hailuo_mcp.clocks import Steady
from hailuo_mcp.errors import NotReady, RequestRejected
from hailuo_mcp.films.film import Film
from hailuo_mcp.films.filming import Filming
from hailuo_mcp.films.journal import FilmJournal, FilmRecord
from hailuo_mcp.films.plan import Plan, Planner
from hailuo_mcp.films.screening import Screening, Sketch
from hailuo_mcp.films.script import SHOTS_MAX, Script, Shot, lay_out
from hailuo_mcp.journal import Journal
from hailuo_mcp.records import Video
from hailuo_mcp.waiting import Sleep

STEP_SECONDS = 20.0  # who pays waits at most so long for the first shots to be sent
GLANCE_SECONDS = 3.0  # who only looks waits at most so long for the turn that is due
PROGRESS_SECONDS = 10.0

Tell = Callable[[float, Film], Awaitable[None]]


class Films:
    """The films of one journal."""

    def __init__(
        self,
        journal: Journal,
        films: FilmJournal,
        planner: Planner,
        filming: Filming,
        screening: Screening,
        require_key: Callable[[], str],
        *,
        interval: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._journal = journal
        self._films = films
        self._planner = planner
        self._filming = filming
        self._screening = screening
        self._require_key = require_key
        self._interval = interval
        self._clock = Steady(journal.clock)
        self._sleep = sleep

    async def plan(self, script: Script, to_pay: Sequence[int] | None = None, *, whole_urls: bool = False) -> Plan:
        """Everything that can be said of a film before it is paid for; free."""
        return await self._planner.plan(script, to_pay, whole_urls=whole_urls)

    async def create(self, plan: Plan, take: int = 1) -> tuple[Film, bool]:
        """Begin a film that the person wants to pay for; False with the film of the same request under way."""
        plan.require_no_problems()
        self._require_key()
        record, new = await self._filming.begin(plan.key(self._journal.host, take), plan.script)
        return await self._filming.go_on(record.id, STEP_SECONDS), new

    async def lengthened(
        self, film_id: str, keyframes: Sequence[str], shots: Sequence[Shot]
    ) -> tuple[Script, list[int]]:
        """The script with those shots at its end, and which numbers they get; nothing is changed."""
        record = (await self.find(film_id)).record
        longer = _lengthened(record, keyframes, shots)
        return longer, list(range(len(Script.from_json(record.script).shots) + 1, len(longer.shots) + 1))

    async def lengthen(self, film_id: str, keyframes: Sequence[str], shots: Sequence[Shot], plan: Plan) -> Film:
        """Add shots that the person wants to pay for; asked for twice while they are under way, they are added once."""
        plan.require_no_problems()
        self._require_key()
        await self._films.edit(film_id, lambda record: _lengthened(record, keyframes, shots).to_json())
        return await self._filming.go_on(film_id, STEP_SECONDS)

    async def retake_plan(self, film_id: str, number: int, changes: Shot) -> Plan:
        """The film with another take of that shot, judged; raises RequestRejected while the shot is under way.

        What is empty in `changes`, and a duration of 0, stays as it was.
        """
        film = await self.find(film_id)
        shot, state = film.script.shot(number), film.shots[number - 1]
        _require_idle(film, number)
        paid = state.newest is not None and state.newest.state != "Refused"
        changed = Shot(
            changes.prompt or shot.prompt,
            changes.duration or shot.duration,
            changes.first or shot.first,
            changes.last or shot.last,
            shot.take + 1 if paid else shot.take,
        )
        return await self._planner.plan(film.script.with_shot(number, changed), [number], retake=True)

    async def retake(self, film_id: str, plan: Plan) -> Film:
        """Pay for another take of the one shot that is planned; the others stay as they are."""
        plan.require_no_problems()
        self._require_key()
        (number,) = plan.to_pay
        shot = plan.script.shot(number)
        _require_idle(await self.find(film_id), number)  # somebody else may have been quicker
        await self._films.edit(film_id, lambda record: _with(record, number, shot))
        return await self._filming.go_on(film_id, STEP_SECONDS)

    async def found(self, film_id: str, number: int, task_id: str) -> Film:
        """A person found the task of an unconfirmed shot at the provider; raises RequestRejected."""
        film = await self.find(film_id)
        film.script.shot(number)
        newest = film.shots[number - 1].newest
        if newest is None or newest.state != "Unconfirmed":
            raise RequestRejected(f"task_id: shot {number} is not unconfirmed, so it takes none; leave it out")
        await self._journal.resolve(newest.id, task_id)
        await self._films.reopen(film_id)  # it may have been finished with an earlier take
        return await self._filming.go_on(film_id, STEP_SECONDS)

    async def find(self, film_id: str) -> Film:
        """The film as it stands; raises NotFound."""
        return await self._filming.find(film_id)

    async def recent(self, limit: int, *, unfinished: bool = False) -> list[Film]:
        """Films, newest first; only the `unfinished` ones if asked."""
        records = await self._films.recent(limit, unfinished=unfinished)
        return [await self.find(record.id) for record in records]

    async def file(self, film_id: str, filename: str | None) -> Film:
        """The film, joined anew if its file is gone, and copied if it is wanted under a name; raises DownloadFailed."""
        name = files.video_name(filename) if filename else None
        film = await self.status(film_id)
        if film.record.finished and not await asyncio.to_thread(Path(str(film.record.path)).is_file):
            await self._films.reopen(film_id)
            film = await self._filming.go_on(film_id, STEP_SECONDS)
        if not film.record.finished or name is None:
            return film
        copy = await self._filming.copy(film, name)
        return replace(film, record=replace(film.record, path=str(copy)))

    async def of(self, videos: Sequence[Video]) -> dict[str, Film]:
        """The films that those videos belong to, by their id."""
        ids = dict.fromkeys(video.intent.film_id for video in videos if video.intent and video.intent.film_id)
        return {film_id: await self.find(film_id) for film_id in ids if film_id}

    async def status(self, film_id: str, wait_seconds: float = 0, tell: Tell | None = None) -> Film:
        """How a film stands, carried on if nobody else does that, after waiting at most `wait_seconds` for its end."""
        start = self._clock()
        film = await self._filming.go_on(film_id, max(GLANCE_SECONDS, wait_seconds))
        while film.status == "Processing" and (waited := self._clock() - start) < wait_seconds:
            if tell:
                await tell(waited, film)
            await self._sleep(min(self._interval, wait_seconds - waited, PROGRESS_SECONDS))
            film = await self._filming.go_on(film_id, max(0.0, wait_seconds - (self._clock() - start)))
        return film

    async def storyboard(self, plan: Plan) -> bytes:
        """The keyframes of a plan in order, as a JPEG."""
        return await self._screening.storyboard(plan)

    async def preview(self, plan: Plan) -> Sketch:
        """The whole film as a flat sketch, drawn on this machine; free. Raises RequestRejected like the paid call."""
        plan.require_no_problems()
        return await self._screening.sketch(plan)

    async def look(self, film_id: str) -> tuple[Film, bytes]:
        """The film, and a JPEG with a row for each of its shots that is at home; raises NotReady when none is."""
        film = await self.find(film_id)
        if not film.home:
            raise NotReady(
                f"No shot of {film_id} is at home yet; check_status(task_id={film_id!r}) tells how they stand."
            )
        return film, await self._screening.sheet(film)


def _lengthened(record: FilmRecord, keyframes: Sequence[str], shots: Sequence[Shot]) -> Script:
    """The same shots again at the end of an unfinished film: somebody asked twice, after a time-out of their own."""
    script = Script.from_json(record.script)
    if not record.finished and len(script.shots) > len(shots):
        tail = tuple(replace(shot, take=1, halted=None) for shot in script.shots[-len(shots) :])
        if tail == lay_out(keyframes, shots, script.shots[-len(shots) - 1]):
            return script
    if (most := SHOTS_MAX - len(script.shots)) < len(shots):
        raise RequestRejected(
            f"shots: a film has at most {SHOTS_MAX}, so this one can be lengthened by {most} (got {len(shots)}); make "
            "another film of the rest"
        )
    return replace(script, shots=(*script.shots, *lay_out(keyframes, shots, script.shots[-1])))


def _require_idle(film: Film, number: int) -> None:
    """Raises RequestRejected while a shot is under way."""
    if film.shots[number - 1].status in ("Submitting", "Processing"):
        raise RequestRejected(
            f"shot: {number} is under way; nothing was sent. check_status(task_id={film.record.id!r}) waits"
        )


def _with(record: FilmRecord, number: int, shot: Shot) -> str:
    return Script.from_json(record.script).with_shot(number, shot).to_json()
