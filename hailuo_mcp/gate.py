"""Who may call over HTTP, and how much: a bearer token for each caller, a rate, and bounds on what is under way."""

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS_PER_MINUTE = 600  # of one caller
UNDER_WAY_MAX = 128  # requests of one caller at a time, open streams included
BODY_BYTES_MAX = 56_000_000  # two frames of 20 MB as data URLs: over HTTP a caller's files are out of reach
BODIES_BYTES_MAX = 4 * BODY_BYTES_MAX  # of all requests under way together
BODIES_BYTES_OF_ONE = 3 * BODY_BYTES_MAX  # of one caller: something is left for the others
BODY_SECONDS = 30.0  # in which a body must be there, and as much more as a slow line needs for a large one
BODY_BYTES_PER_SECOND = 20_000
_BUCKETS_MAX = 10_000


class Gate:
    """Lets a request through to its caller's application. Without tokens there is one caller, "", who may always."""

    def __init__(
        self,
        apps: Mapping[str, AsgiApp],
        tokens: Mapping[str, str],
        *,
        rate: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apps = apps
        self._digests = {name: _digest(token) for name, token in tokens.items()}
        self._rate = _Rate(rate or REQUESTS_PER_MINUTE, clock) if rate or tokens else None
        self._under_way: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 408, 429 or 503, or hand the request on."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        caller = self._caller(headers.get("authorization", "")) if self._digests else ""
        # Who has no token is known by address, so that guessing is slow; it takes nothing from those who have one.
        client = f"address {(scope.get('client') or ['?'])[0]}" if caller is None else f"caller {caller}"
        if self._rate and (wait := self._rate.wait(client)):
            return await _refuse(send, 429, "Too many requests; slow down.", {"retry-after": str(wait)})
        if caller is None:
            words = (
                "A token is needed: send 'Authorization: Bearer TOKEN' with a token of the server's HAILUO_HTTP_TOKEN."
            )
            return await _refuse(send, 401, words, {"www-authenticate": "Bearer"})
        size = _body_bytes(headers)
        if self._under_way[client] >= UNDER_WAY_MAX or (size and not self._has_room(client, size)):
            return await _refuse(send, 503, "Too much is under way; try again shortly.", {"retry-after": "2"})
        self._under_way[client] += 1
        self._bytes[client] += size

        def arrived(received: int) -> None:
            nonlocal size
            self._bytes[client] += received - size
            size = received

        try:
            await _run_in_time(self._apps[caller], scope, receive, send, size, arrived)
        finally:
            self._bytes[client] -= size
            self._under_way[client] -= 1
            if not self._under_way[client]:
                del self._under_way[client], self._bytes[client]

    def _has_room(self, client: str, size: int) -> bool:
        mine, all_of_them = self._bytes[client] + size, self._bytes.total() + size
        most = BODIES_BYTES_OF_ONE if len(self._apps) > 1 else BODIES_BYTES_MAX
        return mine <= most and all_of_them <= BODIES_BYTES_MAX

    def _caller(self, authorization: str) -> str | None:
        """Whose token it is. Every token is compared, whole, so that time tells nothing of any."""
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip())
        found = [name for name, known in self._digests.items() if hmac.compare_digest(digest, known)]
        return found[0] if found and scheme.lower() == "bearer" else None


class _Rate:
    """A bucket for each client, which holds a minute's requests and fills up again evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def wait(self, client: str) -> int:
        """Take one request; how many seconds to wait when there is none, otherwise 0."""
        now = self._clock()
        if client not in self._buckets and len(self._buckets) >= _BUCKETS_MAX:
            self._buckets = {name: (left, at) for name, (left, at) in self._buckets.items() if now - at < 60}
        left, at = self._buckets.get(client, (self._most, now))
        left = min(self._most, left + max(0.0, now - at) * self._most / 60)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else max(1, round((1 - left) * 60 / self._most))


async def _run_in_time(
    app: AsgiApp, scope: Scope, receive: Receive, send: Send, size: int, arrived: Callable[[int], None]
) -> None:
    """Run an application; who drips a body keeps its place and its memory for a while and no longer.

    `arrived` hears how large a body of `size` bytes at most turned out to be, once it is there.
    """
    patience = asyncio.timeout(BODY_SECONDS + size / BODY_BYTES_PER_SECOND if size else None)
    received = 0

    async def watched_receive() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if not message.get("more_body", False):
                patience.reschedule(None)
                arrived(received)
        return message

    async def watched_send(message: MutableMapping[str, Any]) -> None:
        patience.reschedule(None)
        await send(message)

    try:
        async with patience:
            await app(scope, watched_receive, watched_send)
    except TimeoutError:
        if not patience.expired():
            raise
        await _refuse(send, 408, "The request's body came too slowly.", {"connection": "close"})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _body_bytes(headers: Mapping[str, str]) -> int:
    """How large the body may become: what is declared, or the most where nothing is."""
    declared = headers.get("content-length", "")
    if declared.isdecimal():
        return min(int(declared), BODY_BYTES_MAX)
    return BODY_BYTES_MAX if "transfer-encoding" in headers else 0


async def _refuse(send: Send, status: int, words: str, headers: Mapping[str, str]) -> None:
    body = words.encode()
    facts = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in facts.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
