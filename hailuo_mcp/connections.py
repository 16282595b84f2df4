"""The HTTP connections to the API and to its downloads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx

from hailuo_mcp.errors import NotConfigured

CONNECT_SECONDS = 10.0
CONNECTIONS_KEPT = 8  # at most, one for each client
# What httpx reads of an answer at a time, 64 KB by default: a large video comes down a third faster like this.
httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = 1 << 18


class Connections:
    """Requests over one client, or over several while many are under way.

    For each request a client goes through all connections that it has, and all requests that wait. So another one
    helps out, and each keeps a single connection.
    """

    def __init__(self, read_seconds: float) -> None:
        self._read_seconds = read_seconds
        self._context = httpx.create_ssl_context()  # some 50 ms, so they share it
        self._clients = [self._client()]
        self._under_way = [0]

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.aclose()

    @asynccontextmanager
    async def stream(self, method: str, url: httpx.URL | str, **request: Any) -> AsyncIterator[httpx.Response]:
        """A request and the head of its answer; raises httpx.HTTPError and httpx.InvalidURL."""
        if min(self._under_way) and len(self._clients) < CONNECTIONS_KEPT:
            self._clients.append(self._client())
            self._under_way.append(0)
        at = self._under_way.index(min(self._under_way))
        self._under_way[at] += 1
        try:
            async with self._clients[at].stream(method, url, **request) as response:
                yield response
        finally:
            self._under_way[at] -= 1

    def _client(self) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                verify=self._context,
                timeout=httpx.Timeout(self._read_seconds, connect=CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=200 // CONNECTIONS_KEPT, max_keepalive_connections=1),
                # A proxy from the environment is for the outside world, not for this machine.
                mounts={"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
                headers={"User-Agent": "hailuo-mcp"},
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise NotConfigured(
                f"The proxy in the environment (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) cannot be used: {error}. Give "
                "one like http://host:port or socks5://host:port, or remove the variable."
            ) from error
