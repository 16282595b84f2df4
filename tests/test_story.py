"""Never paid twice, never lost: what a person meets when the way to the API, the journal or the host breaks."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult
from servers import started
from world import KEY, SETTLE_SECONDS, World, play, text, world

from hailuo_mcp import journal_schema
from hailuo_mcp.media import mp4
from hailuo_mcp.server import build_server
from hailuo_mcp.simulator import Fault

ERAS = ("auto", "legacy")
LOST = [
    Fault(drop="after"),
    Fault(status=502, billed=True),
    Fault(status=504, billed=True),
    Fault(code=1000, billed=True),
    Fault(code=1013, billed=True),
    Fault(body="<html>", status=200, billed=True),
    Fault(cut_at=20),
]


async def lose(w: World, **asked: Any) -> tuple[str, str]:
    """A request whose answer got lost: what is said, and the record's id."""
    w.simulator.faults.submit.append(Fault(drop="after"))
    said = await w.fail("generate_video", prompt="x", **asked)
    (row,) = (await w.do("list_videos", state="Unconfirmed"))["videos"]
    return said, row["record"]


def path_of(w: World) -> Path:
    return w.settings.data_dir / "journal.db"


# The outcome is not known


@pytest.mark.parametrize("fault", LOST, ids=str)
async def test_a_lost_answer_is_told_and_never_sent_again(tmp_path: Path, fault: Fault) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(fault)
        first = await w.fail("generate_video", prompt="x")
        assert "may have been paid for" in first
        assert "call check_status with its task_id and record=" in first
        assert "generate_video with take=2" in first
        again = [await w.fail("generate_video", prompt="x") for _ in range(3)]
        assert {*again} == {first}
        assert len(w.simulator.ledger) == w.calls("submit") == 1
        (listed,) = (await w.do("check_status"))["under_way"]
        assert (listed["state"], listed["record"] in first) == ("Unconfirmed", True)


async def test_the_timeout_of_a_sent_request_is_an_unknown_outcome(tmp_path: Path) -> None:
    async with world(tmp_path, submit_timeout=0.5) as w:
        w.simulator.faults.submit.append(Fault(hang=True, billed=True))
        assert "may have been paid for" in await w.fail("generate_video", prompt="x")
        assert len(w.simulator.ledger) == 1


async def test_it_stays_unknown_after_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        said, record = await lose(w)
        async with play(tmp_path, w.simulator, w.time, collect=True) as restarted:
            await w.time.advance(600)
            assert await restarted.fail("generate_video", prompt="x") == said
            assert said == await restarted.fail("check_status", task_id=record)
        assert w.calls("submit") == 1


