"""A video as an MCP task: for clients that declare the extension, and for nobody else."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import mcp_types as wire
import pytest
from conformance_server import build
from mcp import Client, MCPError
from mcp.client import ClaimContext, ClientExtension, ResultClaim
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import TypeAdapter
from world import World, text, world

from hailuo_mcp.server import build_server
from hailuo_mcp.simulator import Fault
from hailuo_mcp.surface.tasks import TASKS


class Handle(wire.Result):
    """What the call of a tool answers with when it becomes a task."""

    result_type: Literal["task"]
    task_id: str
    status: str
    status_message: str = ""
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int


class Ask(wire.Request[dict[str, Any], str]):
    name_param = "taskId"


class Declared(ClientExtension):
    """A host that knows tasks: it asks after the poll interval until the task has ended."""

    identifier = TASKS

    def __init__(self, w: World | None = None) -> None:
        self._w = w

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Handle, resolve=self._resolve)]

    async def _resolve(self, handle: Handle, ctx: ClaimContext) -> wire.CallToolResult:
        assert self._w
        task = await ask(ctx.session, "tasks/get", handle.task_id)
        while task["status"] == "working":
            await self._w.time.advance(task["pollIntervalMs"] / 1000)
            task = await ask(ctx.session, "tasks/get", handle.task_id)
        return wire.CallToolResult.model_validate(task["result"])


async def ask(session: Any, method: str, task_id: str, **answers: Any) -> dict[str, Any]:
    more = {"inputResponses": answers} if method == "tasks/update" else {}
    request = Ask(method=method, params={"taskId": task_id, **more})
    answer: dict[str, Any] = await session.send_request(request, TypeAdapter(dict[str, Any]))
    return {name: value for name, value in answer.items() if name != "_meta"}


async def start(client: Client, tool: str = "generate_video", **arguments: Any) -> Handle:
    """The handle of a call that becomes a task."""
    handle = await client.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(handle, Handle), handle
    return handle


async def ended(client: Client, task_id: str, but: str = "working") -> dict[str, Any]:
    """The task once its status is another one, by the machine's own time."""
    while (task := await ask(client.session, "tasks/get", task_id))["status"] == but:
        pass
    return task


@asynccontextmanager
async def window(w: World) -> AsyncIterator[Client]:
    """Another server on the same journal, with a host that knows tasks."""
    server = build_server(w.settings, clock=w.time.clock, sleep=w.time.sleep)
    async with Client(server, extensions=[Declared(w)]) as client:
        yield client


async def test_who_declares_tasks_gets_one_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, poll_interval=7) as w, window(w) as client:
        assert client.server_capabilities.extensions[TASKS] == {}
        handle = await start(client, prompt="a sea")
        (bill,) = w.simulator.ledger
        assert (handle.status, handle.ttl_ms, handle.poll_interval_ms) == ("working", None, 7000)
        assert handle.created_at == handle.last_updated_at == "2027-01-15T08:00:00Z"
        assert f"Submitted and paid for: task {bill.task_id}." in handle.status_message
        assert len(handle.task_id) >= 22  # 128 random bits
        assert bill.task_id not in handle.task_id


