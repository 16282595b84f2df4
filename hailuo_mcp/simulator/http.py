"""HTTP/1.1 on a socket, faults included: h11 speaks, and asyncio carries."""

import asyncio
import os
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote

import h11

from hailuo_mcp.simulator.contract import METHODS, PATHS, Answer, Call
from hailuo_mcp.simulator.faults import Fault, Faults, html_page
from hailuo_mcp.simulator.store import PREFIX

BODY_BYTES_MAX = 64_000_000  # two frames of 20 MB as data URLs are 54 MB
_DRAINED_BYTES_MAX = 4 * BODY_BYTES_MAX  # of a body that is too large, read on so that the client hears the 413
_PIECE_BYTES = 64 * 1024
_DRIPS_A_SECOND = 10


@dataclass(frozen=True, slots=True)
class Request:
    """One call as it arrived: names of headers in lower case, `size` the bytes of its body."""

    method: str
    path: str  # unquoted
    query: dict[str, str]
    call: Call
    at: float
    headers: dict[str, str] = field(repr=False)  # they hold the key
    size: int = 0
    arguments: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # the query with repeated names


@dataclass(slots=True)
class Service:
    """What a connection needs of the simulator: who answers, what goes wrong, and what time it is."""

    answer: Callable[[Request, bytes], Awaitable[Answer]]
    faults: Faults
    requests: list[Request]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    answering: int = 0  # calls that are being answered, those apart that are to take long


class Server:
    """The listening socket and its connections."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connections: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=4 * _PIECE_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close everything at once, hanging calls too."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # the transports close in the loop's next round
        self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: Python 3.11 reports the cancelling of its own as an error.
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                await _Connection(self._service, reader, writer).run()
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()


class _Connection:
    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)
        writer.transport.set_write_buffer_limits(high=_PIECE_BYTES)

    async def run(self) -> None:
        """Answer requests until one side closes."""
        try:
            while await self._exchange() and self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                page = html_page(error.error_status_hint, {"connection": "close"})
                await self._send(page, "GET", Fault())

    async def _exchange(self) -> bool:
        """One request and its answer; says whether the connection may go on."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return False
        request = _request(head, self._service.clock())
        fault = self._service.faults.take(request.call)
        if fault.drop == "before":
            self._service.requests.append(request)
            return self._close(fault)
        if fault.hang or fault.delay or fault.drip:
            return await self._answer(request, fault)
        self._service.answering += 1
        try:
            return await self._answer(request, fault)
        finally:
            self._service.answering -= 1

    async def _answer(self, request: Request, fault: Fault) -> bool:
        body, size = await self._body()
        request = replace(request, size=size)
        self._service.requests.append(request)
        if size > BODY_BYTES_MAX:
            await self._send(html_page(413, {"connection": "close"}), request.method, fault)
            return False
        return await self._reply(request, body, fault)

    async def _reply(self, request: Request, body: bytes, fault: Fault) -> bool:
        if fault.delay:
            await self._service.sleep(fault.delay)
        real = await self._service.answer(request, body) if fault.processes else None
        del body
        if fault.hang:
            await self._until_the_client_leaves()
        if fault.hang or fault.drop:
            return self._close(fault)
        return await self._send(fault.answer(request.call, real), request.method, fault)

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            self._http.receive_data(await self._reader.read(4 * _PIECE_BYTES))
        return event

    async def _body(self) -> tuple[bytes, int]:
        """The body, and how long it is; one that is too large is counted and thrown away."""
        body, size = bytearray(), 0
        while isinstance(event := await self._event(), h11.Data):
            size += len(event.data)
            if size > _DRAINED_BYTES_MAX:
                raise ConnectionAbortedError
            if size <= BODY_BYTES_MAX:
                body += event.data
        return bytes(body), size

    async def _until_the_client_leaves(self) -> None:
        while await self._reader.read(_PIECE_BYTES):
            pass

    async def _send(self, answer: Answer, method: str, fault: Fault) -> bool:
        """Send an answer as the fault spoils it; says whether it was sent whole."""
        headers = {"server": "simulator", "date": formatdate(usegmt=True), "trace-id": uuid.uuid4().hex}
        told = answer.length if fault.length is None else fault.length
        length = {"transfer-encoding": "chunked"} if fault.chunk else {"content-length": str(told)}
        response = h11.Response(status_code=answer.status, headers=list((headers | length | answer.headers).items()))
        await self._write(response)
        if method != "HEAD" and answer.status not in (204, 304):
            size = _PIECE_BYTES if fault.drip is None else max(1, int(fault.drip / _DRIPS_A_SECOND))
            for piece in _pieces(answer, size, fault.cut_at):
                if fault.length is None:
                    await self._write(h11.Data(data=piece))
                else:  # h11 would not send what its own header forbids
                    self._writer.write(piece)
                if fault.drip is not None:
                    await self._service.sleep(len(piece) / fault.drip)
            if fault.length is not None or (fault.cut_at is not None and fault.cut_at < answer.length):
                await self._writer.drain()
                return self._close(fault)
        await self._write(h11.EndOfMessage())
        return True

    def _close(self, fault: Fault) -> bool:
        """That the connection does not go on; it closes when its task ends, or here at once, as the fault wants it."""
        if fault.reset:
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        return False

    async def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()


def _request(head: h11.Request, at: float) -> Request:
    target, _, query = head.target.decode("latin-1").partition("?")
    path = unquote(target)
    call: Call = "download" if path.startswith(PREFIX) else PATHS.get(path, "other")
    arguments = tuple(parse_qsl(query, keep_blank_values=True))
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode(), path, dict(arguments), call, at, headers, arguments=arguments)


def wrong_method(request: Request) -> Answer | None:
    """405 for a path that has other methods, 404 for a path that does not exist."""
    if request.call == "other":
        return html_page(404)
    allowed = METHODS[request.call]
    return None if request.method in allowed else html_page(405, {"allow": ", ".join(allowed)})


def _pieces(answer: Answer, size: int, cut_at: int | None) -> Iterator[bytes]:
    stop = answer.length if cut_at is None else min(cut_at, answer.length)
    if answer.file is None:
        yield from (answer.body[at : min(at + size, stop)] for at in range(0, stop, size))
        return
    with answer.file.open("rb") as file:
        file.seek(answer.span.start)
        for at in range(0, stop, size):
            yield file.read(min(size, stop - at))
