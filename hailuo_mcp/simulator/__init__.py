"""The upstream API as a real HTTP server on this machine, written from the API document and not from our client."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from hailuo_mcp.simulator import contract, http, store
from hailuo_mcp.simulator.contract import Answer, Refusal
from hailuo_mcp.simulator.faults import Fault, Faults
from hailuo_mcp.simulator.http import Request
from hailuo_mcp.simulator.rendering import Video, render
from hailuo_mcp.simulator.state import Bill, Ledger, Task, Word, new_task

__all__ = ["Bill", "Fault", "Request", "Simulator"]

_RENDERERS = 2
_JUDGES = 2  # pictures decoded at once: each may be large
_RENDER_GRACE = 1.0  # seconds that a query waits for a video that is due, before it says Processing


class Simulator:
    """The simulated service: `async with Simulator() as simulator`, then speak HTTP to `simulator.base_url`.

    keys: each sees its own tasks only. generation_seconds: from submit to Success, by `clock`. short_side: pixels,
    instead of the real 768 or 1080. folder: where videos are rendered; a temporary one by default. ledger: a file to
    which each bill is written before it is answered, and from which a new simulator takes the tasks up again.
    link_seconds: how long a download link holds. balance: videos that can still be paid for.
    """

    def __init__(
        self,
        *,
        keys: Collection[str] = ("sk-simulated",),
        generation_seconds: float = 30.0,
        short_side: int | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        host: str = "127.0.0.1",
        port: int = 0,
        folder: Path | None = None,
        ledger: Path | None = None,
        link_seconds: float = 32400,
        balance: int | None = None,
    ) -> None:
        self.keys = keys
        self.generation_seconds = generation_seconds
        self.link_seconds = link_seconds
        self.balance = balance
        self.base_url = ""
        self.faults = Faults()
        self.requests: list[Request] = []
        self.ledger: list[Bill] = []
        self._short_side = short_side
        self._clock = clock
        self._address = (host, port)
        self._folder = folder
        self._file = Ledger(ledger) if ledger else None
        self._tasks: dict[str, Task] = {}
        self._scripts: list[Sequence[Word]] = []
        self._service = http.Service(self._answer, self.faults, self.requests, clock, sleep)
        self._server = http.Server(self._service)

    async def __aenter__(self) -> "Simulator":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. After a stop: at the same address, with the same tasks."""
        if self._file and not self._tasks:
            self._tasks = {task.bill.task_id: task for task in self._file.load()}
            self.ledger += [task.bill for task in self._tasks.values()]
        self._renderers = ThreadPoolExecutor(_RENDERERS, "render")
        self._judges = asyncio.Semaphore(_JUDGES)
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="hailuo-simulator-", ignore_cleanup_errors=True)
        self._videos = self._folder or Path(self._temporary.name)
        self._videos.mkdir(parents=True, exist_ok=True)
        host, port = self._address
        try:
            self._address = (host, await self._server.start(host, port))
        except OSError:  # such as a port in use
            await self.stop()
            raise
        self.base_url = f"http://{host}:{self._address[1]}"

    async def stop(self) -> None:
        """Stop at once: hanging calls end without an answer, and nothing more is rendered."""
        await self._server.stop()
        for task in self._tasks.values():
            if task.video:
                task.video.cancel()
                task.video = None
        self._renderers.shutdown(wait=False, cancel_futures=True)
        if self._folder is None:
            self._temporary.cleanup()

    @property
    def is_answering(self) -> bool:
        """Whether a call is being answered now; one that a fault delays, drips or hangs does not count."""
        return self._service.answering > 0

    def script(self, words: Sequence[Word]) -> None:
        """The statuses of the next task that is submitted, one for each query; the last one stays.

        A word may come with the code to put beside it, as in `("Failed", 1027)`.
        """
        self._scripts.append(words)

    async def rendered(self) -> None:
        """Wait until every video asked for so far is a file."""
        await asyncio.gather(*(asyncio.shield(self._video(task)) for task in self._tasks.values()))

    async def _answer(self, request: Request, body: bytes) -> Answer:
        if problem := http.wrong_method(request):
            return problem
        if request.call == "download":
            return await self._download(request)
        try:
            key = contract.read_key(request.headers, self.keys)
            if request.call == "submit":
                return await self._submit(key, request, body)
            return await (self._query(key, request) if request.call == "query" else self._retrieve(key, request))
        except Refusal as refusal:
            return contract.refused(request.call, refusal.code, refusal.message)

    async def _submit(self, key: str, request: Request, body: bytes) -> Answer:
        content_type = request.headers.get("content-type", "")
        async with self._judges:
            order = await asyncio.to_thread(contract.read_order, body, content_type, self._short_side)
        if self.balance is not None and self.balance <= 0:
            raise Refusal(1008)
        task = new_task(order, key, self._clock(), self._scripts.pop(0) if self._scripts else None)
        if self._file:
            self._file.append(task)
        self._tasks[task.bill.task_id] = task
        self.ledger.append(task.bill)
        if self.balance is not None:
            self.balance -= 1
        self._video(task)
        return contract.submitted(task.bill.task_id)

    async def _query(self, key: str, request: Request) -> Answer:
        (task_id,) = contract.read_arguments(list(request.arguments), ("task_id",))
        task = self._task(key, task_id)
        task.advance()
        status, code = task.status(self._clock(), self.generation_seconds)
        if status != "Success" or code:
            return contract.progress(task_id, status, code)
        # A script is exact. By the clock, a video that is not rendered yet is not a success yet.
        await asyncio.wait({self._video(task)}, timeout=None if task.script else _RENDER_GRACE)
        if not self._video(task).done():
            return contract.progress(task_id, "Processing")
        return contract.success(task_id, task.file_id, self._video(task).result().size)

    async def _retrieve(self, key: str, request: Request) -> Answer:
        file_id, task_id = contract.read_arguments(list(request.arguments), ("file_id", "task_id"))
        task = self._task(key, task_id)
        now = self._clock()
        if file_id != task.file_id or task.status(now, self.generation_seconds)[0] != "Success":
            raise Refusal(2013, "file not found")
        await self._video(task)
        object_key = store.object_key(task_id, task.bill.at)
        link = store.signed_link(self.base_url, object_key, int(now + self.link_seconds))
        return contract.file_record(file_id, task.bill.at, link)

    async def _download(self, request: Request) -> Answer:
        key = request.path.removeprefix(store.PREFIX)
        if problem := store.link_problem(key, request.query, request.headers, self._clock()):
            return problem
        bills = (task.bill for task in self._tasks.values())
        found = next((bill for bill in bills if store.object_key(bill.task_id, bill.at) == key), None)
        if found is None:
            return store.missing()
        return store.deliver(await self._video(self._tasks[found.task_id]), found.at, request.headers)

    def _task(self, key: str, task_id: str) -> Task:
        """The task of that key; whether another key has it is not told."""
        task = self._tasks.get(task_id)
        if task is None or task.bill.key != key:
            raise Refusal(2013, "task not found")
        return task

    def _video(self, task: Task) -> "asyncio.Future[Video]":
        """The video of a task, being rendered from the first time that it is asked for."""
        if task.video is None:
            target = self._videos / f"{task.bill.task_id}.mp4"
            task.video = asyncio.get_running_loop().run_in_executor(self._renderers, render, task.order, target)
        return task.video