async def test_a_finished_task_holds_what_the_tool_would_have_said(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        working = await ask(client.session, "tasks/get", handle.task_id)
        assert (working["resultType"], working["status"], "result" in working) == ("complete", "working", False)
        await w.simulator.rendered()
        await w.time.advance(60)
        done = await ask(client.session, "tasks/get", handle.task_id)
        (bill,) = w.simulator.ledger
        assert (done["resultType"], done["status"], done["taskId"]) == ("complete", "completed", handle.task_id)
        assert done["lastUpdatedAt"] == "2027-01-15T08:01:00Z"
        result = wire.CallToolResult.model_validate(done["result"])
        assert text(result).startswith(f"Task {bill.task_id} is finished, 256x144. Next: download_video")
        assert result.structured_content == {
            "task_id": bill.task_id,
            "status": "Success",
            "prompt": "a sea",
            "already_submitted": False,
            "warnings": [],
            "file_id": (await w.do("check_status", task_id=bill.task_id))["file_id"],
        }


async def test_a_host_that_knows_tasks_just_calls_the_tool(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        result = await client.call_tool("generate_video", {"prompt": "a sea"})
        assert result.structured_content is not None
        assert result.structured_content["status"] == "Success"


async def test_a_failed_video_is_a_completed_task_with_a_tool_error(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        w.simulator.script([("Failed", 1027)])
        handle = await start(client, prompt="a sea")
        await w.time.advance(60)
        task = await ask(client.session, "tasks/get", handle.task_id)
        assert (task["status"], task["result"]["isError"]) == ("completed", True)
        assert task["result"]["structuredContent"]["status"] == "Failed"
        assert "failed: " in task["result"]["content"][0]["text"]


async def test_the_api_is_asked_no_more_often_than_the_poll_interval(tmp_path: Path) -> None:
    async with world(tmp_path, poll_interval=10) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        for _ in range(20):
            await ask(client.session, "tasks/get", handle.task_id)
            await w.time.advance(1)
        assert w.calls("query") == 2


async def test_a_task_outlives_the_server(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        async with window(w) as client:
            handle = await start(client, prompt="a sea")
        await w.simulator.rendered()
        await w.time.advance(60)
        async with window(w) as client:
            task = await ask(client.session, "tasks/get", handle.task_id)
        assert (task["status"], task["createdAt"]) == ("completed", handle.created_at)
        assert task["result"]["structuredContent"]["status"] == "Success"


async def test_an_api_that_does_not_answer_leaves_the_task_working(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        await w.time.advance(60)
        w.simulator.faults.query += [Fault(status=503)] * 10
        task = await ask(client.session, "tasks/get", handle.task_id)
        assert task["status"] == "working"
        assert "The API could not be asked just now" in task["statusMessage"]


async def test_a_refused_request_is_no_task(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        result = await client.session.call_tool(
            "generate_video", {"prompt": "a sea", "resolution": "1080P", "duration": 10}, allow_claimed=True
        )
        assert isinstance(result, wire.CallToolResult)
        assert result.is_error
        assert w.simulator.ledger == []


async def test_other_tools_are_no_tasks(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        result = await client.session.call_tool("list_videos", {}, allow_claimed=True)
        assert isinstance(result, wire.CallToolResult)


async def test_cancel_is_acknowledged_but_what_is_paid_for_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        assert await ask(client.session, "tasks/cancel", handle.task_id) == {"resultType": "complete"}
        task = await ask(client.session, "tasks/get", handle.task_id)
        assert task["status"] == "working"
        assert "cannot be cancelled" in task["statusMessage"]
        await w.simulator.rendered()
        await w.time.advance(60)
        assert (await ask(client.session, "tasks/get", handle.task_id))["status"] == "completed"
        assert await ask(client.session, "tasks/cancel", handle.task_id) == {"resultType": "complete"}


async def test_answers_that_nobody_asked_for_are_ignored(tmp_path: Path) -> None:
    async with world(tmp_path) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        answer = await ask(client.session, "tasks/update", handle.task_id, name={"action": "accept"})
        assert answer == {"resultType": "complete"}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_task_is_known_by_its_own_id_only(tmp_path: Path, method: str) -> None:
    async with world(tmp_path) as w, window(w) as client:
        await start(client, prompt="a sea")
        for task_id in ("nothing", "", w.simulator.ledger[0].task_id):
            with pytest.raises(MCPError) as refused:
                await ask(client.session, method, task_id)
            assert refused.value.code == wire.INVALID_PARAMS


@pytest.mark.parametrize(("era", "code"), [("auto", -32021), ("legacy", wire.METHOD_NOT_FOUND)])
async def test_who_does_not_declare_tasks_notices_nothing(tmp_path: Path, era: str, code: int) -> None:
    async with world(tmp_path, era=era) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        made = await w.do("generate_video", prompt="a lake")
        assert (made["status"], made["already_submitted"]) == ("Processing", False)
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            with pytest.raises(MCPError) as refused:
                await ask(w.client.session, method, handle.task_id)
            assert refused.value.code == code


@pytest.mark.parametrize(("name", "status"), [("{}", 200), ("another", 400), (None, 400)])
async def test_over_http_the_header_names_the_task(tmp_path: Path, name: str | None, status: int) -> None:
    async with world(tmp_path) as w, window(w) as client:
        handle = await start(client, prompt="a sea")
        server = build_server(w.settings, "streamable-http", clock=w.time.clock, sleep=w.time.sleep)
        app = server.streamable_http_app(host="127.0.0.1")
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": LATEST_MODERN_VERSION,
            "Mcp-Method": "tasks/get",
        } | ({"Mcp-Name": name.format(handle.task_id)} if name else {})
        meta = {
            "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": handle.task_id, "_meta": meta}}
        async with (
            server.session_manager.run(),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as http,
        ):
            response = await http.post("/mcp", json=body, headers=headers)
        assert response.status_code == status
        assert ("-32020" in response.text) is (status == 400)
        assert ('"working"' in response.text) is (status == 200)


async def test_a_store_may_ask_and_cancel() -> None:
    async with Client(build(), extensions=[Declared()]) as client:
        asking = await start(client, "confirm_delete", filename="a.txt")
        task = await ended(client, asking.task_id)
        assert (task["status"], list(task["inputRequests"])) == ("input_required", ["confirm"])
        await ask(client.session, "tasks/update", asking.task_id, confirm={"action": "accept"})
        assert (await ended(client, asking.task_id, "input_required"))["status"] == "completed"
        slow = await start(client, "slow_compute", seconds=3600)
        await ask(client.session, "tasks/cancel", slow.task_id)
        assert (await ended(client, slow.task_id))["status"] == "cancelled"
