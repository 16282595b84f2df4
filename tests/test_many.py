"""Eight servers, as hosts start one for each window, on one journal: nobody sees an error, nothing is paid twice."""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from servers import Server, forked
from world import KEY

from hailuo_mcp.simulator import Simulator

SERVERS, REQUESTS, SHARED = 8, 50, 40

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")


async def ask_for_all(server: Server, number: int) -> list[tuple[str, str]]:
    """What a window asks for, and the task that each answer names; most of it all windows ask for."""
    await server.greet()
    tasks = []
    for each in range(REQUESTS):
        prompt = f"everybody's {each}" if each < SHARED else f"window {number}'s {each}"
        made = await server.call("generate_video", prompt=prompt)
        assert not made.get("isError"), made
        tasks.append((prompt, made["structuredContent"]["task_id"]))
    return tasks


async def test_eight_servers_with_fifty_requests_each_pay_once_for_each(tmp_path: Path, url: str) -> None:
    async with (
        Simulator(keys=(KEY,), generation_seconds=86_400, short_side=144) as simulator,
        AsyncExitStack() as stack,
    ):
        settings = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_DATABASE_URL": url,
            "HAILUO_COLLECT": False,
            "twin_seconds": 20.0,
        }
        servers = [await stack.enter_async_context(forked(tmp_path, **settings)) for _ in range(SERVERS)]
        told = await asyncio.gather(*(ask_for_all(server, number) for number, server in enumerate(servers)))
        bills = Counter(bill.prompt for bill in simulator.ledger)
        assert set(bills.values()) == {1}
        assert len(bills) == SHARED + SERVERS * (REQUESTS - SHARED)
        billed = {bill.prompt: bill.task_id for bill in simulator.ledger}
        assert {answer for answers in told for answer in answers} == set(billed.items())
