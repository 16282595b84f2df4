"""The container file: its words start a server that its own health check finds well. An image needs an engine."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hailuo_mcp.settings import Settings, variable

ROOT = Path(__file__).parents[1]
FILE = (ROOT / "examples" / "container" / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
START_SECONDS = 30


def listed(instruction: str) -> list[str]:
    """The JSON list of an instruction's last line."""
    (words,) = re.findall(rf"^{instruction}\b[^\[\n]*(\[.*\])$", FILE, re.MULTILINE)
    return list(json.loads(words))


async def test_its_command_starts_a_server_that_its_health_check_finds_well(tmp_path: Path) -> None:
    (environment,) = re.findall(r"^ENV (.+)$", FILE, re.MULTILINE)
    given = dict(word.split("=", 1) for word in environment.replace("/data", str(tmp_path)).split())
    given |= {"DMXAPI_API_KEY": "sk-0123456789", "HAILUO_HTTP_TOKEN": "0123456789abcdef"}
    words = ["0" if word == "8000" else word for word in listed("CMD")]
    server = await start("-m", "hailuo_mcp", *words, environment=given, stderr=subprocess.PIPE)
    try:
        assert server.stderr is not None
        line = (await asyncio.wait_for(server.stderr.readline(), START_SECONDS)).decode()
        (port,) = re.findall(r"serves at http://0\.0\.0\.0:(\d+)/mcp", line)
        check = [word.replace("8000", port) for word in listed("HEALTHCHECK .*?CMD")][1:]
        assert await (await start(*check, environment={})).wait() == 0
    finally:
        server.kill()
        await server.communicate()
    assert await (await start(*check, environment={}, stderr=subprocess.DEVNULL)).wait() == 1, "it can also say no"


async def start(*words: str, environment: dict[str, str], **more: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, *words, env=os.environ | environment, **more)


def test_it_runs_as_nobody_special_from_the_wheel_and_keeps_no_key() -> None:
    final = FILE.split("\nFROM ")[-1]
    (user,) = re.findall(r"^USER (\d+)$", final, re.MULTILINE)
    assert int(user) > 0
    assert re.search(r"pip install .*--no-index --find-links /wheels 'hailuo-mcp\[", final)
    assert "COPY" not in final, "nothing but the wheels gets in"
    named = set(re.findall(r"\b(HAILUO_[A-Z_]+|DMXAPI_[A-Z_]+)=", FILE))
    assert named <= {variable(name) for name in Settings.model_fields}
    assert "DMXAPI_API_KEY=" not in FILE


def test_everything_that_it_copies_is_there() -> None:
    sources = [word for line in re.findall(r"^COPY (.+)$", FILE, re.MULTILINE) for word in line.split()[:-1]]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
