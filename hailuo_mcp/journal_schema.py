"""The database beneath the journal: its address, its tables, how an older one is carried forward, how it fails."""

from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    event,
    false,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hailuo_mcp import handles
from hailuo_mcp.errors import JournalUnavailable

VERSION = 3
PATIENCE_SECONDS = 10.0  # how long one statement may wait for another process
LINE_SECONDS = 30.0  # how long one write may wait for others of this process: together below what a host waits
_LOCK = 0x4861696C756F  # "Hailuo": the number of the advisory lock on PostgreSQL

# Written out, never as parameters: only then do the databases see that the partial indexes below apply.
ACTIVE = "state IN ('Submitting', 'Unconfirmed', 'Processing')"
TO_WATCH = "path IS NULL AND NOT given_up AND state IN ('Processing', 'Success')"
OURS = "key IS NOT NULL AND state <> 'Refused'"
TAKEN = "film_id IS NOT NULL AND state <> 'Refused'"  # a film's take is paid for once, whatever became of it


class _Words(TypeDecorator[str]):
    """Text that every database takes: what is no text (a NUL, half a surrogate pair) becomes a replacement mark."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class _Size(TypeDecorator[int]):
    """A number that upstream tells; one that no database can hold is as good as unknown."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return value if value is not None and abs(value) < 2**63 else None


_tables = MetaData()
meta = Table("hailuo_meta", _tables, Column("name", _Words, primary_key=True), Column("value", _Words, nullable=False))
videos = Table(
    "hailuo_videos",
    _tables,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # the order of writing
    Column("id", _Words, nullable=False, unique=True),
    Column("host", _Words, nullable=False),
    Column("state", _Words, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("submit_deadline", Double),  # a record still Submitting after this belongs to a dead process
    Column("task_id", _Words),
    Column("upstream_status", _Words),
    Column("file_id", _Words),
    Column("video_width", _Size),
    Column("video_height", _Size),
    Column("filename", _Words),
    Column("expires_at", Double),
    Column("path", _Words),
    Column("bytes", _Size),
    Column("seconds", Double),  # this and the next three were read from the file when it came home
    Column("frames_per_second", Double),
    Column("codec", _Words),
    Column("has_audio", Boolean),
    Column("failure", _Words),
    Column("lease_owner", _Words),
    Column("lease_until", Double),
    Column("given_up", Boolean, nullable=False, server_default=false()),
    # The intent; all empty for a task that was submitted elsewhere.
    Column("key", _Words),
    Column("prompt", _Words),
    Column("duration", BigInteger),
    Column("resolution", _Words),
    Column("prompt_optimizer", Boolean),
    Column("aigc_watermark", Boolean),
    Column("first_frame", _Words),
    Column("last_frame", _Words),
    Column("first_frame_sha256", _Words),
    Column("last_frame_sha256", _Words),
    Column("take", BigInteger),
    Column("film_id", _Words),
    Column("shot", BigInteger),
)


films = Table(
    "hailuo_films",
    _tables,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("key", Text, nullable=False),
    Column("script", _Words, nullable=False),  # the shots as JSON
    Column("path", _Words),
    Column("bytes", BigInteger),
    Column("seconds", Double),
    Column("encoded_because", _Words),
    Column("failure", _Words),
    Column("finished", Boolean, nullable=False, server_default=false()),
    Column("lease_owner", Text),
    Column("lease_until", Double),
)


def _index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> None:
    only = text(where) if where else None
    Index(name, *(videos.c[column] for column in columns), unique=unique, sqlite_where=only, postgresql_where=only)


_index("hailuo_videos_one_active", "host", "key", where=ACTIVE, unique=True)
_index("hailuo_videos_task", "host", "task_id", unique=True)
_index("hailuo_videos_film", "film_id", where="film_id IS NOT NULL")
_index("hailuo_videos_newest", "host", "number")
_index("hailuo_videos_changed", "host", "updated_at")
_index("hailuo_videos_by_state", "state", "host", "number")
# `path` is always empty there; SQLite prefers this index to others because two of its columns are given.
_index("hailuo_videos_to_watch", "host", "path", where=TO_WATCH)
_index("hailuo_videos_paid", "created_at", where=OURS)
_index("hailuo_videos_one_take", "host", "film_id", "shot", "take", where=TAKEN, unique=True)

# What each version added, as it was then: later changes to the tables above must not change these.
_MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE hailuo_videos ADD COLUMN film_id TEXT",
        "ALTER TABLE hailuo_videos ADD COLUMN shot BIGINT",
        "ALTER TABLE hailuo_videos ADD COLUMN given_up BOOLEAN DEFAULT FALSE NOT NULL",
        "DROP INDEX hailuo_videos_to_watch",
        "CREATE INDEX hailuo_videos_to_watch ON hailuo_videos (host, path) "
        "WHERE path IS NULL AND NOT given_up AND state IN ('Processing', 'Success')",
    ),
    3: (
        "ALTER TABLE hailuo_videos DROP COLUMN download_url",  # a signed link opens the video to anyone
        "ALTER TABLE hailuo_videos ADD COLUMN seconds DOUBLE PRECISION",
        "ALTER TABLE hailuo_videos ADD COLUMN frames_per_second DOUBLE PRECISION",
        "ALTER TABLE hailuo_videos ADD COLUMN codec TEXT",
        "ALTER TABLE hailuo_videos ADD COLUMN has_audio BOOLEAN",
        "CREATE INDEX hailuo_videos_changed ON hailuo_videos (host, updated_at)",
        "CREATE INDEX hailuo_videos_film ON hailuo_videos (film_id) WHERE film_id IS NOT NULL",
        "CREATE UNIQUE INDEX hailuo_videos_one_take ON hailuo_videos (host, film_id, shot, take) "
        "WHERE film_id IS NOT NULL AND state <> 'Refused'",
        "CREATE TABLE hailuo_films (id TEXT NOT NULL PRIMARY KEY, host TEXT NOT NULL, "
        "created_at DOUBLE PRECISION NOT NULL, updated_at DOUBLE PRECISION NOT NULL, key TEXT NOT NULL, "
        "script TEXT NOT NULL, path TEXT, bytes BIGINT, seconds DOUBLE PRECISION, encoded_because TEXT, "
        "failure TEXT, finished BOOLEAN DEFAULT FALSE NOT NULL, lease_owner TEXT, lease_until DOUBLE PRECISION)",
    ),
}


