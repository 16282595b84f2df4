"""A server that is stopped, or left, while a video is being paid for: the task is in the journal all the same."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from test_process import MODULE, START_SECONDS, Hosted, hosted, over_stdio
from test_process import start as start_process
from world import KEY, SETTLE_SECONDS

from hailuo_mcp.journal import Journal
from hailuo_mcp.simulator import Fault, Simulator

ANSWER_SECONDS = 0.6  # of the API: long enough to stop a server meanwhile, short enough for its last second
HELLO = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
)
PAY = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"generate_video","arguments":{"prompt":"x"}}}\n'

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")


@asynccontextmanager
async def slow_api() -> AsyncIterator[tuple[Simulator, dict[str, object]]]:
    async with Simulator(keys=(KEY,), generation_seconds=600) as simulator:
        simulator.faults.submit.append(Fault(delay=ANSWER_SECONDS))
        yield simulator, {"DMXAPI_API_KEY": KEY, "HAILUO_BASE_URL": simulator.base_url}


async def heard(simulator: Simulator) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not simulator.requests:  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(SETTLE_SECONDS)


async def is_written_down(simulator: Simulator, home: Path) -> bool:
    """Whether the journal knows the one task that was billed."""
    (bill,) = simulator.ledger
    async with Journal(f"sqlite:///{(home / 'data' / 'journal.db').as_posix()}", host=simulator.base_url) as journal:
        (video,), _ = await journal.recent()
        return (video.state, video.task_id) == ("Processing", bill.task_id)


@pytest.mark.parametrize("how", ["end of stdin", pytest.param("SIGTERM", marks=posix)])
async def test_a_server_on_stdio_that_is_stopped_while_it_pays(tmp_path: Path, how: str) -> None:
    async with slow_api() as (simulator, settings):
        process = await start_process(*MODULE, home=tmp_path, **settings)
        assert process.stdin is not None
        process.stdin.write(HELLO + PAY)
        await heard(simulator)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        await asyncio.wait_for(process.wait(), 2 + ANSWER_SECONDS)
        assert process.returncode == (-signal.SIGTERM if how == "SIGTERM" else 0)
        process.stdin.close()
        await process.communicate()
        assert await is_written_down(simulator, tmp_path)


@posix
async def test_sigterm_ends_an_idle_server_on_stdio_at_once(tmp_path: Path) -> None:
    process = await start_process(*MODULE, home=tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(HELLO)
    await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 2) == -signal.SIGTERM
    process.stdin.close()
    await process.communicate()


async def pay(client: Client) -> None:
    async with client:
        await client.call_tool("generate_video", {"prompt": "x"})


@posix
async def test_a_server_over_http_that_is_stopped_while_it_pays(tmp_path: Path) -> None:
    async with slow_api() as (simulator, settings), hosted(tmp_path, **settings) as server:
        call = asyncio.create_task(pay(server.client()))
        await heard(simulator)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(server.process.wait(), 10)
        await asyncio.gather(call, return_exceptions=True)
        assert await is_written_down(simulator, tmp_path)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_over_http_that_leaves_while_the_server_pays(tmp_path: Path, era: str) -> None:
    async with slow_api() as (simulator, settings), hosted(tmp_path, **settings) as server:
        await leave(server, era, simulator)
        async with server.client() as client:
            again = await client.call_tool("generate_video", {"prompt": "x"})
            assert again.structured_content is not None
            assert again.structured_content["already_submitted"]
        assert await is_written_down(simulator, tmp_path)


async def leave(server: Hosted, era: str, simulator: Simulator) -> None:
    call = asyncio.create_task(pay(server.client(era)))
    await heard(simulator)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_host_that_closes_its_window_while_the_server_pays(tmp_path: Path) -> None:
    async with slow_api() as (simulator, settings):
        call = asyncio.create_task(pay(over_stdio(MODULE, tmp_path, **settings)))
        await heard(simulator)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await is_written_down(simulator, tmp_path)
