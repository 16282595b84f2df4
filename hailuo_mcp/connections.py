"""The HTTP connections to the API and to its downloads."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx

from hailuo_mcp.errors import NotConfigured

CONNECT_SECONDS = 10.0
_CLIENTS_MAX = 8
# What httpx reads of an answer at a time, 64 KB by default: a large video comes down a third faster like this.
httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = 1 << 18


class Connections:
    """Requests over one client, or over several while many are under way.

    For each request a client goes through all connections that it has, and all requests that wait. So another one
    helps out meanwhile, and each keeps a single connection.
    """

    def __init__(self, read_seconds: float) -> None:
        self._read_seconds = read_seconds
        self._context = httpx.create_ssl_context()  # some 50 ms, so they share it
        self._clients = [self._client()]
        self._under_way = [0]
        self._closed = False

    async def close(self) -> None:
        """Close every connection; what is still asked for then fails."""
        self._closed = True
        await _close(self._clients)

    @asynccontextmanager
    async def stream(self, method: str, url: httpx.URL | str, **request: Any) -> AsyncIterator[httpx.Response]:
        """A request and the head of its answer; raises httpx.HTTPError and httpx.InvalidURL."""
        if min(self._under_way) and len(self._clients) < _CLIENTS_MAX and not self._closed:
            self._clients.append(self._client())
            self._under_way.append(0)
        at = self._under_way.index(min(self._under_way))
        self._under_way[at] += 1
        try:
            async with self._clients[at].stream(method, url, **request) as response:
                yield response
        finally:
            self._under_way[at] -= 1
            if not any(self._under_way):
                helpers, self._clients, self._under_way = self._clients[1:], self._clients[:1], [0]
                await _close(helpers)

    def _client(self) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                verify=self._context,
                timeout=httpx.Timeout(self._read_seconds, connect=CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=200 // _CLIENTS_MAX, max_keepalive_connections=1),
                # A proxy from the environment is for the outside world, not for this machine.
                mounts={"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
                headers={"User-Agent": "hailuo-mcp"},
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise NotConfigured(
                f"The proxy in the environment (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) cannot be used: {error}. Give "
                "one like http://host:port or socks5://host:port, or remove the variable."
            ) from error


async def _close(clients: Sequence[httpx.AsyncClient]) -> None:
    await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)
