import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from hailuo_mcp.answers import expiry, pixels
from hailuo_mcp.api import HailuoApi
from hailuo_mcp.errors import NotConfigured


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:7890", "http://127.0.0.1:7890"])
async def test_a_proxy_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    await HailuoApi("https://www.dmxapi.cn", lambda: "sk-x").close()


def test_a_proxy_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890")
    with pytest.raises(NotConfigured, match="ALL_PROXY"):
        HailuoApi("https://www.dmxapi.cn", lambda: "sk-x")


@dataclass
class Upstream:
    """An API that says of every task that it is being made, once `answers` is set; it counts its connections."""

    url: str
    answers: asyncio.Event
    changed: asyncio.Condition
    opened: int = 0
    closed: int = 0

    @property
    def open(self) -> int:
        return self.opened - self.closed


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    body = json.dumps({"status": "Processing", "base_resp": {"status_code": 0, "status_msg": ""}}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    found = Upstream("", asyncio.Event(), asyncio.Condition())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with found.changed:
            found.opened += 1
            found.changed.notify_all()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await found.answers.wait()
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        async with found.changed:
            found.closed += 1
            found.changed.notify_all()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield found
        async with asyncio.timeout(60), found.changed:
            await found.changed.wait_for(lambda: not found.open)


async def test_many_queries_at_once_leave_one_connection_which_the_next_ones_reuse() -> None:
    async with upstream() as at:
        api = HailuoApi(at.url, lambda: "sk-x")
        queries = [asyncio.create_task(api.query(f"t{number}")) for number in range(40)]
        async with asyncio.timeout(60), at.changed:
            await at.changed.wait_for(lambda: at.open == len(queries))  # none waits for another
            at.answers.set()
            await at.changed.wait_for(lambda: at.open == 1)
        assert {status.status for status in await asyncio.gather(*queries)} == {"Processing"}
        before = at.opened
        for number in range(20):
            await api.query(f"t{number}")
        assert at.opened <= before + 2  # one that was idle for 5 s, as on a busy machine, is not used again
        await api.close()


@pytest.mark.parametrize(
    ("query", "epoch"),
    [
        ("Expires=1763571243&Signature=x", 1763571243.0),
        ("X-Amz-Date=20251119T000000Z&X-Amz-Expires=3600", 1763514000.0),
        ("x-oss-date=20251119T000000Z&x-oss-expires=60", 1763510460.0),
        ("Expires=soon", None),
        ("Expires=²", None),
        ("", None),
    ],
)
def test_when_a_signed_link_ends_is_read_from_it(query: str, epoch: float | None) -> None:
    assert expiry(f"https://bucket.example.com/a.mp4?{query}") == epoch


@pytest.mark.parametrize(
    ("value", "size"), [(768, 768), ("768", 768), (0, None), (True, None), ("²", None), (None, None)]
)
def test_a_size_is_a_number_of_pixels_or_unknown(value: object, size: int | None) -> None:
    assert pixels(value) == size
