"""The watch over paid videos: asks no more than it must, is taken over, tells who listens, brings everything home."""

import asyncio
import gc
import tracemalloc
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ResourceUpdatedNotification
from world import KEY, SETTLE_SECONDS, Time, World, play, world

from hailuo_mcp import files
from hailuo_mcp.api import HailuoApi, TaskStatus
from hailuo_mcp.app import open_studio
from hailuo_mcp.clocks import Steady
from hailuo_mcp.collector import WATCHED_AT_ONCE
from hailuo_mcp.errors import JournalUnavailable
from hailuo_mcp.journal import Journal
from hailuo_mcp.media import mp4
from hailuo_mcp.records import Video
from hailuo_mcp.server import build_server
from hailuo_mcp.simulator import Fault, Simulator
from hailuo_mcp.simulator.contract import Order
from hailuo_mcp.simulator.state import Ledger, new_task

MANY = 500
INTERVAL = 10.0
ERAS = ("auto", "legacy")


def journal_of(w: World) -> Journal:
    return Journal(w.settings.journal_url(), host=w.settings.base_url, clock=w.time.clock)


async def pass_time(w: World, seconds: float, step: float = 1.0) -> None:
    """Time goes by in steps, and what is on its way arrives before the next one."""
    end = w.time.now + seconds
    while w.time.now < end:
        await w.time.advance(step)
        heard = -1
        while heard != len(w.simulator.requests):
            heard = len(w.simulator.requests)
            await asyncio.sleep(3 * SETTLE_SECONDS)


async def until(w: World, happened: Callable[[], bool], step: float = 1.0) -> None:
    """Let time go by until it has happened; the test fails when that takes too long."""
    async with asyncio.timeout(60):
        while not happened():
            await pass_time(w, step, step)


def saved(w: World) -> list[Path]:
    return sorted(w.settings.output_dir.glob("*.mp4"))


# Who waits


@pytest.mark.parametrize("turns", range(8))
async def test_who_stops_waiting_is_let_go_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """A cancellation that arrives so many turns of the loop after the answer of the API."""
    loop, query = asyncio.get_running_loop(), HailuoApi.query
    looks = 0

    def stop(left: int) -> None:
        if left:
            loop.call_soon(stop, left - 1)
        else:
            waiting.cancel()

    async def looked(api: HailuoApi, task_id: str) -> TaskStatus:
        nonlocal looks
        seen = await query(api, task_id)
        looks += 1
        if looks == 3:
            stop(turns)
        return seen

    async with world(tmp_path, generation_seconds=600) as w:
        made = await w.do("generate_video", prompt="[Push in] dawn")
        settings = w.settings.model_copy(update={"poll_interval": 0.02, "data_dir": tmp_path / "another"})
        async with open_studio(settings) as studio:
            monkeypatch.setattr(HailuoApi, "query", looked)
            waiting = asyncio.create_task(studio.status(made["task_id"], 50))
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(20):
                    await waiting
    assert looks <= 4


# How often the API is asked


@asynccontextmanager
async def under_way(folder: Path, time: Time, many: int) -> AsyncIterator[Simulator]:
    """An API that is at work on so many videos."""
    ledger = Ledger(folder / "ledger")
    for number in range(many):
        payload = {"prompt": f"video {number}", "duration": 6}
        ledger.append(new_task(Order(payload, 144, None, None), KEY, time.now, None))
    async with Simulator(
        keys=(KEY,), generation_seconds=86_400, clock=time.clock, folder=folder / "sim", ledger=folder / "ledger"
    ) as simulator:
        yield simulator


async def known(w: World) -> None:
    """The journal has a record of each."""
    async with journal_of(w) as journal:
        for bill in w.simulator.ledger:
            await journal.observed(bill.task_id, state="Processing")


async def test_500_videos_under_way_are_asked_for_once_an_interval_however_many_wait(tmp_path: Path) -> None:
    time = Time()
    async with under_way(tmp_path, time, MANY) as simulator:
        given: dict[str, Any] = {"collect": True, "poll_interval": INTERVAL}
        async with (
            play(tmp_path, simulator, time, **given) as w,
            play(tmp_path, simulator, time, **given) as other,
        ):
            await known(w)
            start = time.now
            tasks = [bill.task_id for bill in simulator.ledger]
            waiting = [
                asyncio.create_task(
                    place.client.call_tool("check_status", {"task_id": task, "wait_seconds": 50}), name=task
                )
                for task in tasks[:3]
                for place in (w, other)
            ]
            await pass_time(w, 38)
            for task in tasks[:20]:
                for place in (w, other):
                    await place.do("check_status", task_id=task)
            await asyncio.gather(*[asyncio.ensure_future(w.time.until(each)) for each in waiting])
            asked: dict[str, list[float]] = {task: [] for task in tasks}
            for request in simulator.requests:
                asked[request.query["task_id"]].append(request.at)
        assert min(map(len, asked.values())) >= 2, "each is watched"
        # On a busy machine a query is heard some steps of the test's clock after it was sent.
        gaps = [later - earlier for times in asked.values() for earlier, later in pairwise(times)]
        assert min(gaps) > 0.5 * INTERVAL
        assert max(map(len, asked.values())) <= (time.now - start) / INTERVAL + 1


