"""Processes killed with SIGKILL while they make films of five shots: each shot is billed once, each film made."""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from doomed import Step
from film_hands import PRELOADED, Errand, make_film
from PIL import Image
from test_process import bare
from world import KEY

from hailuo_mcp.media import mp4
from hailuo_mcp.simulator import Fault, Simulator

KILLS = int(os.environ.get("HAILUO_TEST_FILM_KILLS", "40"))
SEED = int(os.environ.get("HAILUO_TEST_SEED", "20261126"))
SHOTS = 5
FRAMES = 144  # of a shot of 6 s
LATER_SECONDS = 100.0  # between two lives: leases and submits of the life before are over
PATIENCE_SECONDS = 90.0
MODULES = (
    *("films.filming", "films.films", "films.journal", "films.cutting", "media.joining"),
    *("files", "journal", "studio", "collector", "app"),
)
COLOURS = ("navy", "teal", "maroon", "gold", "olive", "purple")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL and no fork")


@dataclass
class Ground:
    """The folder, the simulated API and the dice of one test."""

    folder: Path
    simulator: Simulator
    dice: random.Random
    later: float = 0.0
    deaths: Counter[str] = field(default_factory=Counter)

    def errand(self, number: int) -> Errand:
        frames = [str(self.folder / f"{colour}.jpg") for colour in COLOURS]
        if number % 2:
            frames[2] = ""  # the third shot goes on where the second one ends
        prompts = tuple(f"film {number}, scene {at}" for at in range(1, SHOTS + 1))
        return Errand(tuple(frames), prompts, self.folder / "ledger", self.later, collect=number % 3 == 0)

    def environment(self) -> dict[str, str]:
        return bare(
            self.folder,
            DMXAPI_API_KEY=KEY,
            HAILUO_BASE_URL=self.simulator.base_url,
            HAILUO_ALLOWED_DIRS=self.folder,
            HAILUO_POLL_INTERVAL=0.05,
            HAILUO_SUBMIT_TIMEOUT=30,
            HAILUO_FILM_SHOTS_PER_MINUTE=60,
        )

    def rows(self, question: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "data" / "journal.db")) as database:
            return database.execute(question).fetchall()


async def live(g: Ground, errand: Errand, fatal: Step | None = None, steps: Path | None = None) -> int:
    """One life of a process that makes the film; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=make_film, args=(g.environment(), errand, fatal, steps and str(steps)))
    await asyncio.to_thread(process.start)
    killer = asyncio.create_task(_kill(g, int(process.pid or 0))) if not fatal and not steps else None
    try:
        await asyncio.to_thread(process.join, PATIENCE_SECONDS)
        assert process.exitcode is not None, "it hangs"
        return process.exitcode
    finally:
        if killer:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
        process.kill()
        await asyncio.to_thread(process.join)
        process.close()


async def _kill(g: Ground, pid: int) -> None:
    """SIGKILL some moments after the API has heard the next call of some kind, or after some time."""
    heard = len(g.simulator.requests)
    call = g.dice.choice(["", "submit", "query", "retrieve", "download"])
    while call and not any(request.call == call for request in g.simulator.requests[heard:]):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(g.dice.uniform(0, 0.3 if call else 2.0))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def play_until_killed(g: Ground, number: int, steps: dict[str, int]) -> bool:
    """One life; False when the film was made in it."""
    faults, dice, fatal = g.simulator.faults, g.dice, None
    for waiting in (faults.submit, faults.query, faults.download):
        waiting.clear()
    faults.submit += dice.choices([[], [Fault(drop="after")], [Fault(code=1002)]], [6, 1, 1])[0]
    faults.download += dice.choices([[], [Fault(cut_at=3000)]], [3, 1])[0]
    if dice.random() < 0.6:
        module = dice.choice(MODULES)
        place = dice.choice(sorted(place for place in steps if place.split()[0] == module))
        fatal = (place, dice.randint(1, min(steps[place], 12)))
    code = await live(g, g.errand(number), fatal)
    await asyncio.sleep(0.02)  # what the dead process has sent still arrives
    while g.simulator.is_answering:  # noqa: ASYNC110 - who looks at the provider's list waits until it is complete
        await asyncio.sleep(0.01)
    g.later += LATER_SECONDS
    assert code in (0, -signal.SIGKILL), "a bug ended it"
    if code:
        g.deaths[fatal[0].split()[0] if fatal else "outside"] += 1
    return bool(code)


def is_made(g: Ground, number: int) -> bool:
    """Whether the film was finished before the kill: asked for again, it would be another one."""
    return g.rows("SELECT count(*) FROM hailuo_films WHERE finished") == [(number + 1,)]


def check_the_books(g: Ground, films: int) -> None:
    """The provider's ledger against the journal and the disk."""
    bills = Counter(bill.prompt for bill in g.simulator.ledger)
    assert len(bills) == films * SHOTS
    assert max(bills.values()) == 1, "paid twice"
    assert g.rows("PRAGMA integrity_check") == [("ok",)]
    home = g.rows("SELECT prompt, task_id FROM hailuo_videos WHERE state = 'Success' AND path IS NOT NULL")
    assert sorted(home) == sorted((bill.prompt, bill.task_id) for bill in g.simulator.ledger)
    made = g.rows("SELECT path, finished FROM hailuo_films")
    assert len(made) == films
    for path, finished in made:
        facts = mp4.inspect(Path(path))
        assert (finished, facts.frames, facts.fast_start) == (1, SHOTS * FRAMES, True)
    assert [*(g.folder / "videos").glob(".*.part")] == [], "nothing half made stays"
    for path in (g.folder / "videos").glob("film-*.mp4"):
        assert mp4.inspect(path).frames == SHOTS * FRAMES


async def test_processes_killed_at_every_step_pay_once_for_each_shot_and_finish_the_film(tmp_path: Path) -> None:
    for colour in COLOURS:
        Image.new("RGB", (640, 360), colour).save(tmp_path / f"{colour}.jpg")
    async with Simulator(
        keys=(KEY,), generation_seconds=0.2, short_side=304, folder=tmp_path / "s", ledger=tmp_path / "ledger"
    ) as simulator:
        g = Ground(tmp_path, simulator, random.Random(SEED))
        assert await live(g, g.errand(0), steps=tmp_path / "steps.json") == 0
        steps: dict[str, int] = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
        kills, films = 0, 1
        while kills < KILLS:
            made = False
            while not made:
                killed = await play_until_killed(g, films, steps)
                kills += killed
                made = not killed or is_made(g, films)
            films += 1
        check_the_books(g, films)
        print(f"\n{kills} kills in {films} films, {len(simulator.ledger)} bills:", dict(g.deaths), file=sys.stderr)
