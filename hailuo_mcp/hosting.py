"""Serving over HTTP: each caller has a server of their own, behind one gate."""

import asyncio
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from hailuo_mcp import handles
from hailuo_mcp.errors import NotConfigured
from hailuo_mcp.gate import BODY_BYTES_MAX, Gate
from hailuo_mcp.server import build_server
from hailuo_mcp.settings import Settings, is_loopback
from hailuo_mcp.waiting import Sleep

if TYPE_CHECKING:
    from starlette.applications import Starlette

GRACE_SECONDS = 2  # for calls in flight when the server stops
CONNECTIONS_WAITING_MAX = 128  # until they are taken
SAY_AGAIN_SECONDS = 60.0
SESSION_IDLE_SECONDS = 1800.0  # without a request: many older clients leave without a word
SESSIONS_MAX = 1000  # of one caller, in the older protocol
_log = logging.getLogger(__name__)
_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104


def build_servers(
    settings: Settings,
    host: str,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Sleep = asyncio.sleep,
) -> "dict[str, MCPServer[Any]]":
    """A server for each caller; raises NotConfigured where strangers could reach it."""
    callers = settings.http_callers()
    if not callers and not is_loopback(host):
        raise NotConfigured(
            f"At {host or 'all addresses'} others than this machine could call and spend your money, so a token is "
            "needed: set HAILUO_HTTP_TOKEN to a long random secret that callers send as bearer token, or leave --host "
            "at 127.0.0.1."
        )
    return {
        name: build_server(settings, "streamable-http", caller=name, clock=clock, sleep=sleep)
        for name in callers or ("",)
    }


def build_app(
    servers: "Mapping[str, MCPServer[Any]]",
    host: str,
    *,
    tokens: Mapping[str, str] | None = None,
    names: Collection[str] = (),
    rate: int | None = None,
) -> "Starlette":
    """The servers at `/mcp`, and `/healthz`, which tells nothing but that it runs."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def healthz(_: object) -> PlainTextResponse:
        return PlainTextResponse("ok")

    apps = {
        name: server.streamable_http_app(
            transport_security=_reached_at(host, names),
            max_request_body_size=BODY_BYTES_MAX,
            max_sessions=SESSIONS_MAX,
            session_idle_timeout=SESSION_IDLE_SECONDS,
        )
        for name, server in servers.items()
    }

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with _alive(apps.values()):
            yield

    gate = Gate(apps, tokens or {}, rate=rate)
    return Starlette(routes=[Route("/healthz", healthz), Route("/mcp", gate)], lifespan=lifespan)


def _reached_at(host: str, names: Collection[str]) -> TransportSecuritySettings:
    """The Host and Origin headers that are right; a page elsewhere that got a name to mean this machine has others."""
    own = () if host in _EVERYWHERE else (f"[{host}]" if ":" in host else host,)
    known = dict.fromkeys((*_THIS_MACHINE, *own, *names))
    hosts = [shape for name in known for shape in (name, f"{name}:*")]
    return TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[f"{scheme}://{shape}" for scheme in ("http", "https") for shape in hosts]
    )


@asynccontextmanager
async def _alive(apps: "Collection[Starlette]") -> AsyncIterator[None]:
    """Every application's lifespan, each in a task of its own: they end together, so that a stop is quick."""
    stop = asyncio.Event()

    async def live(app: "Starlette", up: asyncio.Event) -> None:
        async with app.router.lifespan_context(app):
            up.set()
            await stop.wait()

    async with asyncio.TaskGroup() as group:
        for app in apps:
            up = asyncio.Event()
            group.create_task(live(app, up))
            await up.wait()
        try:
            yield
        finally:
            stop.set()


class _Refusals:
    """The event loop's complaints; those of a server without file handles, some hundred a second, are said seldom."""

    def __init__(self) -> None:
        self._said_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not handles.used_up(context.get("exception")):
            loop.default_exception_handler(context)
        elif loop.time() - self._said_at > SAY_AGAIN_SECONDS:
            self._said_at = loop.time()
            _log.error("connections wait: %s; they are taken once there is room", handles.USED_UP)


async def serve_http(app: "Starlette", host: str, port: int, say: Callable[[str], None] = lambda _: None) -> None:
    """Serve until stopped; a stop waits for calls in flight, but not for long.

    Port 0 takes a free one; `say` learns which. Raises NotConfigured where it cannot listen.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,  # its lines go where all others go
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        proxy_headers=False,  # anybody could claim an address
        server_header=False,
        backlog=CONNECTIONS_WAITING_MAX,
    )
    asyncio.get_running_loop().set_exception_handler(_Refusals())
    try:
        # It takes connections from here on, so that what is said is true.
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise NotConfigured(
            f"Cannot listen at {host}, port {port}; choose another --host or --port ({error})"
        ) from error
    with listener:
        name = f"[{host}]" if ":" in host else host
        say(f"hailuo-mcp serves at http://{name}:{listener.getsockname()[1]}/mcp")
        await uvicorn.Server(config).serve(sockets=[listener])
