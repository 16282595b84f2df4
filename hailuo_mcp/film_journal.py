"""The films in the journal: their script, and which process carries each of them on."""

import secrets
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Row, or_, select

from hailuo_mcp.errors import NotFound
from hailuo_mcp.journal import Journal
from hailuo_mcp.journal_schema import films

PREFIX = "film-"


@dataclass(frozen=True, slots=True)
class FilmRecord:
    """One film. `script` is its shots as JSON; `finished` says that it is joined and lies at `path`."""

    id: str
    created_at: float  # epoch seconds
    updated_at: float
    script: str
    path: str | None
    bytes: int | None
    failure: str | None
    finished: bool


_RECORD = tuple(field.name for field in fields(FilmRecord))


class FilmJournal:
    """The films of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def create(self, script: str) -> FilmRecord:
        """Write a new film down."""
        now = self._journal.clock()
        values = {"id": PREFIX + secrets.token_urlsafe(9), "host": self._journal.host, "script": script}
        async with self._journal.writing() as connection:
            insert = films.insert().values(**values, created_at=now, updated_at=now).returning(films)
            return _film((await connection.execute(insert)).one())

    async def find(self, film_id: str) -> FilmRecord:
        """The film; raises NotFound."""
        async with self._journal.reading() as connection:
            row = (await connection.execute(select(films).where(self._ours, films.c.id == film_id))).first()
        if row is None:
            raise NotFound(f"No film {film_id} is in the journal; list_videos tells which films there are.")
        return _film(row)

    async def change(self, film_id: str, **values: Any) -> FilmRecord:
        """Set columns of a film; raises NotFound."""
        change = films.update().where(self._ours, films.c.id == film_id)
        change = change.values(updated_at=self._journal.clock(), **values).returning(films)
        async with self._journal.writing() as connection:
            row = (await connection.execute(change)).first()
        if row is None:
            raise NotFound(f"No film {film_id} is in the journal; list_videos tells which films there are.")
        return _film(row)

    async def lease(self, owner: str, *, seconds: float, film_id: str | None = None) -> list[FilmRecord]:
        """Claim, or keep, unfinished films for this owner: one process at a time carries a film on."""
        now = self._journal.clock()
        free = or_(films.c.lease_until.is_(None), films.c.lease_until <= now, films.c.lease_owner == owner)
        claim = films.update().where(self._ours, ~films.c.finished, free)
        if film_id is not None:
            claim = claim.where(films.c.id == film_id)
        claim = claim.values(lease_owner=owner, lease_until=now + seconds).returning(films)
        async with self._journal.writing() as connection:
            return [_film(row) for row in (await connection.execute(claim)).all()]

    async def release(self, owner: str) -> None:
        """Let other processes claim what this owner holds."""
        held = films.update().where(self._ours, films.c.lease_owner == owner)
        async with self._journal.writing() as connection:
            await connection.execute(held.values(lease_owner=None, lease_until=None))

    async def recent(self, limit: int) -> list[FilmRecord]:
        """Films, newest first."""
        newest = select(films).where(self._ours).order_by(films.c.created_at.desc()).limit(limit)
        async with self._journal.reading() as connection:
            return [_film(row) for row in await connection.execute(newest)]

    @property
    def _ours(self) -> Any:
        return films.c.host == self._journal.host


def _film(row: Row[Any]) -> FilmRecord:
    return FilmRecord(**{name: row._mapping[name] for name in _RECORD})
