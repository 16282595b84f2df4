"""A server under test, with the simulated API, a folder and a clock of its own."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosqlite
from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp_types import CallToolResult, TextContent
from PIL import Image, ImageDraw

from hailuo_mcp.server import build_server
from hailuo_mcp.settings import Settings, load_settings
from hailuo_mcp.simulator import Simulator

KEY = "sk-simulated-0123456789abcdef"
SETTLE_SECONDS = 0.006  # real time that a call gets for real input and output before the next sleeper is woken
TURNS = 10  # of the loop: what a busy machine may not do within a given time, such as connect and ask, ends in these
ANSWER_SECONDS = 5.0  # real time that the simulated API gets for an answer meanwhile


class Threads(ThreadPoolExecutor):
    """The loop's threads, which tell how much they have to do."""

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        work = super().submit(fn, *args, **kwargs)
        self.busy.add(work)
        work.add_done_callback(self.busy.discard)
        return work


class Database:
    """How many statements SQLite works on now: on a busy disk each commit may take long."""

    busy = 0

    @classmethod
    def count(cls) -> None:
        execute = aiosqlite.Connection._execute

        async def counted(self: aiosqlite.Connection, fn: Any, *args: Any, **kwargs: Any) -> Any:
            cls.busy += 1
            try:
                return await execute(self, fn, *args, **kwargs)
            finally:
                cls.busy -= 1

        aiosqlite.Connection._execute = counted  # type: ignore[method-assign]


Database.count()


class Time:
    """A clock that moves only when it is told to, or when nothing is left to do but sleep.

    `now` may be set, as people set clocks; sleepers sleep by `passed`, which nothing sets back.
    """

    def __init__(self) -> None:
        self.passed = 0.0
        self._set = 1_800_000_000.0
        self.back = 0.0  # seconds by which somebody has set the clock back
        self.sleeps = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.simulator: Simulator | None = None
        self.threads: Threads | None = None

    @property
    def now(self) -> float:
        return self._set + self.passed

    @now.setter
    def now(self, now: float) -> None:
        self._set = now - self.passed

    def clock(self) -> float:
        return self.now - self.back

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.passed + max(0.0, seconds), next(self._order), wake))
        await wake

    def jump(self) -> bool:
        """Wake the next sleeper; says whether there was one."""
        while self._sleepers:
            at, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                self.passed = max(self.passed, at)
                wake.set_result(None)
                return True
        return False

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, with everything that happens in it."""
        end = self.passed + seconds
        await asyncio.sleep(SETTLE_SECONDS)
        while self._sleepers and self._sleepers[0][0] <= end:
            self.jump()
            await asyncio.sleep(SETTLE_SECONDS)
            await self._settled()
        self.passed = end

    async def _settled(self) -> None:
        """On a busy machine threads and answers take long: time must not run away from them."""
        if self.threads is None:
            self.threads = Threads()
            asyncio.get_running_loop().set_default_executor(self.threads)
        quiet = 0
        for _ in range(int(ANSWER_SECONDS / SETTLE_SECONDS)):
            await asyncio.to_thread(int)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            quiet = 0 if self._is_busy() else quiet + 1
            if quiet == 3:  # what ends here often begins the next thing there
                break
            await asyncio.sleep(SETTLE_SECONDS / (4 if quiet else 1))

    def _is_busy(self) -> bool:
        answering = self.simulator is not None and self.simulator.is_answering
        return bool(answering or Database.busy or (self.threads and self.threads.busy))

    async def until(self, task: "asyncio.Future[Any]") -> Any:
        """Let time pass until the task is done."""
        while not task.done():
            await asyncio.wait({task}, timeout=SETTLE_SECONDS)
            await self._settled()
            if not task.done():
                self.jump()
        return task.result()


@dataclass
class World:
    """What a test needs to play a story."""

    client: Client
    simulator: Simulator
    time: Time
    folder: Path
    settings: Settings
    progress: list[tuple[float, float | None, str | None]] = field(default_factory=list)

    async def call(self, tool: str, **arguments: Any) -> CallToolResult:
        """Call a tool; time passes while it waits."""

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append((progress, total, message))

        return await self.time.until(
            asyncio.ensure_future(self.client.call_tool(tool, arguments, progress_callback=tell))
        )

    async def do(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured result of a call that must succeed."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, text(result)
        assert result.structured_content is not None
        return dict(result.structured_content)

    async def fail(self, tool: str, **arguments: Any) -> str:
        """The text of a call that must be a tool error."""
        result = await self.call(tool, **arguments)
        assert result.is_error, text(result)
        return text(result)

    async def finish(self, task_id: str) -> dict[str, Any]:
        """Wait until the video has ended."""
        status = await self.do("check_status", task_id=task_id, wait_seconds=50)
        while status["status"] == "Processing":
            status = await self.do("check_status", task_id=task_id, wait_seconds=50)
        return status

    def picture(self, name: str = "first.jpg", size: tuple[int, int] = (640, 360), colour: str = "navy") -> str:
        """A picture on disk, as a path."""
        path = self.folder / name
        image = Image.new("RGB", size, colour)
        ImageDraw.Draw(image).ellipse([size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2], fill="orange")
        image.save(path)
        return str(path)

    async def comes_home(self, task_id: str, within: float) -> Path:
        """The file of a video that the watch brings home, within so many seconds of this world."""
        end = self.time.passed + within
        while self.time.passed < end:
            await self.time.advance(5)
            for row in (await self.do("list_videos", limit=50))["videos"]:
                if row.get("task_id") == task_id and "path" in row:
                    return Path(row["path"])
        raise AssertionError(f"task {task_id} did not come home")

    def calls(self, kind: str) -> int:
        """How many calls of a kind the API has seen."""
        return sum(request.call == kind for request in self.simulator.requests)

    async def heard(self, kind: str, times: int = 1) -> None:
        """Wait until the API has seen so many calls of a kind."""
        async with asyncio.timeout(60):
            while self.calls(kind) < times:  # noqa: ASYNC110 - real input and output, which no event tells of
                await asyncio.sleep(SETTLE_SECONDS)


def text(result: CallToolResult) -> str:
    """All text of a result."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


