"""Server processes over stdio, spoken to line by line: forked, which is cheap, or started as hosts start them."""

import asyncio
import json
import multiprocessing
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doomed import PRELOADED, Step, serve
from test_process import MODULE, bare, start

PATIENCE_SECONDS = 60


@dataclass
class Server:
    """A server process and its two ends of the wire."""

    pid: int
    reader: asyncio.StreamReader
    writer: Any
    number: int = 0

    def send(self, method: str, **params: Any) -> int:
        self.number += 1
        message = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
        with suppress(OSError):
            self.writer.write(json.dumps(message).encode() + b"\n")
        return self.number

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result; raises EOFError when the server dies before it."""
        return (await self.results({self.send(method, **params)}))[0]

    async def results(self, numbers: set[int]) -> list[dict[str, Any]]:
        """The results of those calls, as they come; raises EOFError when the server dies before."""
        found: list[dict[str, Any]] = []
        while len(found) < len(numbers):
            if not (line := await asyncio.wait_for(self.reader.readline(), PATIENCE_SECONDS)):
                raise EOFError
            message = json.loads(line)
            if message.get("id") in numbers:
                found.append(dict(message["result"]))
        return found

    async def leave(self) -> None:
        """Say goodbye as hosts do, and wait until the server has ended."""
        self.writer.close()
        while await asyncio.wait_for(self.reader.readline(), PATIENCE_SECONDS):
            pass

    async def greet(self, **capabilities: Any) -> None:
        """What every host says first."""
        person = {"name": "test", "version": "1"}
        await self.ask("initialize", protocolVersion="2025-11-25", capabilities=capabilities, clientInfo=person)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await self.ask("tools/call", name=tool, arguments=arguments)


@asynccontextmanager
async def forked(
    home: Path,
    fatal: Step | None = None,
    steps: Path | None = None,
    twin_seconds: float = 0.2,
    lock_seconds: float = 10.0,
    **settings: object,
) -> AsyncIterator[Server]:
    """A server in a fork of a process that has imported everything, so that hundreds of them are cheap."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    (theirs_in, ours_out), (ours_in, theirs_out) = (context.Pipe(duplex=False) for _ in range(2))
    arguments = (theirs_in, theirs_out, bare(home, **settings), fatal, steps and str(steps), twin_seconds, lock_seconds)
    process = context.Process(target=serve, args=arguments)
    await asyncio.to_thread(process.start)
    theirs_in.close()
    theirs_out.close()
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(ours_in.fileno()), "rb")
    )
    ours_in.close()
    with os.fdopen(os.dup(ours_out.fileno()), "wb", buffering=0) as writer:
        ours_out.close()
        try:
            yield Server(int(process.pid or 0), reader, writer)
        finally:
            writer.close()
            await asyncio.to_thread(process.join, PATIENCE_SECONDS)
            process.kill()
            await asyncio.to_thread(process.join)
            process.close()
            transport.close()


@asynccontextmanager
async def started(home: Path, **settings: object) -> AsyncIterator[Server]:
    """The program as hosts start it."""
    process = await start(*MODULE, home=home, **settings)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(process.pid, process.stdout, process.stdin)
    finally:
        process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
