"""Servers killed with SIGKILL at every step of the story: every bill is in the journal, once, and comes home."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import Server, forked, started
from test_process import FIRST
from world import KEY, SETTLE_SECONDS, Time, World, play

from hailuo_mcp.simulator import Bill, Fault, Simulator

KILLS = int(os.environ.get("HAILUO_TEST_KILLS", "30"))
SEED = int(os.environ.get("HAILUO_TEST_SEED", "20260731"))
COLD = 10  # every so manieth server is a program of its own, the others are forked
STAGES = {
    "before the intent",
    "after the intent",
    "paid, its task not written down",
    "watched",
    "finished, not at home",
    "at home, not written down",
    "at home",
}
# Moments that chance seldom meets: the file has its name and the journal does not know; it knows and nobody else does.
AIMED_AT = ("files Draft.publish return", "surface.media video_link call")
CALLS = ("submit", "query", "retrieve", "download")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL and no fork")


@dataclass
class Ground:
    """The folder, the simulated API and the dice of one test."""

    folder: Path
    simulator: Simulator
    dice: random.Random
    stages: Counter[str] = field(default_factory=Counter)

    def settings(self, **more: object) -> dict[str, object]:
        settings: dict[str, object] = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": self.simulator.base_url,
            "HAILUO_ALLOWED_DIRS": FIRST.parent,
            "HAILUO_POLL_INTERVAL": 0.05,
            "HAILUO_SUBMIT_TIMEOUT": 5,
        }
        return settings | more

    def rows(self, prompt: str) -> list[tuple[Any, ...]]:
        """What the journal holds of a request."""
        path = self.folder / "data" / "journal.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as database:
            try:
                return database.execute(
                    "SELECT state, task_id, path FROM hailuo_videos WHERE prompt = ?", (prompt,)
                ).fetchall()
            except sqlite3.OperationalError:  # killed before there were tables
                return []

    def bills(self, prompt: str) -> list[Bill]:
        return [bill for bill in self.simulator.ledger if bill.prompt == prompt]

    def stage(self, prompt: str) -> str:
        """How far the story had come."""
        rows, bills = self.rows(prompt), self.bills(prompt)
        if not rows:
            assert not bills, "billed, but not journalled"
            return "before the intent"
        ((state, task_id, path),) = rows
        if task_id is None:
            assert state in ("Submitting", "Unconfirmed", "Refused")
            assert not (state == "Refused" and bills), "billed, but taken for refused"
            return "paid, its task not written down" if bills else "after the intent"
        if state != "Success":
            return "watched"
        made = self.folder / "videos" / f"hailuo-{task_id}.mp4"
        return "at home" if path else "at home, not written down" if made.exists() else "finished, not at home"


@asynccontextmanager
async def ground(folder: Path, clock: Any = time.time) -> AsyncIterator[Ground]:
    ledger = folder / "ledger"
    async with Simulator(
        keys=(KEY,), generation_seconds=0.1, short_side=144, folder=folder / "simulator", ledger=ledger, clock=clock
    ) as simulator:
        yield Ground(folder, simulator, random.Random(SEED))


async def tell_the_story(server: Server, prompt: str, asked_before: str | None = None) -> None:
    """What an assistant does; raises EOFError when the server dies."""
    await server.greet()
    if asked_before:
        await server.call("generate_video", prompt=asked_before, first_frame_image=str(FIRST))
    made = await server.call("generate_video", prompt=prompt, first_frame_image=str(FIRST))
    if made.get("isError"):  # the reply was lost: the person looks later
        return
    task_id = made["structuredContent"]["task_id"]
    status = "Processing"
    while status == "Processing":
        status = (await server.call("check_status", task_id=task_id, wait_seconds=10))["structuredContent"]["status"]
    await server.call("download_video", task_id=task_id)


async def kill_after(server: Server, g: Ground, call: str, seconds: float) -> None:
    """SIGKILL from outside, some moments after the API has heard the next call of that kind."""
    heard = len(g.simulator.requests)
    while not any(request.call == call for request in g.simulator.requests[heard:]):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGKILL)


def lay_stones(g: Ground) -> None:
    """What goes wrong upstream in the next story, sometimes."""
    faults, dice = g.simulator.faults, g.dice
    for waiting in (faults.submit, faults.query, faults.retrieve, faults.download):
        waiting.clear()
    faults.submit += dice.choices(
        [[], [Fault(delay=0.1)], [Fault(drop="after")], [Fault(drop="before")], [Fault(status=502, billed=True)]],
        [10, 4, 1, 1, 1],
    )[0]
    faults.query += dice.choices([[], [Fault(status=503)], [Fault(drop="before")]], [4, 1, 1])[0]
    faults.download += dice.choices([[], [Fault(cut_at=3000)], [Fault(drip=20_000)]], [3, 1, 2])[0]


async def play_until_killed(g: Ground, prompt: str, before: str | None, steps: dict[str, int], *, cold: bool) -> bool:
    """One story with one planned kill; False when the story was over first."""
    lay_stones(g)
    dice, fatal = g.dice, None
    collect = before is None and dice.random() < 0.5
    if not cold and dice.random() < 0.6:
        # Half of the time every module has the same chance: those that publish a file take few steps.
        module = dice.choice(sorted({place.split()[0] for place in steps}) if dice.random() < 0.5 else [""])
        place = dice.choice([place for place in sorted(steps) if not module or place.split()[0] == module])
        if dice.random() < 0.1:
            place = dice.choice(AIMED_AT)
        fatal = (place, dice.randint(1, min(steps[place], 8)))
    more = {"HAILUO_COLLECT": collect}
    async with (
        started(g.folder, **g.settings(**more)) if cold else forked(g.folder, fatal, **g.settings(**more)) as server
    ):
        plan = None if fatal else kill_after(server, g, dice.choice(CALLS), dice.uniform(0, 0.12))
        killer = asyncio.create_task(plan) if plan else None
        try:
            await tell_the_story(server, prompt, before)
        except EOFError:
            return True
        finally:
            if killer:
                killer.cancel()
                await asyncio.gather(killer, return_exceptions=True)
    return False


def is_open(g: Ground, prompt: str) -> bool:
    """Whether asking for it again must not pay again."""
    return any(state in ("Submitting", "Unconfirmed", "Processing") for state, _, _ in g.rows(prompt))


async def list_steps(g: Ground) -> dict[str, int]:
    """Every step that a whole story takes, and how often."""
    path = g.folder / "steps.json"
    async with forked(g.folder, steps=path, **g.settings(HAILUO_COLLECT=True)) as server:
        await tell_the_story(server, "rehearsal")
    steps: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return steps


async def settle(w: World, g: Ground) -> None:
    """Every request is asked again, and every unconfirmed one is looked up in the provider's list, as people would."""
    records, cursor = [], ""
    while cursor is not None:
        page = await w.do("list_videos", limit=50, cursor=cursor)
        records, cursor = records + page["videos"], page["next_cursor"]
    assert "Submitting" not in {record["state"] for record in records}
    for record in records:
        if record["state"] in ("Processing", "Unconfirmed"):
            await w.call("generate_video", prompt=record["prompt"], first_frame_image=str(FIRST))
    for record in records:
        if record["state"] == "Unconfirmed" and (bills := g.bills(record["prompt"])):
            found = await w.do("check_status", task_id=bills[0].task_id, record=record["record"])
            assert found["task_id"] == bills[0].task_id


