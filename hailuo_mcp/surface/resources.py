"""What an assistant can read: the camera commands and the limits, from the values that are enforced."""

import json

from mcp.server.mcpserver import MCPServer
from mcp_types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from hailuo_mcp import camera, rules
from hailuo_mcp.app import App

JSON = "application/json"


def add_resources(server: "MCPServer[None]", app: App) -> None:
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

    @server.completion()
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
        return None


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
    return json.dumps(value, ensure_ascii=False, indent=1)
