"""What was asked, what was paid for, where it is now: written down before anything is sent, never forgotten."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hailuo_mcp import journal_schema as schema
from hailuo_mcp.errors import BudgetReached, JournalUnavailable, NotFound, RequestRejected
from hailuo_mcp.journal_schema import videos
from hailuo_mcp.records import INTENT, Home, Intent, Observed, State, Video, video_of

DAY_SECONDS = 86_400.0
# No lease and no submit lasts so long: one that ends later was written before the clock was set back.
HOUR_SECONDS = 3600.0
# What upstream says may only lead upwards: a finished video stays finished, and a late success beats a failure.
_RANK: dict[str, int] = {"Processing": 0, "Failed": 1, "Success": 2}
_NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_until": None}
_CUT_SHORT = "the server stopped while it was sending the request"


class Journal:
    """The records of one API host, in a database that any number of processes may share."""

    def __init__(self, url: str, *, host: str, clock: Callable[[], float] = time.time) -> None:
        self._url = schema.address(url)
        self._place = schema.place(self._url)
        self.host = host
        self.clock = clock
        self._engine: AsyncEngine | None = None
        # Waiting in line within a process is fairer and cheaper than waiting for the database's lock.
        self._writer = asyncio.Lock()

    async def open(self) -> None:
        """Create folder and tables or carry older tables forward; raises JournalUnavailable."""
        self._engine = schema.connect(self._url)
        try:
            if self._url.get_backend_name() == "sqlite":
                await self._open_file()
            async with self.writing() as connection:
                await connection.run_sync(schema.carry_forward, self._place)
        except BaseException:
            await self.close()
            raise

    async def _open_file(self) -> None:
        deadline = time.monotonic() + schema.PATIENCE_SECONDS
        folder = Path(str(self._url.database)).parent
        try:
            await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise schema.trouble(self._place, error) from error
        while True:
            try:
                async with self._connected().connect() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
            except OperationalError as error:
                # Changing the mode does not wait for other processes that open the file at the same moment.
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise schema.trouble(self._place, error) from error
                await asyncio.sleep(0.02)
            except SQLAlchemyError as error:
                raise schema.trouble(self._place, error) from error

    async def close(self) -> None:
        """Let go of the database."""
        engine, self._engine = self._engine, None
        if engine:
            await engine.dispose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def begin(self, intent: Intent, *, patience: float, daily_limit: int | None = None) -> tuple[Video, bool]:
        """Write an intent down before it is sent; False with the record of the same request that is under way.

        After `patience` seconds without an outcome the record counts as unconfirmed. Raises BudgetReached.
        """
        now = self.clock()
        async with self.writing() as connection:
            if row := (await connection.execute(self._same(intent))).first():
                if row.state == "Submitting" and _is_over(row.submit_deadline, now):
                    return await self._change(connection, row, state="Unconfirmed", failure=_CUT_SHORT), False
                return _video(row), False
            if daily_limit is not None:
                await self._check_budget(connection, daily_limit, now)
            values = {**asdict(intent), "state": "Submitting", "submit_deadline": now + patience}
            if intent.film_id is not None and (row := (await connection.execute(self._refused_take(intent))).first()):
                # Asked again by itself until the API takes it: one record for all that, not one for each refusal.
                return await self._change(connection, row, **values, failure=None, created_at=now), True
            return await self._insert(connection, values), True

    def _refused_take(self, intent: Intent) -> Select[Any]:
        take = (videos.c.film_id == intent.film_id, videos.c.shot == intent.shot, videos.c.take == intent.take)
        return select(videos).where(self._ours, *take, videos.c.state == "Refused").limit(1)

    def _same(self, intent: Intent) -> Select[Any]:
        """What stands for the same request: one that is under way, or any paid take of that shot of a film."""
        same = and_(videos.c.key == intent.key, text(schema.ACTIVE))
        if intent.film_id is not None:
            film = (videos.c.film_id == intent.film_id, videos.c.shot == intent.shot, videos.c.take == intent.take)
            same = or_(same, and_(*film, text(schema.TAKEN)))
        return select(videos).where(self._ours, same)

    async def _check_budget(self, connection: AsyncConnection, limit: int, now: float) -> None:
        if limit <= 0:
            raise BudgetReached("Nothing was sent: HAILUO_MAX_VIDEOS_PER_DAY is 0, so no video may be paid for.")
        # The limit-th newest paid video: while it is younger than a day, the budget is used up.
        paid = select(videos.c.created_at).where(text(schema.OURS), videos.c.created_at > now - DAY_SECONDS)
        created_at = await connection.scalar(paid.order_by(videos.c.created_at.desc()).offset(limit - 1).limit(1))
        if created_at is not None:
            frees = created_at + DAY_SECONDS
            hours, minutes = divmod(int(frees - now) // 60 + 1, 60)
            raise BudgetReached(
                f"Nothing was sent: the limit of {limit} videos within 24 hours (HAILUO_MAX_VIDEOS_PER_DAY) is used "
                f"up. The next one is possible at {time.strftime('%Y-%m-%d %H:%M', time.localtime(frees))}, "
                f"in {hours} h {minutes} min."
            )

    async def paid_within_day(self) -> int:
        """How many videos were paid for, or may have been, in the last 24 hours."""
        since = videos.c.created_at > self.clock() - DAY_SECONDS
        async with self.reading() as connection:
            return await connection.scalar(select(func.count()).where(text(schema.OURS), since)) or 0

    async def submitted(self, id: str, task_id: str) -> Video:
        """The API took the request and named its task. An answer that comes late still counts."""
        async with self.writing() as connection:
            row = (await connection.execute(self._by_id(id))).first()
            if row and row.state in ("Submitting", "Unconfirmed"):
                return await self._link_task(connection, row, task_id)
            if row and row.task_id == task_id:
                return _video(row)
            # Somebody resolved the record with another task meanwhile, or another journal stands in the place of the
            # one it was written in; this task is not to be lost for that.
            known = await self._task_row(connection, task_id)
            return _video(known) if known else await self._adopt(connection, task_id, state="Processing")

    async def resolve(self, id: str, task_id: str) -> Video:
        """A person found the task of an unconfirmed request; raises RequestRejected when that cannot be."""
        async with self.writing() as connection:
            row = await self._row(connection, id)
            if task_id == row.task_id:
                return _video(row)
            if row.state not in ("Submitting", "Unconfirmed"):
                raise RequestRejected(f"Record {id} is {row.state}; only an Unconfirmed one can be given a task_id.")
            video = await self._link_task(connection, row, task_id)
        if video.task_id != task_id:
            raise RequestRejected(str(video.failure))
        return video

    async def _link_task(self, connection: AsyncConnection, row: Row[Any], task_id: str) -> Video:
        """Give a record its task, with all that is known if somebody asked after the task before."""
        other = await self._task_row(connection, task_id)
        if other is None:
            return await self._change(
                connection, row, state="Processing", task_id=task_id, failure=None, submit_deadline=None
            )
        if other.key is not None:
            reason = f"task {task_id} already belongs to record {other.id}"
            return await self._change(connection, row, state="Unconfirmed", failure=reason)
        await connection.execute(videos.delete().where(videos.c.number == other.number))
        kept = ("number", "id", "host", "created_at", "updated_at", "submit_deadline", *INTENT)
        facts = {name: value for name, value in other._mapping.items() if name not in kept}
        return await self._change(connection, row, submit_deadline=None, **facts)

    async def unconfirmed(self, id: str, reason: str, begun: float | None = None) -> Video:
        """The request was sent, but nobody knows what came of it; `begun` as in `refused`."""
        return await self._settle(id, "Unconfirmed", reason, begun)

    async def refused(self, id: str, reason: str, begun: float | None = None) -> Video:
        """The API refused the request, or it never got there: nothing was paid.

        `begun` is the `created_at` of that attempt: a record that was begun anew since is left as it is.
        """
        return await self._settle(id, "Refused", reason, begun)

    async def _settle(self, id: str, state: State, reason: str, begun: float | None) -> Video:
        async with self.writing() as connection:
            row = await self._row(connection, id)
            if row.state not in ("Submitting", "Unconfirmed") or begun not in (None, row.created_at):
                return _video(row)
            return await self._change(connection, row, state=state, failure=reason, submit_deadline=None)

    async def recover(self) -> int:
        """Mark as unconfirmed what processes that died were sending; how many there were."""
        now = self.clock()
        deadline = videos.c.submit_deadline
        over = or_(deadline <= now, deadline > now + HOUR_SECONDS)
        overdue = (videos.c.state == "Submitting", over)
        async with self.reading() as connection:
            if (await connection.execute(select(videos.c.number).where(*overdue).limit(1))).first() is None:
                return 0
        changes = {"state": "Unconfirmed", "failure": _CUT_SHORT, "updated_at": now}
        async with self.writing() as connection:
            return (await connection.execute(videos.update().where(*overdue).values(changes))).rowcount

    async def observed(
        self,
        task_id: str,
        *,
        state: Observed,
        upstream_status: str | None = None,
        file_id: str | None = None,
        video_width: int | None = None,
        video_height: int | None = None,
        failure: str | None = None,
    ) -> Video:
        """What the API says of a task; a task that is not in the journal is adopted. An end stays an end."""
        facts: dict[str, object] = {
            "upstream_status": upstream_status,
            "file_id": file_id,
            "video_width": video_width,
            "video_height": video_height,
        }
        known = {name: value for name, value in facts.items() if value is not None}
        async with self.writing() as connection:
            row = await self._task_row(connection, task_id)
            if row is None:
                return await self._adopt(connection, task_id, state=state, failure=failure, **known)
            if _RANK[state] < _RANK[row.state]:
                return _video(row)
            if state != row.state or failure:
                known |= {"state": state, "failure": failure}
            return await self._change(connection, row, **known, **(_NO_LEASE if state == "Failed" else {}))

    async def linked(self, task_id: str, *, file_id: str, filename: str | None, expires_at: float | None) -> Video:
        """A download link was handed out."""
        async with self.writing() as connection:
            row = await self._row(connection, task_id)
            return await self._change(connection, row, file_id=file_id, filename=filename, expires_at=expires_at)

    async def brought_home(self, task_id: str, home: Home) -> Video:
        """The whole file is on the disk."""
        async with self.writing() as connection:
            row = await self._row(connection, task_id)
            found = {name: value for name, value in asdict(home).items() if value is not None}
            done = {"state": "Success", "failure": None, "given_up": False}
            return await self._change(connection, row, **found, **done, **_NO_LEASE)

    async def lost(self, task_id: str) -> Video:
        """The file that had come home is of no use: it is to be brought home again."""
        async with self.writing() as connection:
            row = await self._row(connection, task_id)
            return await self._change(connection, row, path=None, bytes=None, given_up=False)

    async def given_up(self, task_id: str, reason: str) -> Video:
        """Stop trying to bring a video home by itself; whoever asks for it may still try."""
        async with self.writing() as connection:
            row = await self._row(connection, task_id)
            if row.path is not None:
                return _video(row)
            return await self._change(connection, row, given_up=True, failure=reason, **_NO_LEASE)

    async def find(self, id_or_task_id: str) -> Video | None:
        """The record with this id of ours, or of this task."""
        async with self.reading() as connection:
            row = (await connection.execute(self._by_id(id_or_task_id))).first()
        return _video(row) if row else None

    async def recent(
        self, *, state: State | None = None, limit: int = 20, before: str | None = None
    ) -> tuple[list[Video], str | None]:
        """Records, newest first, and the cursor of the next page; raises RequestRejected for a cursor of no page."""
        page = select(videos).where(self._ours).order_by(videos.c.number.desc()).limit(limit + 1)
        if state:
            page = page.where(videos.c.state == state)
        async with self.reading() as connection:
            if before is not None:
                end = await connection.scalar(select(videos.c.number).where(self._ours, videos.c.id == before))
                if end is None:
                    raise RequestRejected(f"before: {before!r} is not a cursor from an earlier page; leave it out")
                page = page.where(videos.c.number < end)
            found = [_video(row) for row in await connection.execute(page)]
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def shots(self, film_id: str) -> list[Video]:
        """Every take of every shot of a film, oldest first."""
        taken = select(videos).where(self._ours, videos.c.film_id == film_id).order_by(videos.c.number)
        async with self.reading() as connection:
            return [_video(row) for row in await connection.execute(taken)]

    async def under_way(self) -> list[Video]:
        """What is neither finished nor refused, newest first."""
        active = select(videos).where(self._ours, text(schema.ACTIVE))
        async with self.reading() as connection:
            rows = (await connection.execute(active)).all()
        # Sorted here: asked to sort, SQLite would rather walk through the whole journal in order.
        return [_video(row) for row in sorted(rows, key=_number, reverse=True)]

    async def changed_since(self, epoch: float) -> list[Video]:
        """What anybody has written since then, by the clocks of those who wrote."""
        changed = select(videos).where(self._ours, videos.c.updated_at > epoch).order_by(videos.c.updated_at)
        async with self.reading() as connection:
            return [_video(row) for row in await connection.execute(changed)]

    async def lease(
        self, owner: str, *, seconds: float, limit: int = 500, task_ids: Collection[str] | None = None
    ) -> list[Video]:
        """Claim, or keep, unfinished videos for this owner; those that nobody tended longest come first."""
        if task_ids is not None and not task_ids:
            return []
        now = self.clock()
        until = videos.c.lease_until
        free = or_(until.is_(None), until <= now, until > now + HOUR_SECONDS, videos.c.lease_owner == owner)
        due = select(videos.c.number).where(self._ours, text(schema.TO_WATCH), free)
        if task_ids is not None:
            due = due.where(videos.c.task_id.in_(task_ids))
        due = due.order_by(func.coalesce(videos.c.lease_until, 0.0), videos.c.number).limit(limit)
        # A record that another process is claiming right now is its record, not worth waiting for.
        claimed = due.with_for_update(skip_locked=True).cte("claimed")
        claim = videos.update().where(videos.c.number.in_(select(claimed.c.number)))
        claim = claim.values(lease_owner=owner, lease_until=now + seconds)
        async with self.writing(alone=False) as connection:
            rows = (await connection.execute(claim.returning(videos))).all()
        return [_video(row) for row in sorted(rows, key=_number)]

    async def release(self, owner: str) -> None:
        """Let other processes claim what this owner holds."""
        held = videos.update().where(self._ours, text(schema.TO_WATCH), videos.c.lease_owner == owner)
        async with self.writing() as connection:
            await connection.execute(held.values(_NO_LEASE))

    @property
    def _ours(self) -> ColumnElement[bool]:
        return videos.c.host == self.host

    def _by_id(self, id_or_task_id: str) -> Any:
        named = or_(videos.c.id == id_or_task_id, videos.c.task_id == id_or_task_id)
        return select(videos).where(self._ours, named)

    async def _row(self, connection: AsyncConnection, id_or_task_id: str) -> Row[Any]:
        row = (await connection.execute(self._by_id(id_or_task_id))).first()
        if row is None:
            raise NotFound(f"Nothing named {id_or_task_id} is in the journal; list_videos tells what is.")
        return row

    async def _task_row(self, connection: AsyncConnection, task_id: str) -> Row[Any] | None:
        return (await connection.execute(select(videos).where(self._ours, videos.c.task_id == task_id))).first()

    async def _adopt(self, connection: AsyncConnection, task_id: str, **values: object) -> Video:
        return await self._insert(connection, {"task_id": task_id, **values})

    async def _insert(self, connection: AsyncConnection, values: dict[str, Any]) -> Video:
        now = self.clock()
        own = {"id": secrets.token_urlsafe(16), "host": self.host, "created_at": now, "updated_at": now}
        return _video((await connection.execute(videos.insert().values(**own, **values).returning(videos))).one())

    async def _change(self, connection: AsyncConnection, row: Row[Any], **values: object) -> Video:
        change = videos.update().where(videos.c.number == row.number).values(updated_at=self.clock(), **values)
        return _video((await connection.execute(change.returning(videos))).one())

    def _connected(self) -> AsyncEngine:
        if self._engine is None:
            raise JournalUnavailable(f"The journal {self._place} is not open.")
        return self._engine

    @asynccontextmanager
    async def _in_line(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(schema.LINE_SECONDS):
                await self._writer.acquire()
        except TimeoutError as error:
            raise schema.held_up(self._place) from error
        try:
            yield
        finally:
            self._writer.release()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; raises JournalUnavailable."""
        try:
            async with self._connected().connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise schema.trouble(self._place, error) from error

    @asynccontextmanager
    async def writing(self, *, alone: bool = True) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed when the block ends: the only one over all processes.

        Not `alone` lets PostgreSQL's row locks do; SQLite knows one writer at a time.
        """
        try:
            async with self._in_line(), self._connected().begin() as connection:
                if alone or connection.dialect.name == "sqlite":
                    await connection.run_sync(schema.lock)
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise schema.trouble(self._place, error) from error


def _is_over(deadline: float, now: float) -> bool:
    return deadline <= now or deadline > now + HOUR_SECONDS


def _number(row: Row[Any]) -> int:
    return int(row.number)


def _video(row: Row[Any]) -> Video:
    return video_of(row._asdict())