def carry_forward(connection: Connection, place: str) -> None:
    """Create the tables, or bring those of an older version up to date. Call within a locked transaction."""
    if not inspect(connection).has_table(meta.name):
        _tables.create_all(connection)
        connection.execute(meta.insert().values(name="schema", value=str(VERSION)))
        return
    version = int(connection.scalar(select(meta.c.value).where(meta.c.name == "schema")) or 0)
    if version > VERSION:
        raise JournalUnavailable(
            f"The journal {place} was written by a newer version of hailuo-mcp (its schema is {version}, this version "
            f"knows {VERSION}). Update hailuo-mcp, or point HAILUO_DATABASE_URL at another journal."
        )
    for step in range(version + 1, VERSION + 1):
        for statement in _MIGRATIONS[step]:
            connection.execute(text(statement))
        connection.execute(meta.update().where(meta.c.name == "schema").values(value=str(step)))


def lock(connection: Connection) -> None:
    """Make this transaction the only writing one, over all processes, until it ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def connect(url: URL) -> AsyncEngine:
    """The engine for an address from `address`; connects when first used."""
    if url.get_backend_name() == "postgresql":
        return _connect_postgres(url)
    # The driver's own BEGINs are switched off: they come too late to keep a second writer out.
    arguments = {"timeout": PATIENCE_SECONDS, "isolation_level": None}
    engine = create_async_engine(url, connect_args=arguments, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _sync_to_disk)
    return engine


def _sync_to_disk(connection: Any, _record: object) -> None:
    """Some builds of SQLite do less by default, and then a power cut undoes what was committed."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA fullfsync = ON")  # macOS needs it; elsewhere it changes nothing
    cursor.close()


