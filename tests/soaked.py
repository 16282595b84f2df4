"""A server over HTTP whose clock runs fast, and which tells at `/counted` what it holds. Run by `test_soak.py`."""

import asyncio
import gc
import logging
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hailuo_mcp import hosting
from hailuo_mcp.settings import load_settings

SPEED = 120  # an hour takes half a minute
SESSION_SECONDS = 1.0  # of real time: an older client's session lives so long without a request
HANDLES = Path("/proc/self/fd")


def fast(began: float) -> Callable[[], float]:
    """A clock that has run that many times faster since then."""
    return lambda: began + (time.time() - began) * SPEED


def sleep(seconds: float) -> Awaitable[object]:
    return asyncio.sleep(seconds / SPEED)


def counted() -> dict[str, int]:
    """How much there is of everything that could be left behind."""
    for _ in range(3):
        gc.collect()
    objects = gc.get_objects()
    kinds = Counter(type(each).__qualname__ for each in objects)
    held = {
        "kilobytes": tracemalloc.get_traced_memory()[0] // 1000,
        # Caches of the interpreter itself come and go.
        "objects": len(objects) - kinds["ReferenceType"] - kinds["builtin_function_or_method"],
        "handles": len([*filter(_is_none_of_the_journal, HANDLES.iterdir())]) if HANDLES.is_dir() else 0,
        "threads": sum("_connection_worker" not in thread.name for thread in threading.enumerate()),
        "databases": sum(isinstance(each, aiosqlite.Connection) for each in objects),
        "tasks": len(asyncio.all_tasks()),
        "sessions": kinds["StreamableHTTPServerTransport"] + kinds["ServerSession"],
        "connections": kinds["H11Protocol"] + kinds["Connection"] + kinds["RequestResponseCycle"],
        "downloads": kinds["Download"] + kinds["Draft"],
    }
    for each in objects:
        name = type(each).__qualname__
        if str(type(each).__module__).startswith("hailuo_mcp."):
            for attribute, value in vars(each).items() if hasattr(each, "__dict__") else ():
                if isinstance(value, dict | list | set) and not isinstance(each, type):
                    held[f"{name}.{attribute}"] = held.get(f"{name}.{attribute}", 0) + len(value)
    return held


def _is_none_of_the_journal(handle: Path) -> bool:
    try:
        return "journal.db" not in str(handle.readlink())
    except OSError:  # the one that lists them
        return False


async def count(_: Request) -> JSONResponse:
    return JSONResponse(counted())


async def main(began: float) -> None:
    logging.basicConfig(level="ERROR")
    hosting.SESSION_IDLE_SECONDS = SESSION_SECONDS
    settings = load_settings()
    servers = hosting.build_servers(settings, "127.0.0.1", clock=fast(began), sleep=sleep)
    app = hosting.build_app(servers, "127.0.0.1", tokens=settings.http_callers(), rate=1_000_000)
    app.router.routes.append(Route("/counted", count))
    await hosting.serve_http(app, "127.0.0.1", 0, lambda words: print(words, flush=True))


if __name__ == "__main__":
    tracemalloc.start()
    asyncio.run(main(float(sys.argv[1])))
