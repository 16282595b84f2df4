"""The key and what opens a signed link: searched for in everything that a full run leaves, at the wordiest logging."""

import asyncio
import logging
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from test_process import FIRST, LAST, MODULE, bare, hosted, run

from hailuo_mcp.redaction import Redacting, redacted
from hailuo_mcp.simulator import Fault, Simulator

KEY = "sk-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
TOKEN = "token-9f8e7d6c5b4a3928"
WORDY = {"DMXAPI_API_KEY": KEY, "HAILUO_LOG_LEVEL": "DEBUG", "HAILUO_POLL_INTERVAL": "0.1"}


class Seen:
    """Everything that was produced, by where it was."""

    def __init__(self) -> None:
        self.by_place: dict[str, bytes] = {}

    def add(self, place: str, content: bytes | str) -> None:
        found = content.encode() if isinstance(content, str) else content
        self.by_place[place] = self.by_place.get(place, b"") + found

    def add_files(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.add(str(path), path.read_bytes())

    def add_processes(self) -> None:
        """What everybody on the machine may see of its processes."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.add("processes", path.read_bytes())
            except OSError:
                continue  # it has ended meanwhile

    def places_of(self, secret: str) -> list[str]:
        shapes = {secret.encode(), quote(secret, safe="").encode()}
        return [place for place, content in self.by_place.items() if any(shape in content for shape in shapes)]


def signature(link: str) -> str:
    return parse_qs(urlsplit(link).query)["Signature"][0]


async def full_run(client: Client, simulator: Simulator, seen: Seen) -> str:
    """The whole job with the usual accidents; the signature of the link that was asked for."""

    async def do(tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        if tool != "get_download_url":  # which hands the link to who asked for it
            seen.add(f"answer of {tool}", result.model_dump_json())
        return dict(result.structured_content or {})

    for number, fault in enumerate(
        [
            Fault(status=401, body=f"bad key {KEY}"),
            Fault(code=2049, message=f"invalid api key {KEY}"),
            Fault(gateway=True, status=403, message=f"key {KEY} https://s.example/a?Expires=1&Signature=abcdefgh"),
            Fault(code=1000, message=f"Authorization: Bearer {KEY}"),
            Fault(body=f'{{"task_id": "{KEY}", "base_resp": {{"status_code": 0}}}}', content_type="application/json"),
            Fault(body=f'{{"task_id": "\\u0073{KEY[1:]}"}}', content_type="application/json"),
            Fault(status=503, headers={"Trace-Id": KEY}),
        ]
    ):
        simulator.faults.submit.append(fault)
        await do("generate_video", prompt=f"a sea {number}")
    task = (await do("generate_video", prompt="a sea", first_frame_image=str(FIRST), last_frame_image=str(LAST)))[
        "task_id"
    ]
    simulator.faults.query.append(Fault(status=500, body=KEY))
    while (await do("check_status", task_id=task, wait_seconds=20))["status"] != "Success":
        pass
    link = (await do("get_download_url", task_id=task))["download_url"]
    simulator.faults.download += [Fault(status=403), Fault(cut_at=1000), Fault(redirect=link), Fault(status=503)]
    assert (await do("download_video", task_id=task))["path"]
    for tool, arguments in [("view_video", {"task_id": task}), ("list_videos", {}), ("check_status", {})]:
        await do(tool, **arguments)
    for uri in ("hailuo://videos", f"hailuo://videos/{task}"):
        seen.add("resources", (await client.read_resource(uri)).model_dump_json())
    seen.add_processes()
    return signature(link)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_full_run_leaves_neither_the_key_nor_an_open_link_anywhere(tmp_path: Path, era: str) -> None:
    home, errors = tmp_path / "home", tmp_path / "errors"
    seen = Seen()
    async with Simulator(keys=(KEY,), generation_seconds=0.3, short_side=144) as simulator:
        settings = WORDY | {"HAILUO_BASE_URL": simulator.base_url, "HAILUO_ALLOWED_DIRS": FIRST.parent}
        server = StdioServerParameters(
            command=sys.executable, args=list(MODULE[1:]), env=bare(home, **settings), cwd=Path(home.anchor)
        )
        with errors.open("w") as log:
            async with Client(stdio_client(server, errlog=log), mode=era) as client:
                opening = await full_run(client, simulator, seen)
        for command in (
            ("doctor",),
            ("doctor", "--json"),
            ("list", "--json"),
            ("install", "print"),
            ("install", "claude-desktop", "--dry-run"),
            ("install", "claude-desktop"),
            ("bundle", "--output", str(home / "hailuo.mcpb")),
            ("generate", "--prompt", "a lake", "--json"),
        ):
            _, out, err = await run(*MODULE, *command, home=home, **settings)
            seen.add(" ".join(command), out + err)
        signatures = {opening, *re.findall(r"Signature=([^&\s\"]+)", str([r.query for r in simulator.requests]))}
    seen.add("log", errors.read_bytes())
    seen.add_files(home)
    assert b"DEBUG" in seen.by_place["log"], "the log is as wordy as can be"
    assert b"/files/" in seen.by_place["log"], "libraries do log the links"
    assert any(place.endswith("journal.db") for place in seen.by_place)
    assert any(place.endswith(".mcpb") for place in seen.by_place)
    for secret in (KEY, *signatures):
        assert seen.places_of(secret) == []


async def test_serving_over_http_logs_no_token(tmp_path: Path) -> None:
    settings = WORDY | {"HAILUO_HTTP_TOKEN": TOKEN}
    async with hosted(tmp_path, "--simulate", **settings) as server:
        async with httpx.AsyncClient(trust_env=False) as http:
            for token in (TOKEN, f"{TOKEN}x"):
                body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                await http.post(server.url, json=body, headers={"Authorization": f"Bearer {token}"})
        server.process.terminate()
        _, log = await asyncio.wait_for(server.process.communicate(), 10)
    assert b"DEBUG" in log
    assert TOKEN.encode() not in log


def test_a_crash_is_logged_without_secrets() -> None:
    form = Redacting("%(message)s", [KEY])
    try:
        raise ValueError(f"{KEY} https://s.example/a.mp4?Expires=9&Signature=abc%2Bdef&x=1 Bearer abcdefghij")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "it broke: %s", (KEY,), sys.exc_info())
    line = form.format(record)
    assert "Traceback" in line
    assert "Expires=9" in line
    for secret in (KEY, "abc%2Bdef", "abcdefghij"):
        assert secret not in line


@pytest.mark.parametrize(
    "link",
    [
        "https://a.example/v.mp4?Expires=1&OSSAccessKeyId=SECRET1&Signature=SECRET2",
        "https://a.example/v.mp4?X-Amz-Credential=SECRET1%2F20250101&X-Amz-Signature=SECRET2",
        "https://a.example/v.mp4?x-oss-signature=SECRET1&x-oss-security-token=SECRET2",
        "https://a.example/v.mp4?sv=1&sig=SECRET1&token=SECRET2",
        "https://b.example/?next=https%3A%2F%2Fa.example%2Fv%3FSignature%3DSECRET1",
        "GET /v.mp4?signature=SECRET1 HTTP/1.1",
    ],
)
def test_the_part_that_opens_a_link_is_known_in_every_dress(link: str) -> None:
    assert "SECRET" not in redacted(f'log line "{link}" 200')
    assert redacted("https://a.example/v.mp4?width=3&height=4") == "https://a.example/v.mp4?width=3&height=4"