@pytest.mark.parametrize("cares_max", [1000, 10])
async def test_who_asks_about_many_at_once_claims_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cares_max: int
) -> None:
    claims: list[int] = []
    lease = Journal.lease

    async def counted(self: Journal, *given: Any, **named: Any) -> list[Video]:
        claims.append(len(named["task_ids"]))
        assert named["limit"] >= claims[-1]
        return await lease(self, *given, **named)

    monkeypatch.setattr(Journal, "lease", counted)
    monkeypatch.setattr("hailuo_mcp.collector.CARES_MAX", cares_max)
    time = Time()
    async with under_way(tmp_path, time, 40) as simulator, play(tmp_path, simulator, time) as w:
        tasks = [bill.task_id for bill in simulator.ledger]
        await known(w)
        for round_ in (1, 2):
            claims.clear()
            await asyncio.gather(*(w.do("check_status", task_id=task) for task in tasks for _ in range(2)))
            assert sum(claims) <= 2 * len(tasks)
            assert len(claims) <= len(tasks) / 4
            assert w.calls("query") == round_ * len(tasks)
            await time.advance(100)  # the claims have ended


async def test_a_claim_that_cannot_be_written_is_told_to_all_who_wanted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, broken = Journal.lease, 1

    async def breaks_once(self: Journal, *given: Any, **named: Any) -> list[Video]:
        nonlocal broken
        if broken:
            broken -= 1
            await asyncio.sleep(SETTLE_SECONDS)
            raise JournalUnavailable("the disk is full")
        return await lease(self, *given, **named)

    monkeypatch.setattr(Journal, "lease", breaks_once)
    time = Time()
    async with under_way(tmp_path, time, 20) as simulator, play(tmp_path, simulator, time) as w:
        await known(w)
        answers = await asyncio.gather(*(w.call("check_status", task_id=bill.task_id) for bill in simulator.ledger))
        failed = sum(answer.is_error for answer in answers)
        assert failed >= 1
        assert failed + w.calls("query") == len(answers), "nobody is told old news as if it were new"


async def test_an_idle_watch_stays_flat(tmp_path: Path) -> None:
    async with world(tmp_path, collect=True, poll_interval=INTERVAL) as w:
        await w.do("list_videos")  # everything is loaded
        await pass_time(w, 100, INTERVAL)
        gc.collect()
        tracemalloc.start()
        before, wakes, tasks = tracemalloc.get_traced_memory()[0], w.time.sleeps, len(asyncio.all_tasks())
        await pass_time(w, 600, INTERVAL)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert w.simulator.requests == []
        assert w.time.sleeps - wakes <= 2 * (600 / INTERVAL + 1), "one wake an interval for videos, and one for films"
        assert len(asyncio.all_tasks()) <= tasks + 1  # one may be in the middle of a claim
        assert grown < 60_000


async def test_an_api_that_fails_is_asked_less_and_less(tmp_path: Path) -> None:
    async with world(tmp_path, poll_interval=INTERVAL) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        w.simulator.faults.query += [Fault(code=1004)] * 1000
        async with play(tmp_path, w.simulator, w.time, collect=True, poll_interval=INTERVAL):
            await pass_time(w, 1200, 20)
        assert 3 <= w.calls("query") <= 8
        w.simulator.faults.query.clear()
        assert (await w.finish(task_id))["status"] == "Success"


async def test_who_waits_heeds_the_apis_wish_to_be_left_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.do("check_status", task_id=task_id)
        w.simulator.faults.query += [Fault(code=1002, headers={"Retry-After": "38"})]
        await w.do("check_status", task_id=task_id, wait_seconds=50)
        _, refused, again = (request.at for request in w.simulator.requests if request.call == "query")
        assert again - refused >= 38


