"""Over HTTP: who may call, how much, and that no caller sees another's videos."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceUpdatedNotification
from world import KEY, Time, text

from hailuo_mcp import gate, hosting
from hailuo_mcp.errors import NotConfigured
from hailuo_mcp.gate import BODIES_BYTES_OF_ONE, BODY_BYTES_MAX, UNDER_WAY_MAX, Gate
from hailuo_mcp.settings import load_settings
from hailuo_mcp.simulator import Simulator

ANNA, BEN = "anna-0123456789abcdef", "ben-0123456789abcdef"
ERAS = ("auto", "legacy")
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass
class Hosted:
    """A server over HTTP in this process, with a clock of its own."""

    url: str
    simulator: Simulator
    time: Time
    folder: Path

    @asynccontextmanager
    async def client(
        self, token: str, era: str = "auto", hear: "asyncio.Queue[str] | None" = None
    ) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {token}"}

        async def handle(message: Any) -> None:
            if hear and isinstance(message, ResourceUpdatedNotification):
                await hear.put(str(message.params.uri))

        async with (
            httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=era, message_handler=handle) as client,
        ):
            yield client

    async def do(self, client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.call(client, tool, **arguments)
        assert not result.is_error, text(result)
        return dict(result.structured_content)

    async def call(self, client: Client, tool: str, **arguments: Any) -> Any:
        return await self.time.until(asyncio.ensure_future(client.call_tool(tool, arguments)))

    async def finished(self, client: Client, prompt: str) -> str:
        task = (await self.do(client, "generate_video", prompt=prompt))["task_id"]
        while (await self.do(client, "check_status", task_id=task, wait_seconds=50))["status"] != "Success":
            pass
        return str(task)


@asynccontextmanager
async def hosted(folder: Path, **given: Any) -> AsyncIterator[Hosted]:
    time = Time()
    simulator = Simulator(
        keys=(KEY,), generation_seconds=30, short_side=144, clock=time.clock, folder=folder / "simulator"
    )
    async with simulator:
        settings = load_settings(
            **{
                "api_key": KEY,
                "base_url": simulator.base_url,
                "output_dir": folder / "videos",
                "data_dir": folder / "data",
                "http_token": f"anna:{ANNA},ben:{BEN}",
            }
            | given
        )
        servers = hosting.build_servers(settings, "127.0.0.1", clock=time.clock, sleep=time.sleep)
        app = hosting.build_app(
            servers,
            "127.0.0.1",
            tokens=settings.http_callers(),
            names=settings.http_hosts,
            rate=settings.http_rate,
        )
        # It queues connections from here on, so nothing has to wait for the server.
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Hosted(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", simulator, time, folder)
        finally:
            server.should_exit = True
            await serving


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "video.example"])
def test_beyond_this_machine_it_does_not_start_without_a_token(host: str) -> None:
    with pytest.raises(NotConfigured, match="HAILUO_HTTP_TOKEN to a long random secret"):
        hosting.build_servers(load_settings(), host)
    assert hosting.build_servers(load_settings(http_token=ANNA), host).keys() == {""}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_a_token_is_a_choice(host: str) -> None:
    assert hosting.build_servers(load_settings(), host).keys() == {""}


@pytest.mark.parametrize(
    "token",
    [
        "short",
        f"{ANNA},{BEN}",
        f"anna:{ANNA},{BEN}",
        f"anna:{ANNA},ben:{ANNA}",
        f"anna:{ANNA},anna:{BEN}",
        f"../x:{ANNA}",
    ],
)
def test_a_token_that_is_weak_or_unclear_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(NotConfigured, match=r"HAILUO_HTTP_TOKEN: ") as refused:
        load_settings(http_token=token)
    assert ANNA not in str(refused.value)
    assert BEN not in str(refused.value)
    assert ANNA not in repr(load_settings(http_token=ANNA))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {ANNA}x"},
        {"Authorization": f"Bearer {ANNA[:-1]}"},
        {"Authorization": f"Basic {ANNA}"},
        {"Authorization": ANNA},
        {"Authorization": "Bearer anna"},
    ],
)
async def test_without_the_right_token_nothing_is_answered_but_its_health(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with hosted(tmp_path) as h, httpx.AsyncClient(trust_env=False) as http:
        for method in ("POST", "GET", "DELETE"):
            refused = await http.request(method, h.url, json=PING, headers=ACCEPT | headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "HAILUO_HTTP_TOKEN" in refused.text
        assert (await http.get(httpx.URL(h.url).join("/healthz"))).text == "ok"
        assert (await http.get(httpx.URL(h.url).join("/.well-known/oauth-protected-resource"))).status_code == 404


async def test_names_and_pages_that_were_not_set_are_refused(tmp_path: Path) -> None:
    right = ACCEPT | {"Authorization": f"Bearer {ANNA}"}
    statuses = {}
    async with hosted(tmp_path, http_hosts="video.example") as h, httpx.AsyncClient(trust_env=False) as http:
        for name, value in [
            ("Host", "evil.example"),
            ("Host", "127.0.0.1.evil.example"),
            ("Host", "video.example"),
            ("Host", "video.example:443"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://localhost:6274"),
            ("Origin", "https://video.example"),
        ]:
            statuses[value] = (await http.post(h.url, json=PING, headers=right | {name: value})).status_code
    assert statuses == {
        "evil.example": 421,
        "127.0.0.1.evil.example": 421,
        "video.example": 400,  # let through: a ping outside a session
        "video.example:443": 400,
        "https://evil.example": 403,
        "null": 403,
        "http://localhost:6274": 400,
        "https://video.example": 400,
    }


@pytest.mark.parametrize("era", ERAS)
async def test_a_caller_never_sees_anothers_videos(tmp_path: Path, era: str) -> None:
    async with hosted(tmp_path) as h, h.client(ANNA, era) as anna, h.client(BEN, era) as ben:
        task = await h.finished(anna, "anna's secret garden")
        link = await h.do(anna, "get_download_url", task_id=task)
        saved = await h.do(anna, "download_video", task_id=task, filename="garden")
        assert Path(saved["path"]).parent == tmp_path / "videos" / "caller-anna"
        asked = len(h.simulator.requests)

        reference = f"hailuo://videos/{task}/last-frame"
        for tool, arguments in [
            ("check_status", {"task_id": task}),
            ("check_status", {"task_id": task, "wait_seconds": 5}),
            ("get_download_url", {"task_id": task}),
            ("get_download_url", {"task_id": task, "file_id": link["file_id"]}),
            ("download_video", {"task_id": task}),
            ("view_video", {"task_id": task}),
            ("view_video", {"task_id": "garden.mp4"}),
            ("view_video", {"task_id": saved["path"]}),
            ("view_video", {"task_id": "../caller-anna/garden.mp4"}),
            ("check_frames", {"first_frame_image": reference}),
            ("check_frames", {"first_frame_image": "hailuo://videos/garden.mp4/last-frame"}),
        ]:
            said = await h.call(ben, tool, **arguments)
            told = text(said) + str(said.structured_content)
            assert said.is_error or said.structured_content["ok"] is False, (tool, told)
            assert "secret garden" not in told
        assert (await h.do(ben, "list_videos"))["videos"] == []
        assert (await h.do(ben, "check_status"))["under_way"] == []
        assert "garden" not in (await ben.read_resource("hailuo://videos")).contents[0].text
        for uri in (f"hailuo://videos/{task}", reference, f"hailuo://videos/{task}/frame/1"):
            with pytest.raises(MCPError):
                await ben.read_resource(uri)
        assert len(h.simulator.requests) == asked, "the API was not even asked"
        assert len((await h.do(anna, "list_videos"))["videos"]) == 1


async def test_a_caller_cannot_reach_anothers_file_through_a_task_of_their_own(tmp_path: Path) -> None:
    async with hosted(tmp_path) as h, h.client(ANNA) as anna, h.client(BEN) as ben:
        file = (await h.do(anna, "get_download_url", task_id=await h.finished(anna, "a garden")))["file_id"]
        own = await h.finished(ben, "a sea")
        refused = await h.call(ben, "get_download_url", task_id=own, file_id=file)
        assert refused.is_error
        assert f"File {file} is not that of task {own}" in text(refused)
        link = await h.do(ben, "get_download_url", task_id=own)
        assert await h.do(ben, "get_download_url", task_id=own, file_id=link["file_id"])


async def test_the_same_request_of_two_callers_is_two_videos(tmp_path: Path) -> None:
    async with hosted(tmp_path) as h, h.client(ANNA) as anna, h.client(BEN) as ben:
        tasks = [(await h.do(client, "generate_video", prompt="a sea"))["task_id"] for client in (anna, ben, anna)]
        assert tasks[0] == tasks[2] != tasks[1]
        assert len(h.simulator.ledger) == 2


async def test_the_days_limit_holds_for_all_callers_together(tmp_path: Path) -> None:
    async with hosted(tmp_path, max_videos_per_day=1) as h, h.client(ANNA) as anna, h.client(BEN) as ben:
        await h.do(anna, "generate_video", prompt="a sea")
        assert "limit of 1 videos" in text(await h.call(ben, "generate_video", prompt="a sea"))


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")  # it is how older clients subscribe
@pytest.mark.parametrize("era", ERAS)
async def test_changes_are_told_to_the_caller_alone(tmp_path: Path, era: str) -> None:
    heard: dict[str, asyncio.Queue[str]] = {ANNA: asyncio.Queue(), BEN: asyncio.Queue()}
    async with hosted(tmp_path) as h, AsyncExitStack() as stack:
        clients = {token: await stack.enter_async_context(h.client(token, era, hear=heard[token])) for token in heard}
        task = (await h.do(clients[ANNA], "generate_video", prompt="a sea"))["task_id"]
        uri = f"hailuo://videos/{task}"
        for token, client in clients.items():
            await subscribe(stack, client, uri, heard[token])
        while (await h.do(clients[ANNA], "check_status", task_id=task, wait_seconds=50))["status"] != "Success":
            pass
        assert await asyncio.wait_for(heard[ANNA].get(), 5) == uri
        await clients[BEN].list_tools()  # what was told before would be there by now
        assert heard[BEN].empty()


async def subscribe(stack: AsyncExitStack, client: Client, uri: str, heard: "asyncio.Queue[str]") -> None:
    """Subscribe in the way of the client's era."""
    if client.protocol_version < "2026":
        await client.subscribe_resource(uri)
        return
    subscription = await stack.enter_async_context(client.listen(resource_subscriptions=[uri]))

    async def listen() -> None:
        async for event in subscription:
            await heard.put(event.uri)

    stack.callback(asyncio.create_task(listen()).cancel)


