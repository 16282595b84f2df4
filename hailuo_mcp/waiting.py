"""Waiting for something that goes on by itself, for a while and no longer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Sleep = Callable[[float], Awaitable[object]]


async def done_within(task: "asyncio.Future[Any]", seconds: float, sleep: Sleep) -> bool:
    """Whether the task ends within that time, by the clock of `sleep`; it goes on if it does not."""
    pause = asyncio.ensure_future(sleep(seconds))
    try:
        await asyncio.wait({task, pause}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        pause.cancel()
    return task.done()