async def test_a_crowd_that_is_to_be_asked_for_heeds_it_too(tmp_path: Path) -> None:
    time = Time()
    async with (
        under_way(tmp_path, time, 5 * WATCHED_AT_ONCE) as simulator,
        play(tmp_path, simulator, time, collect=True, poll_interval=INTERVAL) as w,
    ):
        simulator.faults.query += [Fault(code=1002, headers={"Retry-After": "38"})] * WATCHED_AT_ONCE
        await known(w)
        await until(w, lambda: w.calls("query") > 0)
        await pass_time(w, 30)
        assert w.calls("query") <= WATCHED_AT_ONCE
        await pass_time(w, 30)
        assert len({request.query["task_id"] for request in simulator.requests}) == len(simulator.ledger)


# Home, whatever happens


async def test_what_is_finished_comes_home_by_itself_and_is_told_by_list_and_resource(tmp_path: Path) -> None:
    async with world(tmp_path, collect=True) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await until(w, lambda: bool(saved(w)))
        (path,) = saved(w)
        mp4.inspect(path)
        await until(w, lambda: not list(w.settings.output_dir.glob(".*")))
        (row,) = (await w.do("list_videos"))["videos"]
        assert (row["task_id"], row["path"]) == (task_id, str(path))
        (content,) = (await w.client.read_resource(f"hailuo://videos/{task_id}")).contents
        assert path.name in content.text  # type: ignore[union-attr]


