"""An hour of mixed calls over HTTP, in half a minute: what the server holds at its end it held after a third of it."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from soaked import SESSION_SECONDS, SPEED, fast
from test_process import FIRST, LAST, bare
from world import KEY, text

from hailuo_mcp.simulator import Fault, Simulator

CALLERS = {"anna": "anna-0123456789abcdef", "ben": "ben-0123456789abcdef"}
HOUR_SECONDS = 3600.0
FEW = 3  # of anything may be there by chance
CALLS_MIN = 300  # in a third of the hour; a slow machine takes longer for them
ACCEPT = {"Accept": "application/json, text/event-stream"}
BEGIN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}},
}


@dataclass
class Visits:
    """Callers who come, do one thing or another, and go, politely or not."""

    url: str
    simulator: Simulator
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    calls: int = 0
    paid: int = 0

    async def call(self, client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
        self.calls += 1
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, text(result)
        self.paid += {"generate_video": 1, "create_film": 2}.get(tool, 0)
        return dict(result.structured_content or {})

    @asynccontextmanager
    async def client(self, caller: str, era: str) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {CALLERS[caller]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=era) as client,
        ):
            yield client

    async def make(self, client: Client, number: int) -> None:
        """The usual story of a video, with what may go wrong upstream."""
        if number % 4 == 2:
            self.simulator.faults.query.append(Fault(status=503))
            self.simulator.faults.download.append(Fault(cut_at=2000))
        frame = {"first_frame_image": str(FIRST)} if number % 3 == 0 else {}
        task = (await self.call(client, "generate_video", prompt=f"video {number}", **frame))["task_id"]
        while (await self.call(client, "check_status", task_id=task, wait_seconds=45))["status"] != "Success":
            pass
        await self.call(client, "get_download_url", task_id=task)
        await self.call(client, "download_video", task_id=task)

    async def look(self, client: Client, number: int) -> None:
        await self.call(client, "list_videos", limit=5)
        await self.call(client, "check_status")
        self.calls += 3
        await client.list_tools()
        await client.read_resource("hailuo://videos")
        refused = await client.call_tool("generate_video", {"prompt": "x", "last_frame": "/etc/passwd"})
        assert refused.is_error
        if number % 5 == 0:
            await self.call(client, "check_frames", first_frame_image=str(FIRST))
        if number % 20 == 0:
            await self.call(client, "preview_video", prompt="[Push in] x")

    async def film(self, client: Client, number: int) -> None:
        shots = [{"prompt": f"film {number}"}, {"prompt": "its end"}]
        film = await self.call(
            client, "create_film", keyframes=[str(FIRST), str(LAST), str(FIRST)], shots=shots, confirm=True
        )
        while (await self.call(client, "check_status", task_id=film["film_id"], wait_seconds=45))[
            "status"
        ] != "Success":
            pass

    async def give_up(self, client: Client, number: int) -> None:
        """A call that its caller cancels."""
        task = (await self.call(client, "generate_video", prompt=f"given up {number}"))["task_id"]
        for waiting in (self.call(client, "check_status", task_id=task, wait_seconds=45), client.list_tools()):
            call = asyncio.ensure_future(waiting)
            await asyncio.sleep(0.02)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    async def be_rude(self, number: int) -> None:
        """Wrong tokens, sessions and streams that nobody ends, connections that drop anywhere."""
        host, port = httpx.URL(self.url).host, httpx.URL(self.url).port
        right = {"Authorization": f"Bearer {CALLERS['anna']}"}
        self.calls += 6
        async with httpx.AsyncClient(trust_env=False, headers=ACCEPT) as http:
            wrong = {"Authorization": f"Bearer {number:020}"}
            assert (await http.post(self.url, json=BEGIN, headers=wrong)).status_code == 401
            left = await http.post(self.url, json=BEGIN, headers=right)
            session = {"Mcp-Session-Id": left.headers["mcp-session-id"]}
            async with http.stream("GET", self.url, headers=right | session) as stream:
                assert stream.status_code == 200
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
        head = f"POST /mcp HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: "
        token = f"\r\nAuthorization: {right['Authorization']}\r\n\r\n"
        for sent in (head[:20], head + "999" + token + "{", head + str(len(body)) + token + body.decode()):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(sent.encode())
            await writer.drain()
            writer.close()

    async def visit(self) -> None:
        """One caller's visit."""
        number = next(self.numbers)
        await self.be_rude(number)
        caller, era = [*CALLERS][number % 2], ("auto", "legacy")[number // 2 % 2]
        async with self.client(caller, era) as client:
            await self.look(client, number)
            await asyncio.gather(*(self.call(client, "list_videos", limit=1) for _ in range(40)))
            if number % 2 == 0:
                await self.make(client, number)
            if number % 8 == 0:
                await self.film(client, number)
            await self.give_up(client, number)

    async def go_on(self, seconds: float) -> None:
        """Three callers at a time, one after the other."""

        async def come_and_go() -> None:
            while time.time() < end or self.calls < calls:
                await self.visit()

        end, calls = time.time() + seconds, self.calls + CALLS_MIN
        await asyncio.gather(*(come_and_go() for _ in range(3)))

    async def counted(self) -> dict[str, int]:
        """What the server holds once all have gone and the sessions that were left are over."""
        for caller in CALLERS:  # as many connections to the journal as there may be
            async with self.client(caller, "auto") as client:
                await asyncio.gather(*(self.call(client, "list_videos") for _ in range(15)))
        await asyncio.sleep(2 * SESSION_SECONDS + 120 / SPEED)
        async with httpx.AsyncClient(trust_env=False) as http:
            return dict((await http.get(httpx.URL(self.url).join("/counted"), timeout=60)).json())


@asynccontextmanager
async def soaked(folder: Path) -> AsyncIterator[Visits]:
    began = time.time()
    async with Simulator(
        keys=(KEY,), generation_seconds=40, short_side=144, clock=fast(began), link_seconds=600, folder=folder / "sim"
    ) as simulator:
        settings = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_ALLOWED_DIRS": FIRST.parent,
            "HAILUO_HTTP_TOKEN": ",".join(f"{name}:{token}" for name, token in CALLERS.items()),
            "HAILUO_COLLECT": 1,
            "HAILUO_FILM_SHOTS_PER_MINUTE": 60,
        }
        command = [sys.executable, str(Path(__file__).with_name("soaked.py")), str(began)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, env=bare(folder, **settings), cwd=folder
        )
        assert process.stdout is not None
        try:
            url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().split()[-1]
            yield Visits(url, simulator)
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.communicate(), 60)


