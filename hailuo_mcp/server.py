"""The MCP server: built by a function, safe to import without a key, for stdio and HTTP."""

import asyncio
import importlib.metadata
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mcp.server.mcpserver import MCPServer

from hailuo_mcp.app import App
from hailuo_mcp.settings import Settings, Transport
from hailuo_mcp.surface.films import FilmTools
from hailuo_mcp.surface.looking import LookingTools
from hailuo_mcp.surface.prompts import add_prompts
from hailuo_mcp.surface.resources import add_resources
from hailuo_mcp.surface.tasks import Tasks, VideoTasks
from hailuo_mcp.surface.tools import Tools
from hailuo_mcp.surface.updates import Updates

VERSION = importlib.metadata.version("hailuo-mcp")
INSTRUCTIONS = (
    "Makes videos from a first and a last picture with MiniMax-Hailuo-02. generate_video costs money and returns a "
    "task_id at once; then check_status with wait_seconds=45 until Success; then download_video. Never submit again "
    "because something took long: the task goes on. check_frames and preview_video are free: look before you pay; "
    "view_video shows what came of it. create_film joins shots into a film. Camera moves: see hailuo://camera-commands."
)


def build_server(
    settings: Settings,
    transport: Transport = "stdio",
    *,
    caller: str = "",
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> "MCPServer[App]":
    """The server over one app; nothing is opened before it runs. `caller`: whose it is, where there are several."""
    app = App(settings, transport, caller=caller, clock=clock, sleep=sleep)
    updates = Updates()
    app.announce, app.announce_film = updates.announce, updates.announce_film

    @asynccontextmanager
    async def lifespan(_: "MCPServer[App]") -> AsyncIterator[App]:
        app.start_watch()
        try:
            yield app
        finally:
            await app.close()

    server: MCPServer[App] = MCPServer(
        "hailuo-mcp",
        title="Hailuo first/last-frame video",
        instructions=INSTRUCTIONS,
        version=VERSION,
        tools=[*Tools(app).all(), *LookingTools(app).all(), *FilmTools(app).all()],
        extensions=[Tasks(VideoTasks(app))],
        lifespan=lifespan,
        log_level=settings.log_level,
        subscriptions=updates.bus,
    )
    updates.serve_older_clients(server)
    add_resources(server, app)
    add_prompts(server)
    return server
