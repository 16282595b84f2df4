"""Tells subscribed clients, of both protocol eras, that a video's record changed."""

import contextlib
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

if TYPE_CHECKING:
    from mcp.server.connection import Connection

    from hailuo_mcp.films.film import Film
    from hailuo_mcp.records import Video

VIDEOS = "hailuo://videos"
FILMS = "hailuo://films"
SUBSCRIPTIONS_MAX = 1000  # of one connection
TELL_SECONDS = 1.0


class Updates:
    """Who listens. `bus` carries the present protocol's `subscriptions/listen`; older clients subscribe by URI."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._older: WeakKeyDictionary[Connection, set[str]] = WeakKeyDictionary()

    def serve_older_clients(self, server: "MCPServer[Any]") -> None:
        """Answer `resources/subscribe` and `resources/unsubscribe`, which the present protocol no longer has."""
        # The SDK serves the removed methods by its low-level server only, which MCPServer keeps to itself.
        low_level = server._lowlevel_server
        low_level.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        low_level.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)

    async def announce(self, video: "Video") -> None:
        """Tell that the list of videos and this video's record changed."""
        await self._tell(VIDEOS, *(f"{VIDEOS}/{name}" for name in (video.task_id, video.id) if name))

    async def announce_film(self, film: "Film") -> None:
        """Tell that the list of films and this film changed."""
        await self._tell(FILMS, f"{FILMS}/{film.record.id}")

    async def _tell(self, *uris: str) -> None:
        for uri in uris:
            await self.bus.publish(ResourceUpdated(uri=uri))
            for connection in [connection for connection, wanted in self._older.items() if uri in wanted]:
                await self._tell_older(connection, uri)

    async def _tell_older(self, connection: "Connection", uri: str) -> None:
        heard = False
        with (
            contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError),
            anyio.move_on_after(TELL_SECONDS),
        ):
            await connection.send_resource_updated(uri)
            heard = True
        if not heard:  # who has gone, or does not read, must not hold up the others
            self._older.pop(connection, None)

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        uris = self._older.setdefault(_connection(ctx), set())
        if len(uris) >= SUBSCRIPTIONS_MAX:
            raise MCPError(INVALID_PARAMS, f"{SUBSCRIPTIONS_MAX} subscriptions are the most; unsubscribe from some")
        uris.add(str(params.uri))
        return EmptyResult()

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        self._older.get(_connection(ctx), set()).discard(str(params.uri))
        return EmptyResult()


def _connection(ctx: ServerRequestContext[Any, Any]) -> "Connection":
    # The session lasts as long as one request, a subscription as long as the connection, which nothing else names.
    return ctx.session._connection
