"""The real program, started as hosts start it: a bare environment, a foreign working folder, stdio and HTTP."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import get_default_environment
from world import text

from hailuo_mcp.demo import PICTURES
from hailuo_mcp.media.mp4 import inspect

ERAS = ("auto", "legacy")
MODULE = (sys.executable, "-m", "hailuo_mcp")
SCRIPT = (str(Path(sysconfig.get_path("scripts"), "hailuo-mcp")),)
FIRST, LAST = (PICTURES / f"dandelion_{name}.jpg" for name in ("first", "last"))
QUICK = ("--simulate", "--seconds", "0.5")
START_SECONDS = 30  # a busy machine's start; nothing is measured with it
TOOLS = {"generate_video", "check_status", "get_download_url", "download_video", "list_videos"}


def bare(home: Path, **settings: object) -> dict[str, str]:
    """What a host passes on: a path, the settings of the server's entry, and here a home that is the test's own."""
    homes = dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP"), str(home))
    folders = {"HAILUO_DATA_DIR": str(home / "data"), "HAILUO_OUTPUT_DIR": str(home / "videos")}
    return get_default_environment() | homes | folders | {name: str(value) for name, value in settings.items()}


def over_stdio(command: tuple[str, ...], home: Path, era: str = "auto", **settings: object) -> Client:
    program, *arguments = command
    environment = bare(home, **settings)
    return Client(
        StdioServerParameters(command=program, args=arguments, env=environment, cwd=Path(home.anchor)), mode=era
    )


async def start(*command: str, home: Path, **settings: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home.anchor,
        env=bare(home, **settings),
    )


async def run(*command: str, home: Path, **settings: object) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a command that ends by itself."""
    process = await start(*command, home=home, **settings)
    out, err = await asyncio.wait_for(process.communicate(), 2 * START_SECONDS)
    return process.returncode, out.decode(), err.decode()


@dataclass
class Hosted:
    """A server over HTTP."""

    process: asyncio.subprocess.Process
    url: str

    def client(self, era: str = "auto") -> Client:
        return Client(self.url, mode=era)


