"""What a user would write without any server, and the floor under it: the least work that does the same.

Usage: plain_scripts.py httpx|requests|floor. Each line of stdin is a JSON list, a method and its arguments; each line
of stdout is how many seconds that took, or a list of them.
"""

import asyncio
import base64
import binascii
import http.client
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

QUERY, SUBMIT = "/v1/query/video_generation", "/v1/video_generation"
HEADERS = {"Authorization": "Bearer sk-plain"}
_PIECE_BYTES = 3 << 17
_BLOCK_BYTES = 1 << 18


def _order(prompt: str) -> dict[str, Any]:
    return {"model": "MiniMax-Hailuo-02", "prompt": prompt, "duration": 6, "resolution": "768P"}


def _data_url(picture: str) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(Path(picture).read_bytes()).decode()


class Httpx:
    """One client for everything, as the library's documentation advises."""

    def __init__(self, base_url: str) -> None:
        import httpx

        self._base_url = base_url
        self._client = httpx.AsyncClient(headers=HEADERS, timeout=60)
        self._runner = asyncio.Runner()

    async def _status(self, task_id: str) -> float:
        begin = time.perf_counter()
        response = await self._client.get(self._base_url + QUERY, params={"task_id": task_id})
        assert response.json()["status"]
        return time.perf_counter() - begin

    def status(self, task_id: str) -> float:
        """A status query, on a connection that is open already."""
        return self._runner.run(self._status(task_id))

    def statuses(self, task_ids: list[str]) -> list[float]:
        """All of them at once."""

        async def gather() -> list[float]:
            return await asyncio.gather(*map(self._status, task_ids))

        return self._runner.run(gather())

    def submit(self, prompt: str, picture: str) -> float:
        """A submit with a picture, as `json=`."""

        async def post() -> float:
            begin = time.perf_counter()
            order = _order(prompt) | {"first_frame_image": _data_url(picture)}
            response = await self._client.post(self._base_url + SUBMIT, json=order)
            assert response.json()["task_id"]
            return time.perf_counter() - begin

        return self._runner.run(post())

    def download(self, url: str, target: str) -> float:
        """A download, streamed."""

        async def get() -> None:
            async with self._client.stream("GET", url) as response:
                async for piece in response.aiter_bytes():
                    file.write(piece)

        begin = time.perf_counter()
        with Path(target).open("wb") as file:
            self._runner.run(get())
        return time.perf_counter() - begin


class Requests:
    """As most scripts look: a session, `json=`, `.content`."""

    def __init__(self, base_url: str) -> None:
        import requests

        self._base_url = base_url
        self._session = requests.Session()
        self._session.headers.update(HEADERS)
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def status(self, task_id: str) -> float:
        begin = time.perf_counter()
        assert self._session.get(self._base_url + QUERY, params={"task_id": task_id}).json()["status"]
        return time.perf_counter() - begin

    def statuses(self, task_ids: list[str]) -> list[float]:
        with ThreadPoolExecutor(len(task_ids)) as pool:
            return list(pool.map(self.status, task_ids))

    def submit(self, prompt: str, picture: str) -> float:
        begin = time.perf_counter()
        order = _order(prompt) | {"first_frame_image": _data_url(picture)}
        assert self._session.post(self._base_url + SUBMIT, json=order).json()["task_id"]
        return time.perf_counter() - begin

    def download(self, url: str, target: str) -> float:
        begin = time.perf_counter()
        Path(target).write_bytes(self._session.get(url).content)
        return time.perf_counter() - begin


class Floor:
    """Nothing but the standard library's HTTP, in pieces: no client could do the same with much less."""

    def __init__(self, base_url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base_url).netloc)

    def submit(self, prompt: str, picture: str) -> float:
        """Read, encode and send a picture piece by piece."""
        begin = time.perf_counter()
        head = json.dumps(_order(prompt)).encode()[:-1] + b', "first_frame_image": "data:image/jpeg;base64,'
        path = Path(picture)
        length = len(head) + (path.stat().st_size + 2) // 3 * 4 + 2
        self._connection.putrequest("POST", SUBMIT)
        self._connection.putheader("Content-Length", str(length))
        self._connection.endheaders(head)
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                self._connection.send(binascii.b2a_base64(piece, newline=False))
        self._connection.send(b'"}')
        assert json.load(self._connection.getresponse())["task_id"]
        return time.perf_counter() - begin

    def download(self, url: str, target: str) -> float:
        begin = time.perf_counter()
        self._connection.request("GET", url)
        response = self._connection.getresponse()
        with Path(target).open("wb", buffering=0) as file:
            buffer = memoryview(bytearray(_BLOCK_BYTES))
            while count := response.readinto(buffer):
                file.write(buffer[:count])
        return time.perf_counter() - begin


def main(kind: str, base_url: str) -> None:
    """Do what stdin says, line by line."""
    script = {"httpx": Httpx, "requests": Requests, "floor": Floor}[kind](base_url)
    sys.stdout.write("0\n")
    sys.stdout.flush()
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        act: Callable[..., float | list[float]] = getattr(script, method)
        sys.stdout.write(json.dumps(act(*arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
