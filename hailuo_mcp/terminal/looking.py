"""`check` and `preview`: what can be seen of a video before it is paid for."""

import argparse
from pathlib import Path
from typing import Any

from hailuo_mcp import files
from hailuo_mcp.app import open_studio
from hailuo_mcp.frames import Judged
from hailuo_mcp.review import Review
from hailuo_mcp.settings import Settings
from hailuo_mcp.terminal import typed
from hailuo_mcp.terminal.console import Console, Progress
from hailuo_mcp.terminal.exits import EXIT_FAILED, EXIT_OK
from hailuo_mcp.viewing import crop_words

USUAL_PREVIEW_SECONDS = 5.0


async def check(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Everything that can be said of a request before it is paid for, and a picture of its frames if wanted."""
    request, settings = typed.request(options, settings)
    async with open_studio(settings) as studio:
        review, board = await studio.check(request)
    picture = typed.save(board, options.output) if board and options.output else None
    if options.json:
        console.document(_facts(review, picture))
        return EXIT_FAILED if review.problems else EXIT_OK
    for judged in review.judged:
        console.result(typed.in_our_terms(_frame_words(judged, review)))
    if review.reading.prompt != request.prompt:
        console.result(f"The prompt will be sent as: {review.reading.prompt}")
    for warning in review.warnings:
        console.result(f"Note: {typed.in_our_terms(warning)}")
    if picture:
        console.result(f"The frames, side by side: {picture}")
    review.submission()
    console.result(f"Ready to be paid for: {request.duration} s at {request.resolution}. Nothing was sent.")
    return EXIT_OK


async def preview(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """A sketch of the shot, drawn on this machine; ends with its path."""
    request, settings = typed.request(options, settings)
    place = typed.place(options.output)
    async with open_studio(place.into(settings)) as studio, Progress(console, "Drawing", USUAL_PREVIEW_SECONDS):
        made = await studio.preview(request)
    path = _named(made.path, place.name) if place.name else made.path
    if options.json:
        console.document(_facts(made.review, None) | {"path": str(path), "seconds": made.facts.seconds})
    else:
        for warning in made.review.warnings:
            console.say(f"Note: {typed.in_our_terms(warning)}")
        console.result(str(path))
    return EXIT_OK


def _frame_words(judged: Judged, review: Review) -> str:
    facts, sent = judged.facts, judged.frame
    words = f"{facts.name}, {facts.width}x{facts.height}, {facts.bytes / 1e3:,.0f} kB" if facts else judged.label
    cut = f"; {crop_words(review.crop)}" if judged.name == "last_frame_image" and review.crop else ""
    return f"{judged.name}: {words}{cut}{'' if sent else '; refused'}"


def _facts(review: Review, picture: Path | None) -> dict[str, Any]:
    return {
        "ok": not review.problems,
        "problems": [typed.in_our_terms(problem) for problem in review.problems],
        "warnings": [typed.in_our_terms(warning) for warning in review.warnings],
        "prompt": review.reading.prompt,
        "frames": {
            judged.name: judged.facts
            and {
                "format": judged.facts.name,
                "width": judged.facts.width,
                "height": judged.facts.height,
                "bytes": judged.facts.bytes,
            }
            for judged in review.judged
        },
        "picture": picture and str(picture),
    }


def _named(path: Path, name: str) -> Path:
    with files.draft(path.parent, name) as draft:
        path.replace(draft.path)
        return draft.publish()
