"""A server on a machine that has run out of something: it says what and what to do, pays for nothing that it could not
write down, tells of what it has paid for, and goes on by itself once there is enough again.

The servers are real processes that speak stdio, and the shortages are real: a file system that is full or read-only,
another program's lock, limits of the process.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult
from servers import Server, forked
from shortages import Disk, disk, limited, locked, words
from test_process import FIRST, hosted
from world import KEY, SETTLE_SECONDS

from hailuo_mcp import owed
from hailuo_mcp.errors import JournalUnavailable
from hailuo_mcp.media import mp4
from hailuo_mcp.records import Video
from hailuo_mcp.simulator import Fault, Simulator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no fork, and other limits")

PICTURE = {"first_frame_image": str(FIRST)}
HANDLES = "as many files and connections open as the system allows"


@dataclass
class Ground:
    """A running server, what it may use, and the simulated API."""

    server: Server
    simulator: Simulator
    home: Path
    disk: Disk | None
    settings: dict[str, object]

    async def do(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.server.call(tool, **arguments)
        assert not result.get("isError"), words(result)
        return dict(result["structuredContent"])

    async def fail(self, tool: str, **arguments: Any) -> str:
        result = await self.server.call(tool, **arguments)
        assert result.get("isError"), words(result)
        return words(result)

    async def finished(self, prompt: str) -> str:
        task = (await self.do("generate_video", prompt=prompt, **PICTURE))["task_id"]
        while (await self.do("check_status", task_id=task, wait_seconds=20))["status"] != "Success":
            pass
        return str(task)

    async def heard(self, kind: str, times: int = 1) -> None:
        async with asyncio.timeout(60):
            while sum(request.call == kind for request in self.simulator.requests) < times:  # noqa: ASYNC110
                await asyncio.sleep(SETTLE_SECONDS)


@asynccontextmanager
async def ground(
    home: Path, room: Disk | None = None, generation_seconds: float = 0.1, **settings: object
) -> AsyncIterator[Ground]:
    """A server whose folders lie on that disk."""
    folders = {f"HAILUO_{name}_DIR": str(room.place / name.lower()) for name in ("DATA", "OUTPUT")} if room else {}
    async with Simulator(
        keys=(KEY,), generation_seconds=generation_seconds, short_side=144, folder=home / "simulator"
    ) as simulator:
        given: dict[str, object] = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_ALLOWED_DIRS": FIRST.parent,
            "HAILUO_POLL_INTERVAL": 0.1,
            "HAILUO_COLLECT": 0,
        }
        given |= folders | settings
        async with asyncio.timeout(120), forked(home, lock_seconds=0.3, **given) as server:
            await server.greet()
            yield Ground(server, simulator, room.place if room else home, room, given)


Shortage = Callable[[Ground], AbstractContextManager[None]]
JOURNAL: list[tuple[str, Shortage, str]] = [
    ("a full disk", lambda g: g.disk.full(), "is full. Free some space on the disk"),  # type: ignore[union-attr]
    (
        "a limit on files",
        lambda g: limited(g.server.pid, "RLIMIT_FSIZE", 0),
        "disk I/O error. The disk, or a limit on it",
    ),
    ("another program", lambda g: locked(g.home / "data" / "journal.db"), "locked. Another program holds it"),
]
for_journals = pytest.mark.parametrize(("short", "said"), [row[1:] for row in JOURNAL], ids=[row[0] for row in JOURNAL])


@pytest.fixture
async def g(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    if "disk" in request.node.name:
        with disk(tmp_path / "disk", 2000) as room:
            async with ground(tmp_path, room) as made:
                yield made
    else:
        async with ground(tmp_path) as made:
            yield made


@for_journals
async def test_what_cannot_be_written_down_first_is_not_paid_for(g: Ground, short: Shortage, said: str) -> None:
    await g.do("list_videos")  # makes the journal
    with short(g):
        for _ in range(2):
            assert said in await g.fail("generate_video", prompt="a sea")
            assert said in await g.fail("create_film", **FILMED | {"preview": False, "confirm": True})
        assert await g.do("list_videos")
    assert g.simulator.requests == []
    await g.do("generate_video", prompt="a sea")
    assert len(g.simulator.ledger) == 1


@for_journals
async def test_a_paid_task_that_cannot_be_written_down_is_told_and_written_later(
    g: Ground, short: Shortage, said: str
) -> None:
    g.simulator.faults.submit.append(Fault(delay=0.3))
    await g.do("list_videos")
    paying = asyncio.create_task(g.server.call("generate_video", prompt="a sea"))
    await g.heard("submit")
    with short(g):
        result = await paying
        (bill,) = g.simulator.ledger
        assert result["isError"]
        assert f"submitted and paid for, its task_id is {bill.task_id}" in words(result)
        assert said in words(result)
        (row,) = (await g.do("list_videos"))["videos"]
        assert f'record="{row["record"]}"' in words(result)
        assert said in await g.fail("generate_video", prompt="another sea")
    while (row := (await g.do("list_videos"))["videos"][0])["state"] == "Submitting":  # noqa: ASYNC110
        await asyncio.sleep(SETTLE_SECONDS)
    assert row["task_id"] == bill.task_id
    assert (await g.do("generate_video", prompt="a sea"))["already_submitted"]
    assert len(g.simulator.ledger) == 1


async def test_a_paid_task_that_never_reached_the_journal_is_joined_to_its_request_after_a_restart(
    tmp_path: Path,
) -> None:
    async with ground(tmp_path, generation_seconds=600) as g:
        g.simulator.faults.submit.append(Fault(delay=0.3))
        await g.do("list_videos")
        paying = asyncio.create_task(g.server.call("generate_video", prompt="a sea"))
        await g.heard("submit")
        with limited(g.server.pid, "RLIMIT_FSIZE", 0):
            assert (await paying)["isError"]
            (row,) = (await g.do("list_videos"))["videos"]
            await g.server.leave()
        async with forked(tmp_path, **g.settings) as server:
            await server.greet()
            again = Ground(server, g.simulator, tmp_path, None, g.settings)
            (bill,) = g.simulator.ledger
            await again.do("check_status", task_id=bill.task_id, record=row["record"])
            assert (await again.do("generate_video", prompt="a sea"))["task_id"] == bill.task_id
        assert len(g.simulator.ledger) == 1


async def test_a_closing_server_does_not_wait_for_a_journal_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed, "LAST_TRY_SECONDS", 0.05)
    hangs, tries = asyncio.Event(), 0

    async def write() -> Video:
        nonlocal tries
        tries += 1
        if tries > 1:
            await hangs.wait()
        raise JournalUnavailable("locked")

    async def tell(_: Video) -> None:
        raise AssertionError("nothing was written")

    owes = owed.Owed(tell)
    with pytest.raises(JournalUnavailable):
        await owes.write(write, "a task")
    async with asyncio.timeout(20):
        await owes.close()
    assert tries == 2
    hangs.set()


async def test_calls_that_wait_for_a_locked_journal_do_not_wait_for_each_other_for_ever(g: Ground) -> None:
    await g.do("list_videos")
    with locked(g.home / "data" / "journal.db"):
        async with asyncio.timeout(10):  # one after the other they would take three times as long
            calls = [("generate_video", {"prompt": f"sea {number}"}) for number in range(100)]
            said = await g.server.results(
                {g.server.send("tools/call", name=tool, arguments=arguments) for tool, arguments in calls}
            )
        assert all("locked. Another program holds it" in words(result) for result in said)
    assert g.simulator.requests == []
    assert (await g.do("list_videos"))["videos"] == []


PREVIEWED = {"prompt": "x", **PICTURE}
FILMED = {"keyframes": [str(FIRST), ""], "shots": [{"prompt": "x"}], "preview": True}
WRITERS: list[tuple[str, dict[str, Any], str]] = [
    ("download_video", {"task_id": ""}, "finished but could not be saved in {}"),
    ("preview_video", PREVIEWED, "The preview could not be saved in {}"),
    ("create_film", FILMED, "The preview could not be saved in {}"),
    ("view_video", {"task_id": "home.mp4", "save_frame": "first"}, "The frame could not be saved in {}"),
]
OUTPUT: list[tuple[str, Shortage]] = [
    ("a full disk", lambda g: g.disk.full(but=16_000)),  # type: ignore[union-attr]
    ("a read-only disk", lambda g: g.disk.read_only()),  # type: ignore[union-attr]
]


@pytest.mark.parametrize("short", [row[1] for row in OUTPUT], ids=[row[0] for row in OUTPUT])
async def test_what_cannot_be_saved_is_told_and_saved_later(tmp_path: Path, short: Shortage) -> None:
    with disk(tmp_path / "disk", 3000) as room:
        videos = room.place
        async with ground(tmp_path, HAILUO_OUTPUT_DIR=videos) as g:
            g.disk = room
            task = await g.finished("a sea")
            await g.do("download_video", task_id=await g.finished("home"), filename="home")
            before = sorted(videos.iterdir())
            with short(g):
                for tool, arguments, failure in WRITERS:
                    said = await g.fail(tool, **{name: value or task for name, value in arguments.items()})
                    assert failure.format(videos) in said
                    assert "HAILUO_OUTPUT_DIR" in said
            assert sorted(videos.iterdir()) == before, "nothing half is left"
            for tool, arguments, _ in WRITERS:
                await g.do(tool, **{name: value or task for name, value in arguments.items()})
            assert mp4.inspect(videos / f"hailuo-{task}.mp4").frames
            assert len(g.simulator.ledger) == 2


@pytest.mark.parametrize("made", [False, True], ids=["a new journal", "an old journal"])
async def test_a_data_folder_that_cannot_be_written_stops_payments_until_it_can(tmp_path: Path, made: bool) -> None:
    with disk(tmp_path / "disk", 3000) as room:
        if made:
            async with ground(tmp_path, room) as g:
                await g.do("generate_video", prompt="before")
        async with ground(tmp_path, room) as g:
            with room.read_only():
                for _ in range(2):
                    said = await g.fail("generate_video", prompt="a sea")
                    assert f"The journal {room.place}/data/journal.db cannot be used: " in said
                    assert "writable, or choose another folder with HAILUO_DATA_DIR" in said
            assert g.simulator.requests == []
            await g.do("generate_video", prompt="a sea")
            assert len(g.simulator.ledger) == 1
            assert len((await g.do("list_videos"))["videos"]) == 1


OPENING: list[tuple[str, dict[str, Any]]] = [
    ("generate_video", {"prompt": "with a picture", **PICTURE}),
    ("generate_video", {"prompt": "without"}),
    ("preview_video", PREVIEWED),
    ("create_film", FILMED),
    ("view_video", {"task_id": ""}),
    ("download_video", {"task_id": "", "filename": "a copy"}),
]
BLAMING = ("Error executing", "not a picture", "writable", "can be written", "damaged", "not a whole")


@pytest.mark.parametrize("handles", [0, 3])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_without_handles_calls_end_in_a_sentence_and_work_again_once_there_are_some(
    tmp_path: Path, handles: int, warm: bool
) -> None:
    async with ground(tmp_path) as g:
        task = await g.finished("a sea") if warm else ""
        calls = [(tool, {name: value or task for name, value in given.items()}) for tool, given in OPENING]
        calls = calls if warm else calls[:-2]
        used = len([*Path(f"/proc/{g.server.pid}/fd").iterdir()])
        failed = []
        with limited(g.server.pid, "RLIMIT_NOFILE", used + handles):
            for tool, arguments in calls:
                result = await g.server.call(tool, **arguments)
                if result.get("isError"):
                    failed.append((tool, arguments))
                    assert HANDLES in words(result) or "Too many open files" in words(result)
                    assert not any(blame in words(result) for blame in BLAMING), words(result)
        assert failed or handles
        for tool, arguments in failed:
            await g.do(tool, **arguments)
        paid = [bill.task_id for bill in g.simulator.ledger]
        assert len(paid) == 2 + warm, "each request once"
        assert {row["task_id"] for row in (await g.do("list_videos"))["videos"] if "task_id" in row} == set(paid)


async def test_what_is_under_way_when_handles_run_out_is_paid_once_and_known(tmp_path: Path) -> None:
    async with ground(tmp_path, HAILUO_COLLECT=1) as g:
        g.simulator.faults.submit.append(Fault(delay=0.3))
        await g.do("list_videos")
        paying = asyncio.create_task(g.server.call("generate_video", prompt="a sea"))
        await g.heard("submit")
        with limited(g.server.pid, "RLIMIT_NOFILE", 3):
            await paying
            for _ in range(2):
                await g.server.call("check_status", wait_seconds=1)
        (bill,) = g.simulator.ledger
        home = g.home / "videos" / f"hailuo-{bill.task_id}.mp4"
        async with asyncio.timeout(60):
            while not home.exists():  # noqa: ASYNC110 - another process brings it there
                await asyncio.sleep(SETTLE_SECONDS)
        assert mp4.inspect(home).frames


async def test_an_http_server_without_handles_answers_who_is_connected_and_takes_others_again(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        Simulator(keys=(KEY,), short_side=144) as simulator,
        hosted(tmp_path, DMXAPI_API_KEY=KEY, HAILUO_BASE_URL=simulator.base_url) as server,
        httpx.AsyncClient(trust_env=False) as connected,
    ):
        health = httpx.URL(server.url).join("/healthz")
        await connected.get(health)
        with limited(server.process.pid, "RLIMIT_NOFILE", 3):
            waiting = asyncio.create_task(pay(server.client()))
            for _ in range(20):
                assert (await connected.get(health)).text == "ok"
                await asyncio.sleep(SETTLE_SECONDS)
            assert not waiting.done()
        assert not (await waiting).is_error
        assert len(simulator.ledger) == 1


async def pay(client: Client) -> CallToolResult:
    async with client:
        return await client.call_tool("generate_video", {"prompt": "a sea"})
