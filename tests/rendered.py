"""What is published from live objects: README tables, server.json, the surface. Run this file to write them anew."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client import ClientExtension, advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from registry import server_json

from hailuo_mcp import camera, rules
from hailuo_mcp.server import build_server
from hailuo_mcp.settings import Settings, load_settings, variable
from hailuo_mcp.terminal.exits import EXITS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SERVER_JSON = ROOT / "server.json"
SURFACE = Path(__file__).parent / "surface.json"


async def surface() -> dict[str, Any]:
    """Everything that a client can list, as it goes over the wire; last what only hosts with MCP Apps see."""
    listed, for_apps = await _listed(), await _listed(advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]}))
    more = {kind: [item for item in items if item not in listed[kind]] for kind, items in for_apps.items()}
    return listed | {"for_apps": {kind: items for kind, items in more.items() if items}}


async def _listed(*extensions: ClientExtension) -> dict[str, Any]:
    async with Client(build_server(load_settings(collect=False)), extensions=extensions) as client:
        listed = [
            ("tools", (await client.list_tools()).tools),
            ("resources", (await client.list_resources()).resources),
            ("resource_templates", (await client.list_resource_templates()).resource_templates),
            ("prompts", (await client.list_prompts()).prompts),
        ]
    return {
        kind: [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in items]
        for kind, items in listed
    }


@dataclass(frozen=True)
class Tongue:
    """The language of a README: its words for the English ones, and its words for what each tool does."""

    words: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def say(self, english: str, **numbers: object) -> str:
        """English words in this language, with the numbers put in."""
        self.used.add(english)
        return self.words.get(english, english).format(**numbers) if numbers else self.words.get(english, english)

    def row(self, *cells: str) -> str:
        return f"| {' | '.join(cells)} |"

    def head(self, *names: str) -> list[str]:
        return [self.row(*map(self.say, names)), f"|{'---|' * len(names)}"]


# What has no Chinese words yet stays English, and a test says so.
_CHINESE = json.loads((Path(__file__).parent / "chinese.json").read_text(encoding="utf-8"))
READMES = {README: Tongue(), ROOT / "README.zh-CN.md": Tongue(**_CHINESE)}


def tool_table(tongue: Tongue, listed: dict[str, Any]) -> list[str]:
    rows = tongue.head("tool", "what it does")
    for tool in listed["tools"]:
        does = tongue.tools.get(tool["name"]) or " ".join(tool["description"].split())
        rows.append(tongue.row(f"`{tool['name']}({', '.join(tool['inputSchema']['properties'])})`", does))
    return rows


def settings_table(tongue: Tongue) -> list[str]:
    rows = tongue.head("variable", "default", "meaning")
    for name, setting in Settings.model_fields.items():
        extra = setting.json_schema_extra
        if shown := extra.get("shown") if isinstance(extra, dict) else None:
            default = tongue.say(str(shown))
        elif setting.default is None:
            default = tongue.say("none")
        else:
            default = f"`{setting.default:g}`" if isinstance(setting.default, float) else f"`{setting.default}`"
        rows.append(tongue.row(f"`{variable(name)}`", default, tongue.say(setting.description or "")))
    return rows


def limit_table(tongue: Tongue) -> list[str]:
    say = tongue.say
    lengths = [
        say("{resolution}: {seconds} s", resolution=resolution, seconds=say(" or ").join(map(str, seconds)))
        for resolution, seconds in rules.DURATIONS_BY_RESOLUTION.items()
    ]
    low, high = (":".join(map(str, aspect)) for aspect in (rules.FRAME_ASPECT_MIN, rules.FRAME_ASPECT_MAX))
    size = "less than {megabytes} MB, short side over {side} pixels, aspect {low} to {high}"
    allowed = {
        "model": rules.MODEL,
        "prompt": say("1 to {prompt} characters", prompt=rules.PROMPT_MAX_CHARACTERS),
        "length": say("; ").join(lengths),
        "frames": say("first, last, both or none; {formats}, by content", formats=", ".join(rules.FRAME_FORMATS)),
        "size of a frame": say(
            size,
            megabytes=f"{rules.FRAME_BYTES_BELOW / 1e6:.0f}",
            side=rules.FRAME_SHORT_SIDE_ABOVE,
            low=low,
            high=high,
        ),
        "camera commands in one bracket": say("{commands} advised at most", commands=rules.COMMANDS_PER_BRACKET),
    }
    return [*tongue.head("what", "allowed"), *(tongue.row(say(what), limit) for what, limit in allowed.items())]


def camera_table(tongue: Tongue) -> list[str]:
    rows = (tongue.row(f"`[{c.text}]`", f"`[{c.english}]`", tongue.say(c.effect)) for c in camera.COMMANDS)
    return [*tongue.head("command", "English", "effect"), *rows]


def exit_table(tongue: Tongue) -> list[str]:
    return [*tongue.head("code", "meaning"), *(tongue.row(str(code), tongue.say(EXITS[code])) for code in EXITS)]


def readme(text: str, listed: dict[str, Any], tongue: Tongue) -> str:
    """A README with its tables rendered anew."""
    tables = {
        "tools": tool_table(tongue, listed),
        "camera": camera_table(tongue),
        "exits": exit_table(tongue),
        "limits": limit_table(tongue),
        "settings": settings_table(tongue),
    }
    for name, table in tables.items():
        block = "\n".join([f"<!-- {name} -->", *table, f"<!-- /{name} -->"])
        text, count = re.subn(
            rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        assert count == 1, f"the README needs one {name} block"
    return text


def as_text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def main() -> None:
    listed = asyncio.run(surface())
    for path, tongue in READMES.items():
        path.write_text(readme(path.read_text(encoding="utf-8"), listed, tongue), encoding="utf-8")
    SERVER_JSON.write_text(as_text(server_json()), encoding="utf-8")
    SURFACE.write_text(as_text(listed), encoding="utf-8")


if __name__ == "__main__":
    main()
