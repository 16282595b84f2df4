"""What is published from live objects: README tables, server.json, the surface. Run this file to write them anew."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client import ClientExtension, advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID

from hailuo_mcp import rules
from hailuo_mcp.exits import EXITS
from hailuo_mcp.server import VERSION, build_server
from hailuo_mcp.settings import Settings, load_settings, variable

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SERVER_JSON = ROOT / "server.json"
SURFACE = Path(__file__).parent / "surface.json"
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"


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


def tool_table(listed: dict[str, Any]) -> str:
    rows = ["| tool | what it does |", "|---|---|"]
    for tool in listed["tools"]:
        arguments = ", ".join(tool["inputSchema"]["properties"])
        rows.append(f"| `{tool['name']}({arguments})` | {' '.join(tool['description'].split())} |")
    return "\n".join(rows)


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        shown = extra.get("shown") if isinstance(extra, dict) else None
        default = shown or (
            "none"
            if field.default is None
            else f"`{field.default:g}`"
            if isinstance(field.default, float)
            else f"`{field.default}`"
        )
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows)


def limit_table() -> str:
    lengths = "; ".join(
        f"{resolution}: {rules.one_of(seconds)} s" for resolution, seconds in rules.DURATIONS_BY_RESOLUTION.items()
    )
    low, high = (":".join(map(str, aspect)) for aspect in (rules.FRAME_ASPECT_MIN, rules.FRAME_ASPECT_MAX))
    return "\n".join(
        [
            "| what | allowed |",
            "|---|---|",
            f"| model | {rules.MODEL} |",
            f"| prompt | 1 to {rules.PROMPT_MAX_CHARACTERS} characters |",
            f"| length | {lengths} |",
            f"| frames | first, last, both or none; {', '.join(rules.FRAME_FORMATS)}, by content |",
            f"| size of a frame | less than {rules.FRAME_BYTES_BELOW / 1e6:.0f} MB, short side over "
            f"{rules.FRAME_SHORT_SIDE_ABOVE} pixels, aspect {low} to {high} |",
            f"| camera commands in one bracket | {rules.COMMANDS_PER_BRACKET} advised at most |",
        ]
    )


def exit_table() -> str:
    return "\n".join(
        ["| code | meaning |", "|---|---|", *(f"| {code} | {meaning} |" for code, meaning in EXITS.items())]
    )


def readme(text: str, listed: dict[str, Any]) -> str:
    """The README with its tables rendered anew."""
    tables = {
        "tools": tool_table(listed),
        "exits": exit_table(),
        "limits": limit_table(),
        "settings": settings_table(),
    }
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
        text, count = re.subn(
            rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        assert count == 1, f"the README needs one {name} block"
    return text


def server_json() -> dict[str, Any]:
    """The registry's description of the package."""
    return {
        "$schema": SCHEMA,
        "name": "io.github.hailuo-mcp/hailuo-mcp",
        "title": "Hailuo first/last-frame video",
        "description": "AI video from a first and a last picture, with MiniMax-Hailuo-02 through DMXAPI",
        "version": VERSION,
        "packages": [
            {
                "registryType": "pypi",
                "identifier": "hailuo-mcp",
                "version": VERSION,
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "environmentVariables": [_environment(name) for name in Settings.model_fields],
            }
        ],
    }


def _environment(name: str) -> dict[str, Any]:
    field = Settings.model_fields[name]
    secret = "SecretStr" in str(field.annotation)
    described: dict[str, Any] = {"name": variable(name), "description": field.description}
    if secret:
        described["isSecret"] = True
    if name == "api_key":
        described["isRequired"] = True
    if isinstance(field.default, (str, int, float)):
        described["default"] = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    return described


def as_text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def main() -> None:
    listed = asyncio.run(surface())
    README.write_text(readme(README.read_text(encoding="utf-8"), listed), encoding="utf-8")
    SERVER_JSON.write_text(as_text(server_json()), encoding="utf-8")
    SURFACE.write_text(as_text(listed), encoding="utf-8")


if __name__ == "__main__":
    main()