def _connect_postgres(url: URL) -> AsyncEngine:
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError as error:
        raise JournalUnavailable(
            "A journal on PostgreSQL needs one more package: install hailuo-mcp[postgres], then restart the server."
        ) from error
    engine = create_async_engine(
        url,
        connect_args={"timeout": PATIENCE_SECONDS, "command_timeout": PATIENCE_SECONDS},
        isolation_level="READ COMMITTED",  # what is read after the lock must be what the last writer left
        pool_pre_ping=True,
        hide_parameters=True,
    )

    def connect(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # SQLAlchemy translates the driver's errors only once there is a connection.
            raise trouble(place(url), error) from error

    event.listen(engine.sync_engine, "do_connect", connect)
    return engine


def address(given: str) -> URL:
    """The journal's address with the driver to use; raises JournalUnavailable, which repeats no password."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise JournalUnavailable(_bad_address("cannot be read")) from None
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return _postgres_address(url)
    if backend != "sqlite":
        raise JournalUnavailable(_bad_address(f"names the database {backend!r}, which is not supported"))
    path = Path(url.database or "")
    if not path.is_absolute():
        # Relative to the folder a host happens to start the server in, there would be many journals, all forgetful.
        raise JournalUnavailable(_bad_address(f"must hold a full path (got {url.database!r})"))
    return URL.create("sqlite+aiosqlite", database=str(path))


def _postgres_address(url: URL) -> URL:
    """Hosters hand out addresses with libpq's options; asyncpg knows some of them, by other names."""
    options = dict(url.query)
    options.pop("channel_binding", None)
    if "sslmode" in options:
        options["ssl"] = options.pop("sslmode")
    if strange := sorted(set(options) - {"ssl", "host", "port", "target_session_attrs"}):
        raise JournalUnavailable(_bad_address(f"has options that are not supported: {', '.join(strange)}"))
    return url.set(drivername="postgresql+asyncpg", query=options)


def _bad_address(fault: str) -> str:
    return (
        f"HAILUO_DATABASE_URL {fault}. It must be like sqlite:////home/me/journal.db (on Windows "
        "sqlite:///C:/Users/me/journal.db) or postgresql://user:password@host:5432/database."
    )


def place(url: URL) -> str:
    """Where the journal is, for people: never with user or password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host") or "localhost"
    return f"{host}:{url.port or 5432}/{url.database or ''}"


_DAMAGED = (
    "The file is damaged or is something else. Restore it from a backup, or move it (with its -wal and -shm files) "
    "aside: a new journal starts empty, so first look at the provider for videos that are under way."
)
_FORBIDDEN = "Make the file and its folder writable, or choose another folder with HAILUO_DATA_DIR."
_AWAY = "Check that the database runs and that HAILUO_DATABASE_URL names it, then try again."
_ADVICE = {
    "locked": "Another program holds it: close what has it open (a backup, a database viewer), then try again.",
    "not a database": _DAMAGED,
    "malformed": _DAMAGED,
    "readonly": _FORBIDDEN,
    "unable to open": _FORBIDDEN,
    "permission denied": _FORBIDDEN,
    "not a directory": _FORBIDDEN,
    "read-only": _FORBIDDEN,
    "is full": "Free some space on the disk, then try again.",
    "disk i/o": "The disk, or a limit on it, does not take what is written: free some space, or choose another folder "
    "with HAILUO_DATA_DIR.",
    "no space": "Free some space on the disk, then try again.",
    "password": "Check the user and the password in HAILUO_DATABASE_URL.",
    "does not exist": "Create the database and its user, or correct HAILUO_DATABASE_URL.",
    "connect": _AWAY,
    "timed out": _AWAY,
}


def held_up(where: str) -> JournalUnavailable:
    """Too many writes of this process wait for one that waits itself."""
    return JournalUnavailable(f"The journal {where} cannot be used: it is locked. {_ADVICE['locked']}")


def trouble(where: str, error: Exception) -> JournalUnavailable:
    """A failure of the database as a sentence. Statements and their values stay out of it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # The PostgreSQL driver's errors come wrapped, with a class name before the message.
    what = " ".join(str(cause).split(">: ", 1)[-1].split()).rstrip(".") or type(cause).__name__
    if isinstance(cause, TimeoutError):
        what = "it did not answer in time (timed out)"
    elif handles.used_up(cause):
        return JournalUnavailable(f"The journal {where} cannot be used: {handles.USED_UP}. {handles.REMEDY}")
    advice = next((words for sign, words in _ADVICE.items() if sign in what.lower()), "Mend that, then try again.")
    return JournalUnavailable(f"The journal {where} cannot be used: {what}. {advice}")
