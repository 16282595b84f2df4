"""Tells subscribed clients, of both protocol eras, that a video's record changed."""

from typing import TYPE_CHECKING, Any

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp_types import EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

if TYPE_CHECKING:
    from hailuo_mcp.film import Film
    from hailuo_mcp.journal import Video

VIDEOS = "hailuo://videos"
FILMS = "hailuo://films"


class Updates:
    """Who listens. `bus` carries the present protocol's `subscriptions/listen`; older clients subscribe by URI."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._older: dict[str, set[Connection]] = {}

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
            for connection in [*self._older.get(uri, ())]:
                await connection.notify("notifications/resources/updated", {"uri": uri})

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        connection, uri = _connection(ctx), str(params.uri)
        if connection not in self._older.setdefault(uri, set()):
            self._older[uri].add(connection)
            connection.exit_stack.callback(self._drop, connection, uri)
        return EmptyResult()

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        self._drop(_connection(ctx), str(params.uri))
        return EmptyResult()

    def _drop(self, connection: Connection, uri: str) -> None:
        listeners = self._older.get(uri, set())
        listeners.discard(connection)
        if not listeners:
            self._older.pop(uri, None)


def _connection(ctx: ServerRequestContext[Any, Any]) -> Connection:
    # `ctx.session` itself lives no longer than its request, and the SDK shows the connection behind it to nobody.
    return ctx.session._connection
