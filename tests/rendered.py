"""What is published from live objects: README tables, server.json, the surface. Run this file to write them anew."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from mcp import Client
from registry import server_json

from hailuo_mcp import rules
from hailuo_mcp.exits import EXITS
from hailuo_mcp.server import build_server
from hailuo_mcp.settings import Settings, load_settings, variable

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SERVER_JSON = ROOT / "server.json"
SURFACE = Path(__file__).parent / "surface.json"


async def surface() -> dict[str, Any]:
    """Everything that a client can list, as it goes over the wire."""
    async with Client(build_server(load_settings(collect=False))) as client:
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


def as_text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def main() -> None:
    listed = asyncio.run(surface())
    README.write_text(readme(README.read_text(encoding="utf-8"), listed), encoding="utf-8")
    SERVER_JSON.write_text(as_text(server_json()), encoding="utf-8")
    SURFACE.write_text(as_text(listed), encoding="utf-8")


if __name__ == "__main__":
    main()
