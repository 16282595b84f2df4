"""The MCP server: built by a function, safe to import without a key, for stdio and HTTP."""

import asyncio
import importlib.metadata
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from mcp.server.mcpserver import MCPServer

from hailuo_mcp.app import App
from hailuo_mcp.settings import Settings, Transport
from hailuo_mcp.surface.films import FilmTools
from hailuo_mcp.surface.looking import LookingTools
from hailuo_mcp.surface.player import Player
from hailuo_mcp.surface.prompts import add_prompts
from hailuo_mcp.surface.resources import add_resources
from hailuo_mcp.surface.tasks import Tasks, VideoTasks
from hailuo_mcp.surface.tools import Tools
from hailuo_mcp.surface.updates import Updates
from hailuo_mcp.waiting import Sleep

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
    sleep: Sleep = asyncio.sleep,
) -> "MCPServer[App]":
    """The server over one app; nothing is opened before it runs. `caller`: whose it is, where there are several."""
    app = App(settings, transport, caller=caller, clock=clock, sleep=sleep)
    player = Player(app, clock)
    updates = Updates()
    app.announce, app.announce_film = updates.announce, updates.announce_film

    @asynccontextmanager
    async def lifespan(_: "MCPServer[App]") -> AsyncIterator[App]:
        app.start_watch()
        try:
            with _closed_by_sigterm(app):
                yield app
        finally:
            await app.close()

    server: MCPServer[App] = MCPServer(
        "hailuo-mcp",
        title="Hailuo first/last-frame video",
        instructions=INSTRUCTIONS,
        version=VERSION,
        tools=[*player.attached([*Tools(app).all(), *LookingTools(app).all(), *FilmTools(app).all()])],
        extensions=[Tasks(VideoTasks(app)), player],
        middleware=[player.hide],
        lifespan=lifespan,
        log_level=settings.log_level,
        subscriptions=updates.bus,
    )
    updates.serve_older_clients(server)
    add_resources(server, app)
    add_prompts(server)
    return server


@contextmanager
def _closed_by_sigterm(app: App) -> Iterator[None]:
    """SIGTERM ends the process as ever, but what is being paid for reaches the journal first.

    Where somebody else handles the signal, as the HTTP server does, that stays so.
    """
    in_charge = threading.current_thread() is threading.main_thread() and os.name != "nt"
    if not in_charge or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    loop = asyncio.get_running_loop()

    def close() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        closing = loop.create_task(app.close())
        closing.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))

    loop.add_signal_handler(signal.SIGTERM, close)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
