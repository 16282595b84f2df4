import os
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import stamina
from postgres import Server, postgres

# The files that take longest begin first: with several workers, nobody waits for the last of them alone.
LONGEST = ("test_player", "test_film_kills", "test_kills", "test_accidents", "test_examples", "test_films")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def quick_retries() -> Iterator[None]:
    """Retries happen, without their pauses."""
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests counts."""
    for name in [name for name in os.environ if name.startswith(("HAILUO_", "DMXAPI_")) and "TEST" not in name]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture
async def postgres_url(server: Server) -> AsyncIterator[str]:
    """An empty PostgreSQL database."""
    if server.url is None:
        pytest.skip(server.reason)
    name = f"hailuo_test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"CREATE DATABASE {name}")
    yield re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", server.url)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{(tmp_path / 'new folder' / 'journal.db').as_posix()}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))
