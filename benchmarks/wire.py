"""A lean MCP client over stdio, the same for every server: JSON lines, read as they come, with a deadline."""

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

PATIENCE_SECONDS = 90.0
_PIECE_BYTES = 1 << 20
_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}


class Deaf(TimeoutError):
    """The server took nothing, or said nothing, until the deadline."""


class Process:
    """A process that is spoken to in JSON lines."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            cwd=folder,
            bufsize=0,
        )
        assert self.process.stdin
        assert self.process.stdout
        self._into, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._into, False)
        self._buffer = bytearray()

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            assert end
            end.close()

    def write(self, message: object, patience: float = PATIENCE_SECONDS) -> int:
        """Send one line; returns its bytes."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        left, deadline = memoryview(line), time.perf_counter() + patience
        while left:
            _, ready, _ = select.select([], [self._into], [], max(0.0, deadline - time.perf_counter()))
            if not ready:
                raise Deaf(f"nothing was taken for {patience:g} s")
            left = left[os.write(self._into, left[: 1 << 12]) :]
        return len(line)

    def read(self, patience: float = PATIENCE_SECONDS) -> bytes:
        """The next line."""
        deadline = time.perf_counter() + patience
        while (end := self._buffer.find(b"\n")) < 0:
            ready, _, _ = select.select([self._out], [], [], max(0.0, deadline - time.perf_counter()))
            if not ready:
                raise Deaf(f"nothing was said for {patience:g} s")
            piece = os.read(self._out, _PIECE_BYTES)
            if not piece:
                raise EOFError(f"the process ended: {self.process.args!r}")
            self._buffer += piece
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


class Server(Process):
    """An MCP server: requests go out at once, answers are taken in any order."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        super().__init__(command, environment, folder)
        self._number = 0
        self._answers: dict[int, tuple[float, dict[str, Any], int]] = {}
        self.ask(self.send("initialize", _HELLO))
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, method: str, params: Mapping[str, Any] | None = None, patience: float = PATIENCE_SECONDS) -> int:
        """Send a request; returns its number, for `ask`."""
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params or {}}
        self.write(message, patience)
        return self._number

    def ask(self, number: int, patience: float = PATIENCE_SECONDS) -> tuple[float, dict[str, Any], int]:
        """When the answer came, its result and the bytes of its line; raises RuntimeError for an error."""
        deadline = time.perf_counter() + patience
        while number not in self._answers:
            line = self.read(max(0.0, deadline - time.perf_counter()))
            at = time.perf_counter()
            if not line.startswith(b"{"):
                continue  # some print to stdout
            message = json.loads(line)
            if "method" not in message and "id" in message:
                self._answers[message["id"]] = (at, message, len(line))
        at, message, size = self._answers.pop(number)
        if "result" not in message:
            raise RuntimeError(f"{message.get('error')}")
        return at, message["result"], size

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], int]:
        """Send, and wait: the result and the bytes of its line."""
        _, result, size = self.ask(self.send(method, params))
        return result, size

    def start_call(self, tool: str, arguments: Mapping[str, Any], patience: float = PATIENCE_SECONDS) -> int:
        """Begin a tool call; returns its number, for `ask`."""
        return self.send("tools/call", {"name": tool, "arguments": arguments}, patience)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """A tool's text; raises RuntimeError for a tool error."""
        return text(self.ask(self.start_call(tool, arguments))[1])


def text(result: Mapping[str, Any]) -> str:
    """A tool result's text; raises RuntimeError for a tool error, also for one that is not flagged as such."""
    words = "\n".join(block.get("text", "") for block in result["content"])
    if result.get("isError") or words.startswith(("Failed", "Unexpected")):
        raise RuntimeError(words)
    return words
