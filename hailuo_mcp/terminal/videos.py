"""The whole job for a person at a terminal, over the same studio as the tools."""

import argparse
import asyncio
import filecmp
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hailuo_mcp import files
from hailuo_mcp.app import open_studio
from hailuo_mcp.errors import ApiUnavailable, DownloadFailed
from hailuo_mcp.records import Video
from hailuo_mcp.rules import TYPICAL_MINUTES
from hailuo_mcp.settings import Settings
from hailuo_mcp.studio import Request, Studio, Submitted
from hailuo_mcp.terminal import typed
from hailuo_mcp.terminal.console import Console, Progress
from hailuo_mcp.terminal.exits import EXIT_FAILED, EXIT_OK, EXIT_UNFINISHED
from hailuo_mcp.terminal.reports import end, facts, show, standing, waiting

ROUND_SECONDS = 600.0  # of one wait; then the API is asked anew
PATIENCE_SECONDS = 600.0  # how long the API may be out of reach before the watch ends
DOWNLOAD_SECONDS = 3600.0
USUAL_DOWNLOAD_SECONDS = 20.0


async def generate(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Pay for a video, wait for it and save it; ends with its path."""
    request, settings = typed.request(options, settings)
    place = typed.place(options.output)
    settings = place.into(settings)
    settings.require_key()
    async with open_studio(settings) as studio:
        submitted = await _pay(studio, request, options, console)
        options.task = str(submitted.video.task_id)
        _tell_submitted(submitted, request, options, console)
        outcome: dict[str, Any] = {"already_submitted": submitted.already, "warnings": list(submitted.warnings)}
        async with _kept(options, console):
            usual = options.seconds if options.simulate else 60.0 * TYPICAL_MINUTES[1]
            video = await _watch(studio, submitted.video, usual, settings.poll_interval, console)
            if video.state == "Success":
                video = await _save(studio, options, place, console)
    return end(video, options, console, outcome)


async def status(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """How one video stands, or which are under way."""
    async with open_studio(settings) as studio:
        if not options.task:
            return show(await studio.under_way(), "No video is under way.", None, options, console)
        settings.require_key()
        video = await studio.status(options.task, record=options.record)
        if options.wait and video.state == "Processing":
            async with _kept(options, console):
                usual = 60.0 * TYPICAL_MINUTES[1]
                video = await _watch(studio, video, usual, settings.poll_interval, console)
    if options.json:
        console.document(facts(video))
    else:
        console.result(standing(video))
    return {"Success": EXIT_OK, "Processing": EXIT_UNFINISHED}.get(video.state, EXIT_FAILED)


async def list_videos(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Earlier videos, newest first."""
    async with open_studio(settings) as studio:
        videos, following = await studio.recent(options.state, options.limit, options.cursor)
    return show(videos, "There are no videos.", following, options, console)


async def download(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Save a finished video; ends with its path."""
    place = typed.place(options.output)
    settings.require_key()
    async with open_studio(place.into(settings)) as studio, _kept(options, console):
        video = await _save(studio, options, place, console)
    return end(video, options, console, {})


async def _pay(studio: Studio, request: Request, options: argparse.Namespace, console: Console) -> Submitted:
    """Submit; who presses Ctrl-C meanwhile waits for the answer, so that no paid task goes unnamed."""
    paying = asyncio.create_task(studio.generate(request))
    async with Progress(console, "Checking and sending the request", 10.0):
        try:
            return await asyncio.shield(paying)
        except asyncio.CancelledError:
            console.say(
                "The request is on its way; waiting for its answer. Ctrl-C again stops at once; `hailuo-mcp list` then "
                "tells what is known."
            )
            options.task = (await paying).video.task_id
            _tell_pick_up(options, console)
            raise


def _tell_submitted(submitted: Submitted, request: Request, options: argparse.Namespace, console: Console) -> None:
    task_id = submitted.video.task_id
    if submitted.already:
        console.say(
            f"This request is already under way as task {task_id}; nothing more was paid. "
            f"--take {request.take + 1} asks for another one."
        )
    else:
        console.say(f"Submitted{', simulated' if options.simulate else ' and paid for'}: task {task_id}.")
    if submitted.prompt != request.prompt:
        console.say(f"The prompt was sent as: {submitted.prompt}")
    for warning in submitted.warnings:
        console.say(f"Note: {typed.in_our_terms(warning)}")


async def _watch(studio: Studio, video: Video, usual: float, interval: float, console: Console) -> Video:
    """Wait until the video ends, also through times in which the API cannot be reached."""
    task_id = str(video.task_id)
    async with Progress(console, "Waiting for the first news", usual) as progress:

        async def tell(_waited: float, seen: Video) -> None:
            progress.tell(waiting(seen))

        lost_at: float | None = None
        while True:
            try:
                video = await studio.status(task_id, ROUND_SECONDS, tell)
            except ApiUnavailable:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > PATIENCE_SECONDS:
                    raise
                progress.tell(f"Task {task_id}: the API cannot be reached for now; trying again")
                await asyncio.sleep(interval)
            else:
                lost_at = None
                if video.state != "Processing":
                    return video


async def _save(studio: Studio, options: argparse.Namespace, place: typed.Place, console: Console) -> Video:
    """Bring a video home. One that lies elsewhere already is copied to the folder that the person named."""
    async with Progress(console, f"Task {options.task}: saving the video", USUAL_DOWNLOAD_SECONDS):
        video = await studio.download(options.task, place.name, DOWNLOAD_SECONDS)
        if place.folder is None or video.path is None or Path(video.path).parent == place.folder:
            return video
        return replace(video, path=str(await asyncio.to_thread(_copy, Path(video.path), place.folder, place.name)))


def _copy(home: Path, folder: Path, name: str | None) -> Path:
    name = name or home.name
    try:
        if (folder / name).is_file() and filecmp.cmp(home, folder / name, shallow=False):
            return folder / name
        with files.draft(folder, name) as draft:
            shutil.copyfile(home, draft.path)
            return draft.publish()
    except OSError as error:
        raise DownloadFailed(
            f"The video lies at {home}; it could not be copied to {folder}: {error.strerror}"
        ) from error


@asynccontextmanager
async def _kept(options: argparse.Namespace, console: Console) -> AsyncIterator[None]:
    """Whoever stops waiting for a paid video hears how to pick it up."""
    try:
        yield
    except (asyncio.CancelledError, ApiUnavailable, DownloadFailed):
        _tell_pick_up(options, console)
        raise


def _tell_pick_up(options: argparse.Namespace, console: Console) -> None:
    if options.simulate:
        console.say(f"Task {options.task} was simulated; it ends with this program.")
    else:
        console.say(
            f"Task {options.task} is in the journal, and nothing is lost by stopping here. Pick it up with: "
            f"hailuo-mcp download {options.task}"
        )
