"""What an assistant can read: the camera commands and the limits, from the values that are enforced."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp_types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from hailuo_mcp import camera, rules
from hailuo_mcp.app import App
from hailuo_mcp.errors import HailuoError, NotFound
from hailuo_mcp.films.words import film_row, shot_rows
from hailuo_mcp.plain import plain_data
from hailuo_mcp.surface.rows import iso, row
from hailuo_mcp.surface.updates import FILMS, VIDEOS

if TYPE_CHECKING:
    from hailuo_mcp.records import Video

RECENT = 20
JSON = "application/json"
PNG = "image/png"


def add_resources(server: "MCPServer[Any]", app: App) -> None:
    """Register the resources and the completions."""

    @server.resource(
        "hailuo://camera-commands",
        name="camera-commands",
        title="Camera commands",
        description="The 15 camera commands for a prompt, how to combine them, and examples",
        mime_type=JSON,
    )
    def camera_commands() -> str:
        return _json(
            {
                "commands": [
                    {
                        "command": f"[{item.text}]",
                        "english": f"[{item.english}]",
                        "group": item.group,
                        "effect": item.effect,
                    }
                    for item in camera.COMMANDS
                ],
                "rules": camera.RULES,
                "examples": camera.EXAMPLES,
            }
        )

    @server.resource(
        "hailuo://limits",
        name="limits",
        title="Limits",
        description="What the API allows: prompt, durations, resolutions, frames",
        mime_type=JSON,
    )
    def limits() -> str:
        return _json(limit_table())

    @server.resource(
        VIDEOS, name="videos", title="Videos", description="The newest videos and where they are", mime_type=JSON
    )
    async def videos() -> str:
        newest, _ = await (await app.studio()).recent(limit=RECENT)
        return _json([row(video) for video in newest])

    @server.resource(
        f"{VIDEOS}/{{task_id}}",
        name="video",
        title="One video",
        description="What was asked of a video, how it stands, where its file is",
        mime_type=JSON,
    )
    async def video(task_id: str) -> str:
        try:
            return _json(record(await (await app.studio()).find(task_id)))
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error

    @server.resource(
        f"{VIDEOS}/{{task_id}}/first-frame",
        name="first-frame",
        title="First frame",
        description="How a finished video begins, at full quality; generate_video takes this URI as a frame",
        mime_type=PNG,
    )
    async def first_frame(task_id: str) -> bytes:
        return await _still(app, task_id, "first")

    @server.resource(
        f"{VIDEOS}/{{task_id}}/last-frame",
        name="last-frame",
        title="Last frame",
        description="How a finished video ends; as first_frame_image the next video goes on from there",
        mime_type=PNG,
    )
    async def last_frame(task_id: str) -> bytes:
        return await _still(app, task_id, "last")

    @server.resource(
        f"{VIDEOS}/{{task_id}}/frame/{{seconds}}",
        name="frame",
        title="Frame at a second",
        description="The frame of a finished video that is shown at that second, such as 2.5",
        mime_type=PNG,
    )
    async def frame_at(task_id: str, seconds: str) -> bytes:
        return await _still(app, task_id, seconds)

    @server.resource(
        FILMS, name="films", title="Films", description="The newest films and where they are", mime_type=JSON
    )
    async def films() -> str:
        return _json(list(map(film_row, await (await app.films()).recent(RECENT))))

    @server.resource(
        f"{FILMS}/{{film_id}}",
        name="film",
        title="One film",
        description="How a film and each of its shots stand, and where its file is",
        mime_type=JSON,
    )
    async def film(film_id: str) -> str:
        try:
            found = await (await app.films()).find(film_id)
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        return _json(film_row(found) | {"shots": shot_rows(found)})

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        if isinstance(ref, PromptReference) and argument.name == "camera_move":
            return _starting_with(
                argument.value, [name for item in camera.COMMANDS for name in (item.english, item.text)]
            )
        if isinstance(ref, PromptReference) and argument.name == "resolution":
            return _starting_with(argument.value, list(rules.RESOLUTIONS))
        if isinstance(ref, PromptReference) and argument.name == "duration":
            return _starting_with(argument.value, list(map(str, rules.DURATIONS)))
        if isinstance(ref, ResourceTemplateReference) and argument.name == "task_id":
            newest, _ = await (await app.studio()).recent(limit=100)
            return _starting_with(argument.value, [video.task_id for video in newest if video.task_id])
        if isinstance(ref, ResourceTemplateReference) and argument.name == "film_id":
            newest_films = await (await app.films()).recent(100)
            return _starting_with(argument.value, [film.record.id for film in newest_films])
        return None


async def _still(app: App, task_id: str, moment: str) -> bytes:
    try:
        return await (await app.studio()).still(task_id, moment)
    except NotFound as error:
        raise ResourceNotFoundError(str(error)) from error
    except HailuoError as error:
        raise ResourceError(str(error)) from error


def record(video: "Video") -> dict[str, object]:
    """Everything that is known of a video."""
    facts = dataclasses.asdict(video)
    facts |= {name: iso(facts[name]) for name in ("created_at", "updated_at", "expires_at")}
    return {name: value for name, value in facts.items() if value is not None}


def limit_table() -> dict[str, object]:
    """Every limit, from `rules`."""
    return {
        "model": rules.MODEL,
        "prompt_characters": [1, rules.PROMPT_MAX_CHARACTERS],
        "seconds_by_resolution": rules.DURATIONS_BY_RESOLUTION,
        "default": {"resolution": rules.DEFAULT_RESOLUTION, "duration": rules.DEFAULT_DURATION},
        "frames": {
            "optional": "either, both or none",
            "formats": list(rules.FRAME_FORMATS.values()),
            "bytes_below": rules.FRAME_BYTES_BELOW,
            "short_side_pixels_above": rules.FRAME_SHORT_SIDE_ABOVE,
            "aspect_from": ":".join(map(str, rules.FRAME_ASPECT_MIN)),
            "aspect_to": ":".join(map(str, rules.FRAME_ASPECT_MAX)),
            "size_of_video": "follows the first frame; the last frame is cropped to its shape",
        },
        "camera_commands_in_one_bracket_advised": rules.COMMANDS_PER_BRACKET,
        "typical_minutes": rules.TYPICAL_MINUTES,
        "seconds_between_status_queries": rules.POLL_SECONDS,
        "wait_seconds_at_most": rules.WAIT_MAX_SECONDS,
    }


def _starting_with(start: str, values: list[str]) -> Completion:
    typed = start.strip().strip("[").casefold()
    return Completion(values=[value for value in values if value.casefold().startswith(typed)][:100])


def _json(value: object) -> str:
    return json.dumps(plain_data(value), ensure_ascii=False, indent=1)
