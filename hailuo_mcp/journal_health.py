"""A look at the journal that changes nothing: is it there, can it be used, what waits in it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from hailuo_mcp import journal_schema as schema


@dataclass(frozen=True, slots=True)
class Health:
    """`version` is None where the journal has still to be made."""

    place: str
    version: int | None
    videos: int = 0
    under_way: int = 0


async def look(given: str) -> Health:
    """The journal at that address as it is; raises JournalUnavailable."""
    url = schema.address(given)
    place = schema.place(url)
    if url.get_backend_name() == "sqlite" and not await asyncio.to_thread(Path(place).exists):
        return Health(place, None)  # connecting would make the file
    engine = schema.connect(url)
    try:
        async with engine.connect() as connection:
            if not await connection.run_sync(lambda inner: inner.dialect.has_table(inner, schema.meta.name)):
                return Health(place, None)
            version = await connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "schema"))
            count = select(func.count()).select_from(schema.videos)
            return Health(
                place,
                int(version or 0),
                await connection.scalar(count) or 0,
                await connection.scalar(count.where(text(schema.ACTIVE))) or 0,
            )
    except (SQLAlchemyError, OSError) as error:
        raise schema.trouble(place, error) from error
    finally:
        await engine.dispose()