async def test_the_watch_goes_on_after_a_restart_days_later(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.do("generate_video", prompt="finished while nobody looked")
        seen = (await w.do("generate_video", prompt="seen to finish"))["task_id"]
        await w.finish(seen)
        w.time.now += 64 * 3600
        async with play(tmp_path, w.simulator, w.time, collect=True):
            await until(w, lambda: len(saved(w)) == 2)


async def test_a_link_that_expired_before_the_download_is_asked_for_anew(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        await w.do("get_download_url", task_id=task_id)
        w.time.now += 10 * 3600
        async with play(tmp_path, w.simulator, w.time, collect=True):
            await until(w, lambda: len(saved(w)) == 1)
        assert w.calls("retrieve") == 2


async def test_a_download_broken_by_a_shutdown_goes_on_by_range(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        part = w.settings.output_dir / f".hailuo-{task_id}.part"
        w.simulator.faults.download += [Fault(cut_at=5000), Fault(hang=True)]
        async with play(tmp_path, w.simulator, w.time, collect=True):
            await until(w, lambda: w.calls("download") == 2)
        assert part.stat().st_size == 5000
        async with play(tmp_path, w.simulator, w.time, collect=True):
            await until(w, lambda: len(saved(w)) == 1)
        assert [r.headers.get("range") for r in w.simulator.requests if r.call == "download"][1:] == ["bytes=5000-"] * 2
        mp4.inspect(saved(w)[0])


@pytest.mark.parametrize("back", [60.0, 86_400.0])
async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path, back: float) -> None:
    async with world(tmp_path, collect=True) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await pass_time(w, 12)
        waiting = asyncio.create_task(w.client.call_tool("check_status", {"task_id": task_id, "wait_seconds": 50}))
        await pass_time(w, 3)
        w.time.back += back
        w.simulator.generation_seconds -= back  # its clock was right all the time
        done = await asyncio.wait_for(w.time.until(waiting), 60)
        assert done.structured_content["status"] == "Success"
        await until(w, lambda: len(saved(w)) == 1)


async def test_what_a_dead_process_held_is_free_although_the_clock_was_set_back(tmp_path: Path) -> None:
    async with world(tmp_path) as w, journal_of(w) as journal:
        await w.do("generate_video", prompt="x")
        assert len(await journal.lease("the dead", seconds=60)) == 1
        w.time.back += 86_400
        assert len(await journal.lease("the heir", seconds=60)) == 1


def test_a_steady_clock_goes_forward_only() -> None:
    times = iter([100.0, 101.0, 50.0, 51.0, 200.0])
    now = Steady(lambda: next(times))
    assert [now() for _ in range(4)] == [101.0, 101.0, 102.0, 251.0]


# Several processes


async def test_each_video_is_watched_by_one_process_and_taken_over_when_that_dies(tmp_path: Path) -> None:
    async with world(tmp_path, generation_seconds=300) as w:
        made = [(await w.do("generate_video", prompt=f"x{number}"))["task_id"] for number in range(4)]
        given: dict[str, Any] = {"collect": True, "poll_interval": INTERVAL, "output_dir": w.settings.output_dir}
        async with journal_of(w) as journal:
            # A process that died without letting go holds half of them.
            await journal.lease("the dead", seconds=40, task_ids=made[:2])
            async with play(tmp_path, w.simulator, w.time, **given), play(tmp_path, w.simulator, w.time, **given):
                await pass_time(w, 30)
                assert {request.query["task_id"] for request in w.simulator.requests if request.call == "query"} == {
                    *made[2:]
                }
                await pass_time(w, 30)
                asked = Counter(r.query["task_id"] for r in w.simulator.requests if r.call == "query")
                assert asked.keys() == {*made}
                assert max(asked.values()) <= 6, "never by both"
                w.simulator.generation_seconds = 30
                await until(w, lambda: len(saved(w)) == 4)
        assert w.calls("download") == 4


async def test_a_process_that_closes_lets_go_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, generation_seconds=300) as w:
        await w.do("generate_video", prompt="x")
        async with play(tmp_path, w.simulator, w.time, collect=True):
            await until(w, lambda: w.calls("query") == 1)
        async with journal_of(w) as journal:
            assert len(await journal.lease("the next", seconds=60)) == 1


async def test_two_windows_that_save_the_same_video_download_it_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w, play(tmp_path, w.simulator, w.time, collect=True) as other:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        w.simulator.faults.download.append(Fault(drip=60_000))
        await w.finish(task_id)
        both = [
            asyncio.create_task(place.client.call_tool("download_video", {"task_id": task_id})) for place in (w, other)
        ]
        results = [await w.time.until(each) for each in both]
        paths = [result.structured_content["path"] for result in results]
        while None in paths:
            paths = [(await place.do("download_video", task_id=task_id))["path"] for place in (w, other)]
        assert paths == [str(saved(w)[0])] * 2
        assert len(saved(w)) == w.calls("download") == 1


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with files.sole(lock) as first, files.sole(lock) as second:
        assert (first, second) == (True, False)
    assert not lock.exists()
    with files.sole(lock) as again:
        assert again


# Who listens is told


@asynccontextmanager
async def listener(w: World, era: str, *uris: str, **given: Any) -> AsyncIterator[tuple[Client, list[str]]]:
    """A host that subscribed, and the URIs that it was told of."""
    told: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            told.append(str(message.params.uri))

    settings = w.settings.model_copy(update=given)
    server = build_server(settings, clock=w.time.clock, sleep=w.time.sleep)
    async with Client(server, mode=era, message_handler=hear) as client:
        if era == "legacy":
            with warnings.catch_warnings(action="ignore"):
                for uri in uris:
                    await client.subscribe_resource(uri)
            yield client, told
        else:
            async with client.listen(resource_subscriptions=uris):
                yield client, told


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("watches", [True, False], ids=["own watch", "another's watch"])
async def test_who_subscribed_hears_of_every_change_whoever_made_it(tmp_path: Path, era: str, watches: bool) -> None:
    async with world(tmp_path, collect=not watches, generation_seconds=86_400) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        one, every = f"hailuo://videos/{task_id}", "hailuo://videos"
        if not watches:
            await until(w, lambda: w.calls("query") == 1)  # now the other process has the lease
        async with listener(w, era, one, every, collect=True) as (client, told):
            await w.time.until(asyncio.ensure_future(client.call_tool("list_videos", {})))
            await pass_time(w, 30)  # both watches have begun
            told.clear()
            w.simulator.generation_seconds = 0
            await until(w, lambda: len(saved(w)) == 1)
            await until(w, lambda: told.count(one) >= (2 if watches else 1))
            await pass_time(w, 30, 5)  # the file may be news of its own
            assert told.count(every) == told.count(one)
            heard = len(told)
            await pass_time(w, 60, 5)
            assert len(told) == heard, "nothing changes any more"
            await w.do("generate_video", prompt="y")
            await until(w, lambda: len(told) > heard)
            assert set(told[heard:]) == {every}


@pytest.mark.parametrize("era", ERAS)
async def test_a_new_an_unconfirmed_and_a_found_video_are_announced_at_once(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as w, listener(w, era, "hailuo://videos") as (client, told):

        async def announced(tool: str, **arguments: Any) -> int:
            before = len(told)
            await w.time.until(asyncio.ensure_future(client.call_tool(tool, arguments)))
            await asyncio.sleep(SETTLE_SECONDS)
            return len(told) - before

        assert await announced("generate_video", prompt="x") == 1
        w.simulator.faults.submit.append(Fault(drop="after"))
        assert await announced("generate_video", prompt="y") == 1
        (lost,) = (await w.do("list_videos", state="Unconfirmed"))["videos"]
        found = w.simulator.ledger[1].task_id
        assert await announced("check_status", task_id=found, record=lost["record"]) >= 1
        assert await announced("check_status", task_id=found) == 0