async def test_a_session_of_another_caller_does_not_exist(tmp_path: Path) -> None:
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    async with hosted(tmp_path) as h, httpx.AsyncClient(trust_env=False, headers=ACCEPT) as http:
        anna, ben = ({"Authorization": f"Bearer {token}"} for token in (ANNA, BEN))
        session = {"Mcp-Session-Id": (await http.post(h.url, json=begin, headers=anna)).headers["mcp-session-id"]}
        assert (await http.post(h.url, json=PING, headers=anna | session)).status_code == 200
        for method in ("POST", "GET", "DELETE"):
            assert (await http.request(method, h.url, json=PING, headers=ben | session)).status_code == 404
        assert (await http.post(h.url, json=PING, headers=anna | session)).status_code == 200


async def test_who_calls_too_often_is_told_when_to_come_back_and_others_are_served(tmp_path: Path) -> None:
    async with hosted(tmp_path, http_rate=5) as h, httpx.AsyncClient(trust_env=False) as http:
        statuses = [
            (await http.post(h.url, json=PING, headers=ACCEPT | {"Authorization": f"Bearer {ANNA}"})).status_code
            for _ in range(6)
        ]
        assert statuses[-1] == 429
        assert 429 not in statuses[:5]
        late = await http.post(h.url, json=PING, headers={"Authorization": f"Bearer {ANNA}"})
        assert 1 <= int(late.headers["retry-after"]) <= 12
        other = await http.post(h.url, json=PING, headers=ACCEPT | {"Authorization": f"Bearer {BEN}"})
        assert other.status_code != 429
        guesses = [
            (await http.post(h.url, json=PING, headers={"Authorization": f"Bearer {number:020}"})).status_code
            for number in range(6)
        ]
        assert guesses == [401] * 5 + [429]