@asynccontextmanager
async def hosted(home: Path, *more: str, **settings: object) -> AsyncIterator[Hosted]:
    process = await start(
        *MODULE, "serve", "--transport", "streamable-http", "--port", "0", *more, home=home, **settings
    )
    try:
        assert process.stderr is not None
        line = "DEBUG"
        while line.startswith("DEBUG"):
            line = (await asyncio.wait_for(process.stderr.readline(), START_SECONDS)).decode()
        assert line.startswith("hailuo-mcp serves at http://127.0.0.1:"), line
        yield Hosted(process, line.split()[-1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def make_video(client: Client, **frames: str) -> tuple[Path, list[str | None]]:
    """The whole job; the saved file and the progress that was told on the way."""
    told: list[str | None] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async def do(tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments, progress_callback=tell)
        assert not result.is_error, text(result)
        assert result.structured_content is not None
        return dict(result.structured_content)

    task = (await do("generate_video", prompt="[Push in] A dandelion", **frames))["task_id"]
    assert (await do("check_status", task_id=task, wait_seconds=45))["status"] == "Success"
    assert (await do("get_download_url", task_id=task))["download_url"].startswith("http://127.0.0.1")
    return Path((await do("download_video", task_id=task, filename="dandelion.mp4"))["path"]), told


async def look_around(client: Client) -> None:
    """What every host does first, and the calls that must fail without a key."""
    assert {tool.name for tool in (await client.list_tools()).tools} >= TOOLS
    resources = {str(resource.uri) for resource in (await client.list_resources()).resources}
    assert {"hailuo://camera-commands", "hailuo://limits"} <= resources
    assert (await client.list_resource_templates()).resource_templates
    (limits,) = (await client.read_resource("hailuo://limits")).contents
    assert json.loads(limits.text)["model"] == "MiniMax-Hailuo-02"
    assert "first_last_frame_video" in {prompt.name for prompt in (await client.list_prompts()).prompts}
    prompt = await client.get_prompt("first_last_frame_video", {"first_frame": "/a.jpg"})
    assert "/a.jpg" in prompt.messages[0].content.text
    misspelt = await client.call_tool("generate_video", {"prompt": "x", "last_frame": "/b.jpg"})
    assert misspelt.is_error
    assert "did you mean last_frame_image?" in text(misspelt)
    unpaid = await client.call_tool("generate_video", {"prompt": "x"})
    assert unpaid.is_error
    assert "DMXAPI_API_KEY" in text(unpaid)


@pytest.mark.parametrize(("command", "era"), [(MODULE, "auto"), (SCRIPT, "legacy")], ids=["module", "script"])
async def test_a_host_starts_it_without_a_key_and_sees_everything(
    tmp_path: Path, command: tuple[str, ...], era: str
) -> None:
    async with over_stdio(command, tmp_path, era) as client:
        assert client.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[era]
        await look_around(client)


async def test_the_simulated_server_does_the_whole_job_apart_from_the_real_journal(tmp_path: Path) -> None:
    real = tmp_path / "real.db"
    settings = {
        "DMXAPI_API_KEY": "sk-real",
        "HAILUO_DATABASE_URL": f"sqlite:///{real.as_posix()}",
        "HAILUO_ALLOWED_DIRS": PICTURES,
    }
    async with over_stdio((*MODULE, "serve", *QUICK), tmp_path, "legacy", **settings) as client:
        path, told = await make_video(client, first_frame_image=str(FIRST), last_frame_image=str(LAST))
    assert path == tmp_path / "videos" / "dandelion.mp4"
    assert inspect(path).seconds == pytest.approx(6, abs=0.2)
    assert told, "waiting is told"
    assert not real.exists()


async def test_stdout_holds_nothing_but_protocol_and_the_end_of_stdin_ends_it(tmp_path: Path) -> None:
    process = await start(*MODULE, "serve", "--simulate", "--seconds", "600", home=tmp_path, HAILUO_LOG_LEVEL="DEBUG")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    answers: dict[object, dict[str, Any]] = {}

    def send(number: int | None, method: str, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": number} if number else {})
        process.stdin.write(json.dumps(message).encode() + b"\n")

    async def read() -> bool:
        """Read one line, which must be a message; False at the end."""
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        if line:
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            answers[message.get("id", message.get("method"))] = message
        return bool(line)

    async def answered(name: object) -> dict[str, Any]:
        while name not in answers:
            assert await read()
        return answers[name]

    person = {"name": "test", "version": "1"}
    send(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=person)
    send(None, "notifications/initialized")
    process.stdin.write(b"this is no message\n")
    send(2, "tools/call", name="generate_video", arguments={"prompt": "x", "duration": 7})
    send(3, "tools/call", name="generate_video", arguments={"prompt": "蒲公英 [推进]"})
    assert (await answered(2))["result"]["isError"]
    assert "duration: must be 6 or 10 (got 7)" in answers[2]["result"]["content"][0]["text"]
    task = (await answered(3))["result"]["structuredContent"]["task_id"]
    arguments = {"task_id": task, "wait_seconds": 50}
    send(4, "tools/call", name="check_status", arguments=arguments, _meta={"progressToken": 5})
    await answered("notifications/progress")
    process.stdin.close()
    async with asyncio.timeout(2):
        while await read():
            pass
        assert await process.wait() == 0
    assert b"Traceback" not in await errors
    assert "result" not in answers.get(4, {}), "the call was still waiting"


async def test_wrong_settings_are_one_line_on_stderr(tmp_path: Path) -> None:
    wrong = {"HAILUO_BASE_URL": "http://www.dmxapi.cn", "HAILUO_OUTPUT_DIR": "videos", "HAILUO_POLL_INTERVAL": "often"}
    code, out, err = await run(*MODULE, home=tmp_path, **wrong)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("hailuo-mcp: A setting is wrong. HAILUO_")
    assert all(f"{variable}: " in line for variable in wrong)


async def test_a_port_in_use_is_one_sentence_on_stderr(tmp_path: Path) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as other:
        port = str(other.sockets[0].getsockname()[1])
        code, out, err = await run(*MODULE, "serve", "--transport", "streamable-http", "--port", port, home=tmp_path)
        assert (code, out) == (2, "")
        (line,) = err.splitlines()
        assert line.startswith(f"hailuo-mcp: Cannot listen at 127.0.0.1, port {port}; ")


async def test_beyond_this_machine_http_wants_a_token_and_then_serves(tmp_path: Path) -> None:
    serve = (*MODULE, "serve", "--transport", "streamable-http", "--host", "0.0.0.0", "--port", "0")
    code, out, err = await run(*serve, home=tmp_path)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("hailuo-mcp: At 0.0.0.0 others than this machine could call and spend your money")
    async with hosted(tmp_path, HAILUO_HTTP_TOKEN="0123456789abcdef") as server, httpx.AsyncClient() as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await http.post(server.url, json=body)).status_code == 401
        known = {"Accept": "application/json, text/event-stream", "Authorization": "Bearer 0123456789abcdef"}
        assert (await http.post(server.url, json=body, headers=known)).status_code == 400  # no session, but heard


async def test_http_serves_both_eras_and_only_the_callers_own_pictures(tmp_path: Path) -> None:
    picture = f"data:image/jpeg;base64,{base64.b64encode(FIRST.read_bytes()).decode()}"
    async with hosted(tmp_path, *QUICK) as server:
        for era in ERAS:
            async with server.client(era) as client:
                assert {tool.name for tool in (await client.list_tools()).tools} >= TOOLS
                refused = await client.call_tool("generate_video", {"prompt": "x", "first_frame_image": str(FIRST)})
                assert refused.is_error
                assert "HAILUO_ALLOWED_DIRS" in text(refused)
        async with server.client() as client:
            path, told = await make_video(client, first_frame_image=picture)
            assert inspect(path).frames
            assert told


async def test_http_reads_local_pictures_from_folders_that_were_named(tmp_path: Path) -> None:
    async with hosted(tmp_path, *QUICK, HAILUO_ALLOWED_DIRS=PICTURES) as server, server.client("legacy") as client:
        taken = await client.call_tool("generate_video", {"prompt": "x", "first_frame_image": str(FIRST)})
        assert not taken.is_error, text(taken)


async def test_http_refuses_foreign_hosts_and_tells_its_health(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server, httpx.AsyncClient(trust_env=False) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"Accept": "application/json, text/event-stream"}
        foreign = await http.post(server.url, json=body, headers=accept | {"Host": "evil.example"})
        assert foreign.status_code == 421
        script = await http.post(server.url, json=body, headers=accept | {"Origin": "https://evil.example"})
        assert script.status_code == 403
        health = await http.get(httpx.URL(server.url).join("/healthz"))
        assert (health.status_code, health.text) == (200, "ok")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
async def test_sigterm_ends_http_although_a_call_is_waiting(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        waiting.set()

    async def wait_for_video(server: Hosted) -> None:
        async with server.client() as client:
            task = (await client.call_tool("generate_video", {"prompt": "x"})).structured_content["task_id"]
            arguments = {"task_id": task, "wait_seconds": 50}
            await client.call_tool("check_status", arguments, progress_callback=tell)

    async with hosted(tmp_path, "--simulate", "--seconds", "600") as server:
        call = asyncio.create_task(wait_for_video(server))
        await asyncio.wait_for(waiting.wait(), START_SECONDS)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(server.process.wait(), 3.5)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_the_demo_tells_the_story_and_leaves_a_whole_video(tmp_path: Path) -> None:
    code, out, err = await run(*SCRIPT, "demo", "--output", str(tmp_path / "demo"), home=tmp_path)
    assert code == 0, err
    for words in ("-> generate_video(", "prompt was sent as: [推进]", "... Processing", "is finished", "Saved: "):
        assert words in out
    path = Path(out.splitlines()[-1].removeprefix("The video is at "))
    assert path == tmp_path / "demo" / "dandelion.mp4"
    facts = inspect(path)
    assert (facts.height, facts.fast_start) == (768, True)
    assert [video.name for video in path.parent.glob("*.mp4")] == [path.name]


async def test_help_names_every_command(tmp_path: Path) -> None:
    code, out, _ = await run(*SCRIPT, "--help", home=tmp_path)
    assert code == 0
    assert all(command in out for command in ("serve", "demo", "simulate"))