@asynccontextmanager
async def world(
    folder: Path,
    *,
    era: str = "auto",
    person: ElicitationFnT | None = None,
    short_side: int = 144,
    generation_seconds: float = 30,
    **given: Any,
) -> AsyncIterator[World]:
    """A world whose settings can be given; nothing is collected in the background unless asked for.

    `person` answers what the server asks; without one the client cannot be asked. `short_side`: of its videos.
    """
    time = Time()
    simulator = Simulator(
        keys=(KEY,),
        generation_seconds=generation_seconds,
        short_side=short_side,
        clock=time.clock,
        folder=folder / "simulator",
    )
    async with simulator, play(folder, simulator, time, era=era, person=person, **given) as played:
        yield played


@asynccontextmanager
async def play(
    folder: Path,
    simulator: Simulator,
    time: Time,
    *,
    era: str = "auto",
    person: ElicitationFnT | None = None,
    **given: Any,
) -> AsyncIterator[World]:
    """One server and client over a simulator that may serve several."""
    settings = load_settings(
        **{
            "api_key": KEY,
            "base_url": simulator.base_url,
            "output_dir": folder / "videos",
            "data_dir": folder / "data",
            "allowed_dirs": (folder,),
            "collect": False,
            "request_timeout": 5,
            "submit_timeout": 5,
        }
        | given
    )
    time.simulator = simulator
    server = build_server(settings, clock=time.clock, sleep=time.sleep)
    async with Client(server, mode=era, elicitation_callback=person) as client:
        yield World(client, simulator, time, folder, settings)