def check_the_books(g: Ground) -> None:
    """The simulator's ledger against the journal and the disk."""
    bills = {bill.task_id: bill for bill in g.simulator.ledger}
    assert max(Counter(bill.prompt for bill in bills.values()).values()) == 1, "paid twice"
    with closing(sqlite3.connect(g.folder / "data" / "journal.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT task_id, prompt, state, path FROM hailuo_videos").fetchall()
    known = {task_id: (prompt, state, path) for task_id, prompt, state, path in rows if task_id}
    assert known.keys() == bills.keys()
    for task_id, (prompt, state, path) in known.items():
        assert (prompt, state) == (bills[task_id].prompt, "Success")
        assert Path(path).read_bytes() == (g.folder / "simulator" / f"{task_id}.mp4").read_bytes()
    assert {state for task_id, _, state, _ in rows if not task_id} <= {"Unconfirmed", "Refused"}
    # One file for each video, and nothing half-done beside them; who was killed may have left a lock, empty and free.
    made = [str(path) for path in (g.folder / "videos").iterdir() if path.suffix != ".lock"]
    assert sorted(made) == sorted(path for _, _, path in known.values())


def is_something_away(g: Ground) -> bool:
    """Whether the journal knows a task whose video is not at home."""
    with closing(sqlite3.connect(g.folder / "data" / "journal.db")) as database:
        away = "SELECT count(*) FROM hailuo_videos WHERE task_id IS NOT NULL AND path IS NULL"
        return bool(database.execute(away).fetchone()[0])


async def test_servers_killed_at_every_step_pay_once_and_lose_no_video(tmp_path: Path) -> None:
    later = Time()
    later.now = 0.0
    async with ground(tmp_path, lambda: later.now or time.time()) as g:
        steps = await list_steps(g)
        kills, number, before = 0, 0, None
        # Many kills are to meet every stage; some are met seldom, so a few more are played for these.
        while kills < KILLS or (KILLS >= 200 and g.stages.keys() != STAGES and kills < 2 * KILLS):
            number += 1
            prompt = f"story {number}"
            again = before if before and g.dice.random() < 0.5 and is_open(g, before) else None
            if await play_until_killed(g, prompt, again, steps, cold=number % COLD == 0):
                kills += 1
                g.stages[g.stage(prompt)] += 1
            before = prompt
        later.now = time.time() + 7200
        given: dict[str, Any] = {"data_dir": tmp_path / "data", "allowed_dirs": (FIRST.parent,), "poll_interval": 1}
        async with play(tmp_path, g.simulator, later, **given) as w:
            await settle(w, g)
        async with asyncio.timeout(60 + KILLS), play(tmp_path, g.simulator, later, collect=True, **given):
            while is_something_away(g):
                await later.advance(1)
                await asyncio.sleep(SETTLE_SECONDS)
        check_the_books(g)
        print(f"\n{kills} kills in {number} stories, {len(g.simulator.ledger)} bills:", dict(g.stages), file=sys.stderr)
        if KILLS >= 200:
            assert g.stages.keys() == STAGES
