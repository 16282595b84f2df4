"""MCP tasks (`io.modelcontextprotocol/tasks`, SEP-2663): a video as a task, for clients that declare the extension."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams, TextContent
from mcp_types.jsonrpc import HEADER_MISMATCH
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hailuo_mcp.app import App
from hailuo_mcp.errors import HailuoError
from hailuo_mcp.surface.contract import Generated, iso
from hailuo_mcp.surface.tools import STATUS, status_words

if TYPE_CHECKING:
    from hailuo_mcp.journal import Video

TASKS = "io.modelcontextprotocol/tasks"
GOES_ON = "It is paid for and cannot be cancelled: it goes on, and can be fetched, whatever becomes of this task."

Context = ServerRequestContext[Any, Any]
Run = Callable[[], Awaitable[HandlerResult]]


@dataclass(frozen=True, slots=True)
class Task:
    """Where a task stands. Times are epoch seconds; `more` is the `result`, `error` or `inputRequests` of its status."""

    id: str
    status: Literal["working", "input_required", "completed", "cancelled", "failed"]
    created_at: float
    updated_at: float
    message: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """Where tasks are kept. None and False say that there is no such task."""

    poll_seconds: float

    async def call(self, name: str, run: Run) -> Task | HandlerResult: ...
    async def get(self, task_id: str) -> Task | None: ...
    async def update(self, task_id: str, answers: Mapping[str, Any]) -> bool: ...
    async def cancel(self, task_id: str) -> bool: ...


class TaskParams(RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any]


class Tasks(Extension):
    """The extension on the wire, over any store."""

    identifier = TASKS

    def __init__(self, store: Store) -> None:
        self._store = store

    def methods(self) -> Sequence[MethodBinding]:
        """What the extension serves, in the era that knows it."""
        return [
            MethodBinding(method, params, handler, frozenset(MODERN_PROTOCOL_VERSIONS))
            for method, params, handler in (
                ("tasks/get", TaskParams, self._get),
                ("tasks/update", UpdateParams, self._update),
                ("tasks/cancel", TaskParams, self._cancel),
            )
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """A task instead of a result, where the store makes one; who does not declare the extension notices nothing."""
        capabilities = ctx.session.client_capabilities
        declared = capabilities and TASKS in (capabilities.extensions or {})
        if not declared or ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return await call_next(ctx)
        outcome = await self._store.call(params.name, lambda: call_next(ctx))
        return self._record(outcome) | {"resultType": "task"} if isinstance(outcome, Task) else outcome

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        task = await self._store.get(params.task_id)
        if task is None:
            raise _unknown(params)
        return self._record(task) | task.more

    async def _update(self, ctx: Context, params: UpdateParams) -> HandlerResult:
        _check(ctx, params)
        if not await self._store.update(params.task_id, params.input_responses):
            raise _unknown(params)
        return {}

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        if not await self._store.cancel(params.task_id):
            raise _unknown(params)
        return {}

    def _record(self, task: Task) -> dict[str, Any]:
        return {
            "taskId": task.id,
            "status": task.status,
            **({"statusMessage": task.message} if task.message else {}),
            "createdAt": iso(task.created_at),
            "lastUpdatedAt": iso(task.updated_at),
            "ttlMs": None,  # kept without an end
            "pollIntervalMs": max(1, round(self._store.poll_seconds * 1000)),
        }


def _check(ctx: Context, params: TaskParams) -> None:
    """Raise for a client that did not declare the extension, and for a header that routes to another task."""
    require_client_extension(ctx, TASKS)
    if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != params.task_id:
        raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request body's 'taskId' parameter")


def _unknown(params: TaskParams) -> MCPError:
    return MCPError(INVALID_PARAMS, f"There is no task {params.task_id[:80]!r}; list_videos tells which videos there are.")


class VideoTasks:
    """The journal as a store. A task's id is its record's own: unlike the API's task ids it cannot be guessed."""

    def __init__(self, app: App, clock: Callable[[], float]) -> None:
        self.poll_seconds = app.settings.poll_interval
        self._app = app
        self._clock = clock
        self._asked: dict[str, float] = {}

    async def call(self, name: str, run: Run) -> Task | HandlerResult:
        """The task of a video that was paid for; anything else stays what it is, and so does every error."""
        result = await run()
        if name != "generate_video" or not isinstance(result, CallToolResult) or result.is_error:
            return result
        try:
            studio = await self._app.studio()
            video = await studio.find(str((result.structured_content or {})["task_id"]))
        except HailuoError:  # the plain answer names the video, so nothing is lost
            return result
        return _task(video, "\n".join(block.text for block in result.content if isinstance(block, TextContent)))

    async def get(self, task_id: str) -> Task | None:
        """The task, after asking the API when that is due; an API that does not answer leaves it working."""
        video = await self._find(task_id)
        if video is None or video.state != "Processing":
            self._asked.pop(task_id, None)
            return video and _task(video)
        trouble = ""
        if self._clock() - max(video.updated_at, self._asked.get(task_id, 0.0)) >= self.poll_seconds:
            self._asked[task_id] = self._clock()
            try:
                video = await (await self._app.studio()).status(str(video.task_id))
            except HailuoError as error:
                trouble = f" Not seen anew just now: {error}"
        return _task(video, f"{video.upstream_status or video.state}. {GOES_ON}{trouble}")

    async def update(self, task_id: str, answers: Mapping[str, Any]) -> bool:
        """Nothing is ever asked of the client, so answers are ignored, as the extension wants it."""
        return await self._find(task_id) is not None

    async def cancel(self, task_id: str) -> bool:
        """Acknowledged and no more: the API cannot cancel, and what is paid for is not dropped."""
        return await self._find(task_id) is not None

    async def _find(self, task_id: str) -> "Video | None":
        try:
            studio = await self._app.studio()
            video = await studio.find(task_id)
        except NotFound:
            return None
        except HailuoError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        return video if video.id == task_id and video.task_id else None