async def test_the_task_found_at_the_provider_goes_on_as_the_request(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        said, record = await lose(w, first_frame_image=w.picture())
        (bill,) = w.simulator.ledger
        assert f'record="{record}"' in said
        found = await w.do("check_status", task_id=bill.task_id, record=record)
        assert (found["task_id"], found["status"]) == (bill.task_id, "Processing")
        assert (await w.do("check_status", task_id=bill.task_id, record=record))["status"] == "Processing"
        (row,) = (await w.do("list_videos"))["videos"]
        assert (row["task_id"], row["prompt"], row["state"]) == (bill.task_id, "x", "Processing")
        again = await w.do("generate_video", prompt="x", first_frame_image=w.picture())
        assert (again["task_id"], again["already_submitted"]) == (bill.task_id, True)
        assert (await w.finish(bill.task_id))["status"] == "Success"
        mp4.inspect(Path((await w.do("download_video", task_id=bill.task_id))["path"]))
        assert (await w.do("check_status"))["under_way"] == []


async def test_a_task_that_was_followed_before_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        _, record = await lose(w)
        (bill,) = w.simulator.ledger
        await w.finish(bill.task_id)
        path = (await w.do("download_video", task_id=bill.task_id))["path"]
        assert len((await w.do("list_videos"))["videos"]) == 2
        assert (await w.do("check_status", task_id=bill.task_id, record=record))["path"] == path
        (row,) = (await w.do("list_videos"))["videos"]
        assert (row["prompt"], row["path"]) == ("x", path)


async def test_a_wrong_task_is_not_joined_with_the_request(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        _, record = await lose(w)
        other = (await w.do("generate_video", prompt="y"))["task_id"]
        assert "2013" in await w.fail("check_status", task_id="123456789012345", record=record)
        assert "already belongs to" in await w.fail("check_status", task_id=other, record=record)
        assert "Nothing named" in await w.fail("check_status", task_id=other, record="unknown")
        assert "task_id: must be the task" in await w.fail("check_status", record=record)
        (row,) = (await w.do("list_videos", state="Unconfirmed"))["videos"]
        assert row["record"] == record


async def test_a_request_that_never_arrived_is_sent_again_as_the_next_take(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(Fault(status=500))
        assert "generate_video with take=2" in await w.fail("generate_video", prompt="x")
        assert w.simulator.ledger == []
        made = await w.do("generate_video", prompt="x", take=2)
        assert (made["task_id"], made["already_submitted"]) == (w.simulator.ledger[0].task_id, False)


@pytest.mark.parametrize("fault", [Fault(code=1008), Fault(code=1002), Fault(status=429)], ids=str)
async def test_what_was_certainly_not_paid_may_be_sent_again(tmp_path: Path, fault: Fault) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(fault)
        assert "may have been paid" not in await w.fail("generate_video", prompt="x")
        made = await w.do("generate_video", prompt="x")
        assert (len(w.simulator.ledger), made["already_submitted"]) == (1, False)


async def test_an_unknown_outcome_at_shutdown_is_unconfirmed_afterwards(tmp_path: Path) -> None:
    async with world(tmp_path, submit_timeout=60) as w:
        async with play(tmp_path, w.simulator, w.time, submit_timeout=60) as closed:
            w.simulator.faults.submit.append(Fault(hang=True, billed=True))
            call = asyncio.create_task(closed.client.call_tool("generate_video", {"prompt": "x"}))
            await w.heard("submit")
        await asyncio.gather(call, return_exceptions=True)
        w.time.now += 100
        assert "may have been paid for" in await w.fail("generate_video", prompt="x")
        assert len(w.simulator.ledger) == w.calls("submit") == 1


# The same request twice


async def test_the_same_request_at_once_from_two_windows_is_paid_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w, play(tmp_path, w.simulator, w.time) as other:
        w.simulator.faults.submit.append(Fault(delay=0.2))
        calls = [
            asyncio.ensure_future(place.client.call_tool("generate_video", {"prompt": "x"})) for place in [w, other] * 3
        ]
        results = [await w.time.until(call) for call in calls]
        assert {result.structured_content["task_id"] for result in results} == {w.simulator.ledger[0].task_id}
        assert sorted(result.structured_content["already_submitted"] for result in results) == [False] + [True] * 5
        assert len(w.simulator.ledger) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_cancelled_while_it_is_sent_loses_nothing(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, era=era) as w:
        w.simulator.faults.submit.append(Fault(delay=0.3))
        call = asyncio.create_task(w.client.call_tool("generate_video", {"prompt": "x"}))
        await w.heard("submit")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        made = await w.do("generate_video", prompt="x")
        assert (made["task_id"], made["already_submitted"]) == (w.simulator.ledger[0].task_id, True)
        assert len(w.simulator.ledger) == 1


async def test_a_server_that_is_closed_while_it_sends_writes_the_task_down(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        async with play(tmp_path, w.simulator, w.time) as closed:
            w.simulator.faults.submit.append(Fault(delay=0.3))
            call = asyncio.create_task(closed.client.call_tool("generate_video", {"prompt": "x"}))
            await w.heard("submit")
        await asyncio.gather(call, return_exceptions=True)
        (bill,) = w.simulator.ledger
        (row,) = (await w.do("list_videos"))["videos"]
        assert (row["task_id"], row["state"]) == (bill.task_id, "Processing")


# The journal breaks


@pytest.mark.parametrize("wrong", ["damaged", "locked", "newer", "in the way"])
async def test_a_journal_that_cannot_be_used_is_told_before_anything_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(journal_schema, "PATIENCE_SECONDS", 0.1)
    async with world(tmp_path) as w:
        await w.do("generate_video", prompt="before")
    path = path_of(w)
    database = sqlite3.connect(path)
    if wrong == "locked":
        database.execute("BEGIN EXCLUSIVE")
    if wrong == "newer":
        database.execute("UPDATE hailuo_meta SET value = '99'")
        database.commit()
    if wrong == "damaged":
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 100_000)
    given = {"data_dir": path / "sub"} if wrong == "in the way" else {}
    async with world(tmp_path, **given) as broken:
        for arguments in ({"prompt": "x"}, {"prompt": "x", "take": 2}):
            said = await broken.fail("generate_video", **arguments)
            assert "The journal " in said
            assert str(path) in said
        assert "The journal " in await broken.fail("list_videos")
        assert broken.simulator.requests == []
    database.close()


async def test_a_journal_that_fails_after_the_payment_names_the_task_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_schema, "PATIENCE_SECONDS", 0.1)
    async with world(tmp_path) as w:
        await w.do("list_videos")
        w.simulator.faults.submit.append(Fault(delay=0.3))
        call = asyncio.create_task(w.client.call_tool("generate_video", {"prompt": "x"}))
        await w.heard("submit")
        with closing(sqlite3.connect(path_of(w))) as other:
            other.execute("BEGIN EXCLUSIVE")
            result = await call
        (bill,) = w.simulator.ledger
        assert result.is_error
        assert f"its task_id is {bill.task_id}" in text(result)
        record = text(result).split('record="')[1].split('"')[0]
        assert (await w.do("check_status", task_id=bill.task_id, record=record))["status"] == "Processing"
        (row,) = (await w.do("list_videos"))["videos"]
        assert (row["task_id"], row["prompt"]) == (bill.task_id, "x")


# The day's budget, over all windows


async def test_the_days_limit_holds_over_all_windows(tmp_path: Path) -> None:
    async with (
        world(tmp_path, max_videos_per_day=3) as w,
        play(tmp_path, w.simulator, w.time, max_videos_per_day=3) as other,
    ):
        calls = [
            asyncio.ensure_future(place.client.call_tool("generate_video", {"prompt": f"x{number}"}))
            for number, place in enumerate([w, other] * 5)
        ]
        results = [await w.time.until(call) for call in calls]
        refused = [text(result) for result in results if result.is_error]
        assert len(w.simulator.ledger) == 3
        assert len(refused) == 7
        assert all("HAILUO_MAX_VIDEOS_PER_DAY" in said for said in refused)
        w.time.now += 86_401
        await w.do("generate_video", prompt="tomorrow")


# The person is asked


@asynccontextmanager
async def host(w: World, era: str, action: Any, **content: Any) -> AsyncIterator[tuple[Client, list[str]]]:
    """A host that asks its person, and what the person was asked."""
    asked: list[str] = []

    async def ask(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content or None)

    server = build_server(w.settings, clock=w.time.clock, sleep=w.time.sleep)
    async with Client(server, mode=era, elicitation_callback=ask) as client:
        yield client, asked


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("action", "content", "pays"),
    [("accept", {"pay": True}, True), ("accept", {"pay": False}, False), ("decline", {}, False), ("cancel", {}, False)],
)
async def test_nothing_is_paid_without_the_persons_consent_where_the_host_can_ask(
    tmp_path: Path, era: str, action: str, content: dict[str, Any], pays: bool
) -> None:
    async with world(tmp_path, confirm="always") as w, host(w, era, action, **content) as (client, asked):
        result = await client.call_tool("generate_video", {"prompt": "a sea", "first_frame_image": w.picture()})
        (question,) = asked
        assert all(words in question for words in ("6 s at 768P", "a sea", "first.jpg"))
        assert len(w.simulator.ledger) == pays
        assert result.is_error is not pays
        assert pays or "did not agree" in text(result)


@pytest.mark.parametrize("era", ERAS)
async def test_the_person_hears_what_was_found_and_is_not_asked_about_what_cannot_be_paid_for(
    tmp_path: Path, era: str
) -> None:
    async with world(tmp_path, confirm="always") as w, host(w, era, "accept", pay=True) as (client, asked):
        wrong = await client.call_tool("generate_video", {"prompt": "[Push inn] a sea"})
        assert (wrong.is_error, asked) == (True, [])
        frames = {"first_frame_image": w.picture(), "last_frame_image": w.picture("last.jpg", (400, 400))}
        await client.call_tool("generate_video", {"prompt": "[Push in] a sea", **frames})
        (question,) = asked
        assert "[推进] a sea" in question
        assert "will crop 44% of the last frame" in question


@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_cannot_ask_is_not_held_up(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, era=era, confirm="always") as w:
        await w.do("generate_video", prompt="a sea")
        assert len(w.simulator.ledger) == 1


async def test_a_host_that_can_only_open_pages_is_not_held_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        settings = {"HAILUO_BASE_URL": w.settings.base_url, "DMXAPI_API_KEY": KEY, "HAILUO_CONFIRM": "always"}
        async with started(tmp_path, **settings) as server:
            await server.greet(elicitation={"url": {}})
            made = await server.call("generate_video", prompt="a sea")
            assert not made.get("isError"), made
            assert len(w.simulator.ledger) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_nobody_is_asked_unless_that_is_wanted(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as w, host(w, era, "decline") as (client, asked):
        assert not (await client.call_tool("generate_video", {"prompt": "a sea"})).is_error
        assert asked == []


# The key


async def test_a_key_that_is_changed_and_changed_back_finds_its_videos_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        w.simulator.keys = (KEY, "sk-another-key-0123456789")
        async with play(tmp_path, w.simulator, w.time, api_key="sk-another-key-0123456789", collect=True) as changed:
            await w.time.advance(3)
            for _ in range(20):
                await w.time.advance(30)
                await asyncio.sleep(SETTLE_SECONDS)
            assert w.calls("query") < 40, "an answer that does not help is not asked for over and over"
            said = await changed.fail("download_video", task_id=task_id)
            assert "a task belongs to the key and the host that submitted it" in said
        assert (await w.finish(task_id))["status"] == "Success"
