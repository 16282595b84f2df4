"""The bundle as a release ships it: packed by the official tool, started with uv as hosts do; its sum in server.json.

    .venv/bin/python tests/packed.py

It needs Node.js, and fetches the tool and the packages that the server needs. What it makes is in `dist`.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from registry import server_json
from rendered import ROOT, as_text

from hailuo_mcp.server import VERSION
from hailuo_mcp.setup.bundle import write_bundle

DIST = ROOT / "dist"
MCPB = "@anthropic-ai/mcpb@2.1.2"
START_SECONDS = 300  # the first start installs the packages


def as_a_host_starts(folder: Path, answers: dict[str, list[str]]) -> tuple[dict[str, Any], list[str], dict[str, str]]:
    """The manifest of an unpacked bundle, and the command and environment with a person's answers put in."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    start = manifest["server"]["mcp_config"]
    given = {f"${{user_config.{name}}}": values for name, values in answers.items()}
    arguments = [word for argument in start["args"] for word in given.get(argument, [argument])]
    words = [start["command"], *(word.replace("${__dirname}", str(folder)) for word in arguments)]
    return manifest, words, {name: given.get(value, [value])[0] for name, value in start["env"].items()}


def official_tool(*words: str) -> None:
    """Run `mcpb`; a complaint of it ends the program."""
    npx = shutil.which("npx")
    if npx is None:
        sys.exit("tests/packed.py needs Node.js, for the official tool of MCP bundles")
    subprocess.run([npx, "--yes", MCPB, *words], check=True)


async def tools_of(folder: Path) -> tuple[list[str], list[str]]:
    """The tools that a packed server lists, and those that its manifest promises."""
    answers = {"api_key": ["sk-0123456789"], "output_dir": [str(folder / "videos")], "allowed_dirs": [str(folder)]}
    manifest, (command, *words), environment = as_a_host_starts(folder, answers)
    program = shutil.which(command, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        sys.exit("tests/packed.py needs uv, which Claude Desktop brings along: pip install uv")
    server = StdioServerParameters(command=program, args=words, env=os.environ | environment, cwd=folder.anchor)
    async with asyncio.timeout(START_SECONDS), Client(server) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
    return listed, [tool["name"] for tool in manifest["tools"]]


def main() -> None:
    DIST.mkdir(exist_ok=True)
    packed = DIST / f"hailuo-mcp-{VERSION}.mcpb"
    with tempfile.TemporaryDirectory() as place:
        made = asyncio.run(write_bundle(Path(place) / "made.mcpb"))
        with zipfile.ZipFile(made) as archive:
            archive.extractall(Path(place) / "source")
        official_tool("validate", str(Path(place) / "source" / "manifest.json"))
        official_tool("pack", str(Path(place) / "source"), str(packed))
        official_tool("unpack", str(packed), str(Path(place) / "unpacked"))
        listed, promised = asyncio.run(tools_of(Path(place).resolve() / "unpacked"))
    if not listed or listed != promised:
        sys.exit(f"the packed server lists {listed}, its manifest {promised}")
    described = server_json(hashlib.sha256(packed.read_bytes()).hexdigest())
    (DIST / "server.json").write_text(as_text(described), encoding="utf-8")
    print(f"{packed} starts and lists {len(listed)} tools; {DIST / 'server.json'} has its sum")


if __name__ == "__main__":
    main()
