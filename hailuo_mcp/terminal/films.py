"""`film` and `retake`: films for a person at a terminal, over the same films as the tools."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hailuo_mcp.app import open_films
from hailuo_mcp.errors import NotConfigured
from hailuo_mcp.films.film import Film
from hailuo_mcp.films.films import Films
from hailuo_mcp.films.plan import Plan
from hailuo_mcp.films.script import Script, Shot, lay_out
from hailuo_mcp.films.words import film_failure, film_words, plan_words, planned_row, shot_rows
from hailuo_mcp.rules import DEFAULT_DURATION, TYPICAL_MINUTES
from hailuo_mcp.settings import Settings
from hailuo_mcp.terminal import typed
from hailuo_mcp.terminal.console import Console, Progress
from hailuo_mcp.terminal.exits import EXIT_FAILED, EXIT_OK, EXIT_UNFINISHED

ROUND_SECONDS = 600.0  # of one wait; then the films are asked anew
USUAL_PREVIEW_SECONDS = 15.0


async def film(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Plan a film, draw it, or pay for it and wait; ends with its path."""
    keyframes, settings = typed.pictures(options.keyframes, settings)
    shots = _shots(options)
    if options.pay:
        settings.require_key()
    async with open_films(settings) as films:
        if options.add_to:
            script, numbers = await films.lengthened(options.add_to, keyframes, shots)
        else:
            script = Script(
                lay_out(keyframes, shots), options.resolution, exact=options.exact, mend=not options.no_mend
            )
            numbers = list(range(1, len(shots) + 1))
        plan = await films.plan(script, numbers, whole_urls=options.preview)
        if options.preview:
            return await _preview(films, plan, options, console)
        if not options.pay or plan.problems:
            return await _plan(films, plan, options, console)
        if options.add_to:
            made, new = await films.lengthen(options.add_to, keyframes, shots, plan), bool(numbers)
        else:
            made, new = await films.create(plan, options.take)
        options.task = made.record.id
        more = "" if options.add_to else f" --take {options.take + 1} asks for another one."
        console.say(
            f"Film {made.record.id} is under way and pays for {len(plan.to_pay)} videos."
            if new
            else f"This is already under way as {made.record.id}; nothing more is paid.{more}"
        )
        return await _finish(films, made, plan.rounds, options, settings, console)


async def retake(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Pay for one shot of a film again, and wait; ends with the film's path."""
    (first, last), settings = typed.pictures([options.first or "", options.last or ""], settings)
    settings.require_key()
    options.task = options.film
    settings = await _own_pictures(options.film, settings)
    async with open_films(settings) as films:
        if options.found:
            made = await films.found(options.film, options.shot, options.found)
        else:
            changes = Shot(options.prompt or "", options.duration or 0, first, last)
            made = await films.retake(options.film, await films.retake_plan(options.film, options.shot, changes))
        return await _finish(films, made, 1, options, settings, console)


async def status(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """How a film and its shots stand."""
    settings.require_key()
    settings = await _own_pictures(options.task, settings)
    async with open_films(settings) as films:
        made = await films.status(options.task)
        if options.wait and made.status == "Processing":
            return await _finish(films, made, len(made.shots), options, settings, console)
    if options.json:
        console.document(_facts(made))
    else:
        console.result(typed.in_our_terms(film_words(made)))
    return {"Success": EXIT_OK, "Processing": EXIT_UNFINISHED}.get(made.status, EXIT_FAILED)


async def _own_pictures(film_id: str, settings: Settings) -> Settings:
    """Settings that let a film's pictures be read: the person named them when the film was made."""
    async with open_films(settings) as films:
        shots = (await films.find(film_id)).script.shots
    return typed.pictures([frame for shot in shots for frame in (shot.first, shot.last) if frame], settings)[1]


def _shots(options: argparse.Namespace) -> list[Shot]:
    """A shot for each --prompt; raises NotConfigured when the durations cannot belong to them."""
    durations = options.duration or [DEFAULT_DURATION]
    if len(durations) not in (1, len(options.prompt)):
        raise NotConfigured(f"--duration: give it once for all {len(options.prompt)} shots, or once for each")
    durations *= len(options.prompt) if len(durations) == 1 else 1
    return [Shot(prompt, seconds) for prompt, seconds in zip(options.prompt, durations, strict=True)]


async def _plan(films: Films, plan: Plan, options: argparse.Namespace, console: Console) -> int:
    if options.storyboard:
        await asyncio.to_thread(typed.save, await films.storyboard(plan), options.storyboard)
    if options.json:
        rows = [planned_row(plan, number) for number in plan.to_pay]
        console.document({"problems": plan.problems, "warnings": plan.warnings, "shots": rows, "minutes": plan.minutes})
    else:
        (console.fail if plan.problems else console.result)(typed.in_our_terms(plan_words(plan)))
    return EXIT_FAILED if plan.problems else EXIT_OK


async def _preview(films: Films, plan: Plan, options: argparse.Namespace, console: Console) -> int:
    async with Progress(console, "Drawing", USUAL_PREVIEW_SECONDS):
        sketch = await films.preview(plan)
    if options.json:
        console.document({"path": str(sketch.path), "seconds": sketch.facts.seconds, "warnings": plan.warnings})
    else:
        for warning in plan.warnings:
            console.say(f"Note: {warning}")
        console.result(str(sketch.path))
    return EXIT_OK


async def _finish(
    films: Films, made: Film, rounds: int, options: argparse.Namespace, settings: Settings, console: Console
) -> int:
    """Wait for the film, through every retry; its path is the last word."""
    usual = (options.seconds if options.simulate else 60.0 * TYPICAL_MINUTES[1]) * rounds
    async with _kept(options, console), Progress(console, _news(made), usual) as progress:

        async def tell(_waited: float, seen: Film) -> None:
            progress.tell(_news(seen))

        while made.status == "Processing":
            made = await films.status(made.record.id, ROUND_SECONDS, tell)
    if options.json:
        console.document(_facts(made))
    elif made.status == "Success":
        console.result(str(made.record.path))
    if made.status != "Success":
        console.fail(typed.in_our_terms(film_words(made)))
        return EXIT_FAILED
    return EXIT_OK


def _news(film: Film) -> str:
    trouble = f"; {film.record.failure}" if film.record.failure else ""
    return f"Film {film.record.id}: {film.home} of {len(film.shots)} shots at home{trouble}"


def _facts(film: Film) -> dict[str, Any]:
    record = film.record
    return {
        "film_id": record.id,
        "status": film.status,
        "path": record.path if record.finished else None,
        "bytes": record.bytes,
        "seconds": record.seconds,
        "failure": film_failure(film),
        "shots": shot_rows(film),
    }


@asynccontextmanager
async def _kept(options: argparse.Namespace, console: Console) -> AsyncIterator[None]:
    """Whoever stops waiting for a film hears how to pick it up."""
    try:
        yield
    except asyncio.CancelledError:
        console.say(
            f"Film {options.task} is in the journal, and nothing is lost by stopping here. Pick it up with: hailuo-mcp "
            f"status {options.task} --wait"
        )
        raise
