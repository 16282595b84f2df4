"""A lean stand-in for the API, the same for everybody: it answers at once, and keeps nothing but counts.

A task's id says how it stands: `s...` is finished, `w250-...` is processing and told after 250 ms, any other is
processing and told at once. Usage: upstream.py VIDEO, a whole MP4 that every download gets.
"""

import asyncio
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_BUFFER = 1 << 18
_numbers = itertools.count(1)
_counts: Counter[str] = Counter()


class Connection(asyncio.BufferedProtocol):
    """One connection; bodies are counted and dropped."""

    video: Path
    base_url = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = memoryview(bytearray(_BUFFER))
        self._head = bytearray()
        self._left = 0
        self._target = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if not self._left:
            self._head += self._buffer[:count]
            count = self._read_head()
        if self._left:
            self._left = max(0, self._left - count)
            if not self._left:
                self._answer()

    def _read_head(self) -> int:
        """Read the request's head, if it is whole; returns how many bytes of its body came with it."""
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head, body = self._head[:end].decode("latin-1"), len(self._head) - end - 4
        self._head.clear()
        self._target = head.split(" ", 2)[1]
        length = re.search(r"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        self._left = int(length[1]) if length else 0
        _counts["body"] = self._left or _counts["body"]
        if not self._left:
            self._answer()
        return body

    def _answer(self) -> None:
        parts = urlsplit(self._target)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        task_id = given.get("task_id", "")
        if parts.path == "/video.mp4":
            self._soon(self._deliver())
        elif parts.path == "/counts":
            self._send(dict(_counts))
        elif parts.path == "/v1/video_generation":
            _counts["submits"] += 1
            self._send({"task_id": f"p{next(_numbers)}"})
        elif parts.path == "/v1/files/retrieve":
            file = {"file_id": given["file_id"], "bytes": 0, "created_at": 1, "filename": "output.mp4"}
            self._send({"file": file | {"download_url": f"{self.base_url}/video.mp4?Expires=9999999999"}})
        else:
            _counts["queries"] += 1
            wait = re.match(r"w(\d+)-", task_id)
            self._soon(self._tell(task_id, int(wait[1]) / 1000 if wait else 0))

    async def _tell(self, task_id: str, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        if task_id.startswith("s"):
            facts = {"status": "Success", "file_id": "1" + task_id[1:], "video_width": 1364, "video_height": 768}
        else:
            facts = {"status": "Processing", "file_id": ""}
        self._send(facts | {"task_id": task_id})

    def _send(self, content: dict[str, object]) -> None:
        body = json.dumps(content | {"base_resp": {"status_code": 0, "status_msg": "success"}}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    async def _deliver(self) -> None:
        size = self.video.stat().st_size
        head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {size}\r\n\r\n"
        self._transport.write(head.encode())
        with self.video.open("rb") as file:
            await asyncio.get_running_loop().sendfile(self._transport, file)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def main(video: Path) -> None:
    """Serve until killed; the address is the first line of stdout."""
    Connection.video = video
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    Connection.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sys.stdout.write(json.dumps(Connection.base_url) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
