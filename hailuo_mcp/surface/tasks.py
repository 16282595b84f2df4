"""MCP tasks (`io.modelcontextprotocol/tasks`, SEP-2663): a video as a task, for clients that declare the extension."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import mcp_types as wire
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, RequestHandler
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hailuo_mcp.app import App
from hailuo_mcp.errors import HailuoError, NotFound
from hailuo_mcp.surface.contract import Generated, answer
from hailuo_mcp.surface.rows import iso
from hailuo_mcp.surface.tools import status_words

if TYPE_CHECKING:
    from hailuo_mcp.records import Video

TASKS = "io.modelcontextprotocol/tasks"
GOES_ON = "It is paid for, so it cannot be cancelled: it goes on being watched, and is there to be saved when it ends."

Context = ServerRequestContext[Any, Any]
Run = Callable[[], Awaitable[HandlerResult]]


@dataclass(frozen=True, slots=True)
class Task:
    """Where a task stands. Times are epoch seconds; `more` is the `result`, `error` or `inputRequests` it has."""

    id: str
    status: Literal["working", "input_required", "completed", "cancelled", "failed"]
    created_at: float
    updated_at: float
    message: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """Where tasks are kept, without an end. Raises NotFound for a task that it does not know."""

    poll_seconds: float

    async def call(self, name: str, run: Run) -> Task | HandlerResult: ...
    async def get(self, task_id: str) -> Task: ...
    async def update(self, task_id: str, answers: Mapping[str, Any]) -> None: ...
    async def cancel(self, task_id: str) -> None: ...


class TaskParams(wire.RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any]


class Tasks(Extension):
    """The extension on the wire, over any store."""

    identifier = TASKS

    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Sequence[MethodBinding]:
        """What is served, in the era that knows it."""
        era, store = frozenset(MODERN_PROTOCOL_VERSIONS), self._store
        return [
            MethodBinding("tasks/get", TaskParams, _guarded(self._get), era),
            MethodBinding(
                "tasks/update", UpdateParams, _guarded(lambda p: store.update(p.task_id, p.input_responses)), era
            ),
            MethodBinding("tasks/cancel", TaskParams, _guarded(lambda p: store.cancel(p.task_id)), era),
        ]

    async def intercept_tool_call(
        self, params: wire.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """A task instead of a result, where the store makes one; who does not declare the extension notices nothing."""
        able = ctx.session.client_capabilities
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS or not able or TASKS not in (able.extensions or {}):
            return await call_next(ctx)
        outcome = await self._store.call(params.name, lambda: call_next(ctx))
        return self._record(outcome) | {"resultType": "task"} if isinstance(outcome, Task) else outcome

    async def _get(self, params: TaskParams) -> HandlerResult:
        task = await self._store.get(params.task_id)
        return {**self._record(task), **task.more}

    def _record(self, task: Task) -> dict[str, Any]:
        record = {
            "taskId": task.id,
            "status": task.status,
            "createdAt": iso(task.created_at),
            "lastUpdatedAt": iso(task.updated_at),
            "ttlMs": None,
            "pollIntervalMs": max(1, round(self._store.poll_seconds * 1000)),
        }
        return record | ({"statusMessage": task.message} if task.message else {})


def _guarded(serve: Callable[[Any], Awaitable[HandlerResult]]) -> RequestHandler:
    """The handler of a method: for clients that declared the extension, routed rightly, with errors as the wire's."""

    async def handler(ctx: Context, params: TaskParams) -> HandlerResult:
        require_client_extension(ctx, TASKS)
        if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != params.task_id:
            raise MCPError(wire.HEADER_MISMATCH, f"The {MCP_NAME_HEADER} header is not the request's taskId")
        try:
            return await serve(params)
        except NotFound as error:
            raise MCPError(wire.INVALID_PARAMS, str(error)) from error
        except HailuoError as error:
            raise MCPError(wire.INTERNAL_ERROR, str(error)) from error

    return handler


class VideoTasks:
    """The journal as a store. A task's id is its record's own: unlike the API's task ids it cannot be guessed."""

    def __init__(self, app: App) -> None:
        self.poll_seconds = app.settings.poll_interval
        self._app = app

    async def call(self, name: str, run: Run) -> Task | HandlerResult:
        """The task of a video that was paid for; anything else stays what it is, and so does every error."""
        result = await run()
        if name != "generate_video" or not isinstance(result, wire.CallToolResult) or result.is_error:
            return result
        try:
            video = await (await self._app.studio()).find(str((result.structured_content or {})["task_id"]))
        except HailuoError:  # the plain answer names the video, so nothing is lost
            return result
        return _task(video, "\n".join(block.text for block in result.content if isinstance(block, wire.TextContent)))

    async def get(self, task_id: str) -> Task:
        """The task, after asking the API when that is due; an API that does not answer leaves it working."""
        video, trouble = await self._find(task_id), ""
        if video.state == "Processing":
            try:
                video = await (await self._app.studio()).glance(str(video.task_id))
            except HailuoError as error:
                trouble = f" The API could not be asked just now: {error}"
        return _task(video, f"{video.upstream_status or video.state}. {GOES_ON}{trouble}")

    async def update(self, task_id: str, answers: Mapping[str, Any]) -> None:
        """Nothing is ever asked of the client, so answers are ignored, as the extension wants it."""
        await self._find(task_id)

    async def cancel(self, task_id: str) -> None:
        """Acknowledged and no more: the API cannot cancel, and what is paid for is not dropped."""
        await self._find(task_id)

    async def _find(self, task_id: str) -> "Video":
        video = await (await self._app.studio()).find(task_id)
        if video.id != task_id or video.task_id is None:
            raise NotFound(f"There is no task {task_id}; list_videos tells which videos there are.")
        return video


class _Ended(Generated):
    file_id: str | None


def _task(video: "Video", message: str) -> Task:
    """A video's record as a task; once it has ended, with what the tool would have said had it waited."""
    if video.state == "Processing":
        return Task(video.id, "working", video.created_at, video.updated_at, message)
    made = _Ended(
        task_id=str(video.task_id),
        status="Failed" if video.state == "Failed" else "Success",
        prompt=video.intent.prompt if video.intent else "",
        already_submitted=False,
        warnings=[],
        file_id=video.file_id,
    )
    result = answer(status_words(video), made).model_copy(update={"is_error": video.state == "Failed"})
    more = {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}
    return Task(video.id, "completed", video.created_at, video.updated_at, more=more)
