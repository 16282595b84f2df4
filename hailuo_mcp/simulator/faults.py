"""What may go wrong on the way, on demand: each fault is consumed by the next call of its kind."""

import json
from dataclasses import dataclass, field, replace
from http.client import responses
from typing import Literal

from hailuo_mcp.rules import API_CODES, UNKNOWN_CODE
from hailuo_mcp.simulator.contract import Answer, Call, refused, status_message

# The HTTP status under which a gateway hands on an API code, unless the fault names one.
_GATEWAY_STATUS = {1002: 429, 1004: 401, 1008: 403, 1039: 429, 1041: 429, 2013: 400, 2045: 429, 2049: 401, 2061: 403}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong in one call.

    `delay`, `headers`, `cut_at`, `length`, `drip` and `chunk` spoil the real answer, so the call is processed.
    `status`, `body`, `code`, `gateway`, `redirect` and `hang` stand in for the answer: then the call is processed (a
    submit is billed) only if `billed`. `drop="before"` is never processed, `drop="after"` always.
    """

    delay: float = 0  # seconds before the call is processed; a client that leaves meanwhile is billed all the same
    hang: bool = False  # no answer, until the client leaves or the simulator stops
    drop: Literal["before", "after"] | None = None  # close before reading the body, or after processing
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # added to whatever answer is sent
    body: bytes | str | None = None
    content_type: str = "text/html; charset=utf-8"  # of `body`
    code: int | None = None  # `base_resp.status_code`
    message: str | None = None  # instead of the usual words of `code`
    gateway: bool = False  # the code in a gateway's dress: {"error": {...}} and an HTTP error status
    redirect: str | None = None  # Location, with 302 or `status`
    cut_at: int | None = None  # close after that many bytes of the body, the content-length being right
    length: int | None = None  # the content-length, whatever the body's is; the connection closes after the body
    reset: bool = False  # where the connection closes: at once, with RST
    drip: float | None = None  # bytes of the body a second
    chunk: bool = False  # chunked transfer encoding, no content-length
    billed: bool = False

    @property
    def processes(self) -> bool:
        """Whether the call takes effect although something goes wrong."""
        return self.billed or self.drop == "after" or not (self.hang or self.drop == "before" or self._stands_in)

    @property
    def _stands_in(self) -> bool:
        own = (self.status, self.body, self.code, self.redirect)
        return self.gateway or any(value is not None for value in own)

    def answer(self, call: Call, real: Answer | None) -> Answer:
        """What the client gets: the real answer, or this fault's own in its place."""
        answer = self._own(call) if real is None or self._stands_in else real
        return answer.with_headers(self.headers)

    def _own(self, call: Call) -> Answer:
        if self.redirect is not None:
            return Answer(self.status or 302, {"location": self.redirect})
        if self.body is not None:
            body = self.body.encode() if isinstance(self.body, str) else self.body
            return Answer(self.status or 200, {"content-type": self.content_type}, body)
        if self.gateway:
            return self._gateway()
        if self.code is not None:
            return replace(refused(call, self.code, self._words(self.code)), status=self.status or 200)
        return html_page(self.status or 500)

    def _gateway(self) -> Answer:
        status = self.status or _GATEWAY_STATUS.get(self.code or 0, 500)
        words = self._words(self.code) if self.code else self.message or responses.get(status, "")
        error = {"message": words, "type": "rix_api_error", "code": self.code or ""}
        return Answer(status, {"content-type": "application/json"}, json.dumps({"error": error}).encode())

    def _words(self, code: int) -> str:
        return self.message or status_message(code, API_CODES.get(code, UNKNOWN_CODE).meaning)


def html_page(status: int, headers: dict[str, str] | None = None) -> Answer:
    """The page of a proxy that has nothing else to say."""
    title = f"{status} {responses.get(status, '')}"
    page = f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>\r\n"
    return Answer(status, {"content-type": "text/html; charset=utf-8"} | (headers or {}), page.encode())


@dataclass(slots=True)
class Faults:
    """The faults that wait for each kind of call, first in first out."""

    submit: list[Fault] = field(default_factory=list)
    query: list[Fault] = field(default_factory=list)
    retrieve: list[Fault] = field(default_factory=list)
    download: list[Fault] = field(default_factory=list)

    def take(self, call: Call) -> Fault:
        """The next fault of that call; a fault in which nothing goes wrong when none waits."""
        waiting: list[Fault] = getattr(self, call, [])
        return waiting.pop(0) if waiting else Fault()
