"""The fixtures of the MCP conformance suite that try code of this project: its tasks extension, its serving over HTTP.

`python tests/conformance_server.py` says where it serves; tests/conformance.py plays the suite against it.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Annotated, Any

import mcp_types as wire
from mcp.server.context import HandlerResult
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, MCPServer, require_client_extension
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from hailuo_mcp.errors import NotFound
from hailuo_mcp.hosting import build_app, serve_http
from hailuo_mcp.surface.tasks import TASKS, Run, Task, Tasks


class Job:
    """A tool call that runs in the background and may ask the client."""

    current: ContextVar["Job"] = ContextVar("job")

    def __init__(self, run: Run) -> None:
        self.id = secrets.token_urlsafe(16)
        self.at = time.time()
        self.questions: dict[str, asyncio.Future[Any]] = {}
        self.work = asyncio.create_task(self._work(run))

    async def _work(self, run: Run) -> HandlerResult:
        self.current.set(self)
        return await run()

    async def ask(self, key: str) -> Any:
        self.questions[key] = asyncio.get_running_loop().create_future()
        return await self.questions[key]

    def task(self) -> Task:
        waiting = {key: _question(key) for key, answer in self.questions.items() if not answer.done()}
        if not self.work.done():
            more = {"inputRequests": waiting} if waiting else {}
            return Task(self.id, "input_required" if waiting else "working", self.at, time.time(), more=more)
        if self.work.cancelled():
            return Task(self.id, "cancelled", self.at, time.time())
        error = self.work.exception()
        if isinstance(error, MCPError):
            return Task(self.id, "failed", self.at, time.time(), more={"error": _dump(error.error)})
        return Task(self.id, "completed", self.at, time.time(), more={"result": _dump(self.work.result())})


class Memory:
    """The store: jobs by id, as long as the process lives."""

    poll_seconds = 0.2

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    async def call(self, name: str, run: Run) -> Task | HandlerResult:
        if name == "greet":
            return await run()
        if name == "test_tool_with_task":  # asks before it becomes a task
            result = await run()
            if isinstance(result, wire.InputRequiredResult):
                return result

            async def run() -> HandlerResult:
                return result

        job = Job(run)
        self._jobs[job.id] = job
        return Task(job.id, "working", job.at, job.at, f"{name} has begun.")

    async def get(self, task_id: str) -> Task:
        return self._job(task_id).task()

    async def update(self, task_id: str, answers: Mapping[str, Any]) -> None:
        questions = self._job(task_id).questions
        for key in answers.keys() & questions.keys():
            if not questions[key].done():
                questions[key].set_result(answers[key])

    async def cancel(self, task_id: str) -> None:
        self._job(task_id).work.cancel()

    def _job(self, task_id: str) -> Job:
        if task_id not in self._jobs:
            raise NotFound(f"There is no task {task_id}.")
        return self._jobs[task_id]


def _dump(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _question(key: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]}
    form = {"mode": "form", "message": f"Do you confirm ({key})?", "requestedSchema": schema}
    return {"method": "elicitation/create", "params": form}


class Name(BaseModel):
    name: str


class Person(BaseModel):
    username: str
    email: str


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def build() -> "MCPServer[Any]":
    """A server with every tool that the suite's tasks scenarios call, and those that speak in the middle of a call."""
    server: MCPServer[Any] = MCPServer("conformance-fixtures", extensions=[Tasks(Memory())])

    @server.tool(description="Greets at once")
    async def greet(name: str) -> wire.CallToolResult:
        return _said(f"Hello, {name}!")

    @server.tool(description="Computes for some seconds")
    async def slow_compute(seconds: float, label: str = "") -> wire.CallToolResult:
        await asyncio.sleep(seconds)
        return _said(f"{label} took {seconds} s")

    @server.tool(description="Fails as a tool; for clients with tasks only")
    async def failing_job(ctx: Context[Any, Any]) -> wire.CallToolResult:
        require_client_extension(ctx.request_context, TASKS)
        await asyncio.sleep(1)
        return _said("it failed", is_error=True)

    @server.tool(description="Fails as a request")
    async def protocol_error_job() -> wire.CallToolResult:
        raise MCPError(wire.INTERNAL_ERROR, "it broke")

    @server.tool(description="Asks once")
    async def confirm_delete(filename: str) -> wire.CallToolResult:
        await Job.current.get().ask("confirm")
        return _said(f"{filename} is deleted")

    @server.tool(description="Asks two things at once")
    async def multi_input() -> wire.CallToolResult:
        job = Job.current.get()
        await asyncio.gather(job.ask("first"), job.ask("second"))
        return _said("both are answered")

    @server.tool(description="Asks for a name, then becomes a task")
    async def test_tool_with_task(name: Annotated[ElicitationResult[Name], Resolve(ask_name)]) -> wire.CallToolResult:
        return _said(f"Hello, {name.data.name if name.action == 'accept' else 'stranger'}!")

    _add_talkers(server)
    return server


def _add_talkers(server: "MCPServer[Any]") -> None:
    """Tools that do more than answer: what they say or ask streams to the client while the call goes on."""

    @server.tool(description="Says how far it is")
    async def test_tool_with_progress(ctx: Context[Any, Any]) -> wire.CallToolResult:
        for percent in (0, 50, 100):
            await ctx.report_progress(percent, 100)
        return _said("all is done")

    @server.tool(description="Asks the client's person")
    async def test_elicitation(message: str, ctx: Context[Any, Any]) -> wire.CallToolResult:
        answer = await ctx.elicit(message, Person)
        return _said(f"The person's answer: {answer.model_dump_json()}")

    @server.tool(description="Asks the client's model")
    async def test_sampling(prompt: str, ctx: Context[Any, Any]) -> wire.CallToolResult:
        question = wire.SamplingMessage(role="user", content=wire.TextContent(type="text", text=prompt))
        answer = await ctx.session.create_message([question], max_tokens=100)
        return _said(f"The model's answer: {answer.content}")


def _said(text: str, *, is_error: bool = False) -> wire.CallToolResult:
    return wire.CallToolResult(is_error=is_error, content=[wire.TextContent(type="text", text=text)])


if __name__ == "__main__":
    app = build_app({"": build()}, "127.0.0.1")
    asyncio.run(serve_http(app, "127.0.0.1", 0, lambda words: print(words, flush=True)))
