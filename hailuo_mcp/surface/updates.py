"""Tells subscribed clients, of both protocol eras, that a video's record changed."""

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp_types import EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

if TYPE_CHECKING:
    from mcp.server.session import ServerSession

    from hailuo_mcp.film import Film
    from hailuo_mcp.journal import Video

VIDEOS = "hailuo://videos"
FILMS = "hailuo://films"


class Updates:
    """Who listens. `bus` carries the present protocol's `subscriptions/listen`; older clients subscribe by URI."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._older: dict[str, WeakSet[ServerSession]] = {}

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
            for session in [*self._older.get(uri, ())]:
                try:
                    await session.send_resource_updated(uri)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    self._older[uri].discard(session)

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        self._older.setdefault(str(params.uri), WeakSet()).add(ctx.session)
        return EmptyResult()

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        self._older.get(str(params.uri), WeakSet[Any]()).discard(ctx.session)
        return EmptyResult()
