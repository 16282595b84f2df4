"""The films in the journal: their script, and which process carries each of them on."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Row, or_, select

from hailuo_mcp.errors import NotFound, NotReady
from hailuo_mcp.films.script import PREFIX, is_film
from hailuo_mcp.journal import HOUR_SECONDS, Journal
from hailuo_mcp.journal_schema import films

STALE_SECONDS = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class FilmRecord:
    """One film. `script` is its shots as JSON; once it is `finished` the joined film lies at `path`."""

    id: str
    created_at: float  # epoch seconds
    updated_at: float
    script: str
    path: str | None
    bytes: int | None
    seconds: float | None
    encoded_because: str | None  # why its pictures were encoded anew; None when they are those of the shots
    failure: str | None  # what keeps it from going on
    finished: bool


_RECORD = tuple(field.name for field in fields(FilmRecord))


class FilmJournal:
    """The films of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, key: str, script: str, owner: str, seconds: float) -> tuple[FilmRecord, bool]:
        """Write a new film down, leased to its maker; False with the film of the same request that is not finished."""
        now = self._journal.clock()
        same = select(films).where(self._ours, films.c.key == key, ~films.c.finished).limit(1)
        async with self._journal.writing() as connection:
            if row := (await connection.execute(same)).first():
                return _film(row), False
            values = {"id": PREFIX + secrets.token_hex(8), "host": self._journal.host, "key": key, "script": script}
            lease = {"lease_owner": owner, "lease_until": now + seconds}
            insert = films.insert().values(**values, **lease, created_at=now, updated_at=now).returning(films)
            return _film((await connection.execute(insert)).one()), True

    async def find(self, film_id: str) -> FilmRecord:
        """The film; raises NotFound."""
        async with self._journal.reading() as connection:
            row = (await connection.execute(self._named(film_id))).first()
        return _film(row) if row else _missing(film_id)

    async def file(self, clip: str) -> Path | None:
        """The file of a film, None for an id that is no film's; raises NotFound, and NotReady until it is joined."""
        if not is_film(clip):
            return None
        film = await self.find(clip)
        if not film.finished:
            raise NotReady(f"Film {clip} is not joined yet; check_status(task_id={clip!r}) tells how it stands.")
        return Path(str(film.path))

    async def edit(self, film_id: str, change: Callable[[FilmRecord], str]) -> FilmRecord:
        """Give a film the script that `change` makes of it; a new one makes it unfinished. Raises NotFound."""
        async with self._journal.writing() as connection:
            row = (await connection.execute(self._named(film_id))).first()
            if row is None:
                return _missing(film_id)
            if (script := change(_film(row))) == row.script:
                return _film(row)
            values = {"script": script, "finished": False, "failure": None}
            return _film((await connection.execute(self._update(film_id, **values))).one())

    async def fail(self, film_id: str, failure: str | None) -> None:
        """Note what keeps a film from going on, or that nothing does."""
        async with self._journal.writing() as connection:
            await connection.execute(self._update(film_id, failure=failure))

    async def reopen(self, film_id: str) -> None:
        """A film is to be joined anew: a shot of it, or its file, is not what it was."""
        async with self._journal.writing() as connection:
            await connection.execute(self._update(film_id, finished=False, failure=None))

    async def finish(self, record: FilmRecord, **made: Any) -> bool:
        """The film is joined as its script said; False when that was changed meanwhile, or another process did it."""
        same = (films.c.script == record.script, ~films.c.finished)
        finished = self._update(record.id, finished=True, failure=None, **made).where(*same)
        async with self._journal.writing() as connection:
            return (await connection.execute(finished)).first() is not None

    async def lease(self, owner: str, *, seconds: float, film_id: str | None = None) -> list[FilmRecord]:
        """Claim, or keep, unfinished films for this owner: one process at a time carries a film on.

        A film in which nothing has changed for days is only claimed by its id: it waits for a person.
        """
        now = self._journal.clock()
        until = films.c.lease_until
        free = or_(until.is_(None), until <= now, until > now + HOUR_SECONDS, films.c.lease_owner == owner)
        which = films.c.id == film_id if film_id else films.c.updated_at > now - STALE_SECONDS
        wanted = (self._ours, ~films.c.finished, free, which)
        async with self._journal.reading() as connection:
            if (await connection.execute(select(films.c.id).where(*wanted).limit(1))).first() is None:
                return []  # mostly there is none, and then nothing need be written
        claim = films.update().where(*wanted).values(lease_owner=owner, lease_until=now + seconds).returning(films)
        async with self._journal.writing() as connection:
            return [_film(row) for row in (await connection.execute(claim)).all()]

    async def release(self, owner: str) -> None:
        """Let other processes claim what this owner holds."""
        held = films.update().where(self._ours, films.c.lease_owner == owner)
        async with self._journal.writing() as connection:
            await connection.execute(held.values(lease_owner=None, lease_until=None))

    async def recent(self, limit: int, *, unfinished: bool = False) -> list[FilmRecord]:
        """Films, newest first; only the `unfinished` ones if asked."""
        newest = select(films).where(self._ours).order_by(films.c.created_at.desc()).limit(limit)
        if unfinished:
            newest = newest.where(~films.c.finished)
        async with self._journal.reading() as connection:
            return [_film(row) for row in await connection.execute(newest)]

    @property
    def _ours(self) -> Any:
        return films.c.host == self._journal.host

    def _named(self, film_id: str) -> Any:
        return select(films).where(self._ours, films.c.id == film_id)

    def _update(self, film_id: str, **values: Any) -> Any:
        change = films.update().where(self._ours, films.c.id == film_id)
        return change.values(updated_at=self._journal.clock(), **values).returning(films)


def _missing(film_id: str) -> NoReturn:
    raise NotFound(f"No film {film_id} is in the journal; list_videos tells which films there are.")


def _film(row: Row[Any]) -> FilmRecord:
    return FilmRecord(**{name: row._mapping[name] for name in _RECORD})
