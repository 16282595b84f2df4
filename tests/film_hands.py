"""A process that makes a film and may be killed at any step; it also plays the person for unconfirmed shots."""

import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from doomed import Fate, Step

from hailuo_mcp import app
from hailuo_mcp.app import App
from hailuo_mcp.films.film import Film
from hailuo_mcp.films.films import Films
from hailuo_mcp.films.script import Script, Shot, lay_out
from hailuo_mcp.settings import load_settings

PRELOADED = [
    "film_hands",
    "hailuo_mcp.studio",
    "hailuo_mcp.media.joining",
    "hailuo_mcp.simulator",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "stamina",
]


@dataclass(frozen=True, slots=True)
class Errand:
    """Which film to make. `later`: seconds that this process' clock is ahead; `ledger`: the provider's task list."""

    keyframes: tuple[str, ...]
    prompts: tuple[str, ...]
    ledger: Path
    later: float
    collect: bool


def make_film(environment: dict[str, str], errand: Errand, fatal: Step | None, steps: str | None) -> None:
    """Make the film from wherever it is, as a process that asks for it anew; `steps`: a file to list all steps in."""
    os.environ.clear()
    os.environ.update(environment)
    app.WATCH_AFTER_SECONDS = 0.02
    fate = Fate(fatal)
    if fatal or steps:
        threading.setprofile(fate)
        sys.setprofile(fate)
    asyncio.run(_make(errand))
    if steps:
        sys.setprofile(None)
        Path(steps).write_text(json.dumps(fate.passed), encoding="utf-8")


async def _make(errand: Errand) -> None:
    own = App(load_settings(collect=errand.collect), clock=lambda: time.time() + errand.later)
    own.start_watch()
    films = await own.films()
    try:
        script = Script(lay_out(errand.keyframes, [Shot(prompt) for prompt in errand.prompts]))
        film, _ = await films.create(await films.plan(script))
        while film.status != "Success":
            await _decide(films, film, errand)
            film = await films.status(film.record.id, 5)
    finally:
        await own.close()


async def _decide(films: Films, film: Film, errand: Errand) -> None:
    """Look at the provider's list for each shot that is stuck: its task is named, or it is taken again."""
    billed = {}
    if errand.ledger.exists():
        billed = {line["prompt"]: line["task_id"] for line in map(json.loads, errand.ledger.read_text().splitlines())}
    for shot in film.stuck:
        task_id = billed.get(shot.shot.prompt)
        if task_id:
            await films.found(film.record.id, shot.number, task_id)
        else:
            await films.retake(film.record.id, await films.retake_plan(film.record.id, shot.number, Shot("", 0)))
