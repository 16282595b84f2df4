"""Videos in words and as data, for a person at a terminal and for scripts."""

import argparse
import time
from typing import Any

from hailuo_mcp.records import Video
from hailuo_mcp.rules import TYPICAL_MINUTES
from hailuo_mcp.terminal.console import Console, fit
from hailuo_mcp.terminal.exits import EXIT_FAILED, EXIT_OK, EXIT_UNFINISHED


def end(video: Video, options: argparse.Namespace, console: Console, more: dict[str, Any]) -> int:
    """The file's path as the last word; a video that failed says why."""
    code = EXIT_OK if video.path else EXIT_FAILED if video.state == "Failed" else EXIT_UNFINISHED
    if options.json:
        console.document(facts(video) | more)
    elif video.path:
        console.result(video.path)
    if code != EXIT_OK:
        console.fail(standing(video))
    return code


def show(videos: list[Video], none: str, following: str | None, options: argparse.Namespace, console: Console) -> int:
    """Videos, one a line, and how to see more of them."""
    if options.json:
        console.document({"videos": list(map(facts, videos)), "next_cursor": following})
        return EXIT_OK
    if not videos:
        console.say(none)
    for video in videos:
        row = f"{_when(video.created_at)}  {video.task_id or f'record {video.id}'}  {video.state:<11}  {_about(video)}"
        console.result(fit(row, console.columns) if console.columns and not video.path else row)
    if following:
        console.say(f"There are more: hailuo-mcp list --cursor {following}")
    return EXIT_OK


def _about(video: Video) -> str:
    prompt = " ".join(video.intent.prompt.split()) if video.intent else "submitted elsewhere"
    if video.path:
        return f"{fit(prompt, 40)}  {video.path}"
    return f"{fit(prompt, 40)}  {' '.join(video.failure.split())}" if video.failure else prompt


def _when(epoch: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch))


def waiting(video: Video) -> str:
    """What is said while a person waits."""
    minutes = " to ".join(map(str, TYPICAL_MINUTES))
    return f"Task {video.task_id}: {video.upstream_status or video.state} (usually {minutes} minutes)"


def standing(video: Video) -> str:
    """How a video stands, and the next step."""
    task = f"Task {video.task_id}"
    if video.state == "Failed":
        return f"{task} failed: {video.failure}"
    if video.state != "Success":
        return f"{task} is still processing ({video.upstream_status or video.state})."
    if video.path:
        return f"{task} is finished: {video.path}"
    return f"{task} is finished. Save it with: hailuo-mcp download {video.task_id}"


def facts(video: Video) -> dict[str, Any]:
    """One video as data for scripts. Times are epoch seconds, sizes bytes and pixels."""
    intent = video.intent
    return {
        "task_id": video.task_id,
        "record": video.id,
        "status": video.state,
        "upstream_status": video.upstream_status,
        "created_at": video.created_at,
        "updated_at": video.updated_at,
        "path": video.path,
        "bytes": video.bytes,
        "video_width": video.video_width,
        "video_height": video.video_height,
        "seconds": video.seconds,
        "frames_per_second": video.frames_per_second,
        "codec": video.codec,
        "has_audio": video.has_audio,
        "failure": video.failure,
        "prompt": intent and intent.prompt,
        "first_frame": intent and intent.first_frame,
        "last_frame": intent and intent.last_frame,
        "duration": intent and intent.duration,
        "resolution": intent and intent.resolution,
        "take": intent and intent.take,
    }