class Waiting:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def status(door: Gate, **headers: str) -> int:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await door({"type": "http", "headers": encoded, "client": ("127.0.0.1", 1)}, send, send)
    return int(said[0]["status"])


async def test_requests_and_bodies_under_way_are_bounded_for_each_caller() -> None:
    app = Waiting()
    door = Gate({"anna": app, "ben": app}, {"anna": ANNA, "ben": BEN})
    anna, ben = ({"authorization": f"Bearer {token}"} for token in (ANNA, BEN))
    running = [asyncio.create_task(status(door, **anna)) for _ in range(UNDER_WAY_MAX)]
    await asyncio.sleep(0)
    assert await status(door, **anna) == 503
    large = {"transfer_encoding": "chunked"}
    running += [asyncio.create_task(status(door, **ben, **large)) for _ in range(BODIES_BYTES_OF_ONE // BODY_BYTES_MAX)]
    await asyncio.sleep(0)
    assert await status(door, **ben, content_length="1") == 503
    running.append(asyncio.create_task(status(door, **ben)))
    await asyncio.sleep(0)
    app.go.set()
    assert await asyncio.gather(*running) == [200] * len(running)
    assert await status(door, **anna, content_length="1") == 200


async def test_no_caller_takes_the_room_for_bodies_from_the_others() -> None:
    app = Waiting()
    door = Gate({"anna": app, "ben": app}, {"anna": ANNA, "ben": BEN})
    anna, ben = ({"authorization": f"Bearer {token}", "transfer_encoding": "chunked"} for token in (ANNA, BEN))
    running = [asyncio.create_task(status(door, **anna)) for _ in range(BODIES_BYTES_OF_ONE // BODY_BYTES_MAX)]
    await asyncio.sleep(0)
    assert await status(door, **anna) == 503
    running.append(asyncio.create_task(status(door, **ben)))
    await asyncio.sleep(0)
    assert await status(door, **ben) == 503, "all of them together are bounded, too"
    app.go.set()
    assert await asyncio.gather(*running) == [200] * len(running)


async def test_a_body_that_is_there_takes_the_room_that_it_needs_however_it_was_announced() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message["status"])

    door = Gate({"anna": app, "ben": app}, {"anna": ANNA, "ben": BEN})
    headers = [(b"authorization", f"Bearer {ANNA}".encode()), (b"transfer-encoding", b"chunked")]
    calls = []
    for _ in range(20):
        calls.append(asyncio.create_task(door({"type": "http", "headers": headers}, receive, send)))
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*calls)
    assert said == [200] * 20


async def raw(url: str, sent: bytes) -> bytes:
    """What is answered to those bytes until the server closes the connection."""
    place = httpx.URL(url)
    reader, writer = await asyncio.open_connection(place.host, place.port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def post(url: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [
        "POST /mcp HTTP/1.1",
        f"Host: {httpx.URL(url).netloc.decode()}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_a_body_that_is_too_large_or_too_slow_is_refused_while_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BODY_SECONDS", 3)
    monkeypatch.setattr(gate, "BODY_BYTES_PER_SECOND", 10**9)
    token = f"Authorization: Bearer {ANNA}"
    async with hosted(tmp_path) as h:
        slow = [
            asyncio.create_task(raw(h.url, post(h.url, token, framing, body=begun)))
            for framing, begun in [
                ("Content-Length: 9000", b"{"),
                ("Content-Length: 9000", b""),
                ("Transfer-Encoding: chunked", b"1\r\n{\r\n"),
            ]
        ]
        # Headers that never end are no request yet.
        place = httpx.URL(h.url)
        half = [await asyncio.open_connection(place.host, place.port) for _ in range(50)]
        for _, writer in half:
            writer.write(b"POST /mcp HTTP/1.1\r\nHost: ")
        async with h.client(ANNA) as anna:
            assert await h.do(anna, "list_videos") is not None
        for answer in await asyncio.gather(*slow):
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert b"came too slowly" in answer
        large = await raw(h.url, post(h.url, token, f"Content-Length: {BODY_BYTES_MAX + 1}", "Connection: close"))
        assert large.startswith(b"HTTP/1.1 413 ")
        stranger = await raw(h.url, post(h.url, f"Content-Length: {BODY_BYTES_MAX}", "Connection: close"))
        assert stranger.startswith(b"HTTP/1.1 401 "), "nobody waits for a stranger's body"
        for _, writer in half:
            writer.close()
        async with h.client(ANNA) as anna:
            await h.do(anna, "list_videos")