async def test_an_hour_of_calls_leaves_nothing_behind(tmp_path: Path) -> None:
    async with asyncio.timeout(240), soaked(tmp_path) as visits:
        await visits.counted()  # counting itself leaves something behind, the first time
        counts: list[tuple[int, dict[str, int]]] = []
        for _ in range(3):
            await visits.go_on(HOUR_SECONDS / 3 / SPEED)
            counts.append((visits.calls, await visits.counted()))
        # Something may be loaded late, once; what is left behind by calls grows each time.
        grown = [
            {name: (count - before.get(name, 0), calls - calls_before) for name, count in after.items()}
            for (calls_before, before), (calls, after) in itertools.pairwise(counts)
        ]
        assert [count["sessions"] for _, count in counts] == [0, 0, 0], "who left without a word is forgotten, too"
        assert all(calls >= CALLS_MIN for each in grown for _, calls in each.values())
        assert [name for name in grown[1] if all(is_leak(name, *each.get(name, (0, 1))) for each in grown)] == []
        tasks = [bill.task_id for bill in visits.simulator.ledger]
        assert len(tasks) == len(set(tasks)) == visits.paid


def is_leak(name: str, more: int, calls: int) -> bool:
    """Whether it grew by more than half of what one object, or one kilobyte, left behind by each call would make."""
    return more > (calls // 2 if name in ("objects", "kilobytes") else FEW)
