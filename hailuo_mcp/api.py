"""The upstream API: three calls and the download, as frozen records. Knows nothing of MCP.

Source: DMXAPI's document of the first/last-frame API; the error dresses and odd answers come from field reports
of the same API family.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import stamina

from hailuo_mcp import handles
from hailuo_mcp.answers import Answer, expiry, failure, id_of, pixels, text
from hailuo_mcp.connections import CONNECT_SECONDS, Connections
from hailuo_mcp.errors import ApiRefused, ApiUnavailable, HailuoError, NotFound, Unconfirmed
from hailuo_mcp.rules import Status
from hailuo_mcp.submission import RequestBody, Submission

STALL_SECONDS = 30.0  # a download that brings nothing for so long is broken off; it can be resumed
READ_ATTEMPTS = 4
RETRY_AFTER_MAX = 10.0  # seconds; a longer wish is passed on to the person instead of waited out
RANGE_NOT_SATISFIABLE = 416  # what is here of an earlier try does not fit the file
INVALID_PARAMETERS = 2013  # what the API says to an id that it does not know
ANSWER_BYTES_MAX = 1_000_000

_SUBMIT, _QUERY, _RETRIEVE = "/v1/video_generation", "/v1/query/video_generation", "/v1/files/retrieve"
# Nothing of the request has reached the API when one of these is raised.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What the status query said. `upstream_status` is its own, finer word."""

    task_id: str
    status: Status
    upstream_status: str
    file_id: str | None = None
    video_width: int | None = None  # pixels
    video_height: int | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class VideoLink:
    """A finished file. `expires_at` (epoch seconds) is read from the signed link; None when it tells none."""

    file_id: str
    download_url: str
    filename: str
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Download:
    """An open download. `start` is 0 when the server sends the file from its beginning."""

    start: int
    total: int | None  # bytes of the whole file
    pieces: AsyncIterator[bytes]


class HailuoApi:
    """The API at one base URL. `key` gives the key, or raises NotConfigured when there is none."""

    def __init__(
        self, base_url: str, key: Callable[[], str], *, submit_seconds: float = 180.0, read_seconds: float = 30.0
    ) -> None:
        self._base_url = base_url
        self.key = key
        self._submit_seconds = submit_seconds
        self._read_seconds = read_seconds
        self._connections = Connections(read_seconds)

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()

    async def knock(self) -> str | None:
        """Ask the host for its front page, without the key; returns its Date header. Raises ApiUnavailable."""
        try:
            async with self._connections.stream("GET", self._base_url + "/") as response:
                return text(response.headers.get("Date"))
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"{self._base_url} could not be reached ({_name(error)}): {error}") from error

    async def submit(self, submission: Submission) -> str:
        """Ask for a video and pay for it: sent once, never again. Returns the task id.

        Raises ApiRefused or ApiUnavailable when it is certain that nothing was paid, otherwise Unconfirmed.
        """
        body = RequestBody(submission)
        headers = {"Content-Type": "application/json", "Content-Length": str(body.length)}
        try:
            async with asyncio.timeout(self._submit_seconds):
                # Connecting ends first: a host that cannot be reached is not an outcome that is not known.
                timeout = httpx.Timeout(self._submit_seconds, connect=min(CONNECT_SECONDS, self._submit_seconds / 2))
                answer = await self._call("POST", _SUBMIT, content=body, headers=headers, timeout=timeout)
        except _NOT_SENT as error:
            raise ApiUnavailable(
                f"The API at {self._base_url} could not be reached ({_name(error)}); nothing was sent."
            ) from error
        except (httpx.HTTPError, TimeoutError) as error:
            if not body.whole:
                raise ApiUnavailable(
                    f"The request was cut off before its end was sent ({_name(error)}), so nothing was paid. Try "
                    "again; on a slow line with smaller pictures, or with a longer HAILUO_SUBMIT_TIMEOUT."
                ) from error
            raise Unconfirmed(f"no answer came back ({_name(error)})") from error
        task_id = id_of(answer.fields.get("task_id"))
        try:
            answer.data()
        except (ApiRefused, ApiUnavailable) as error:
            # An "unclear" code or a 5xx to a read is harmless; to a submit it may hide a paid video.
            if task_id or answer.may_have_been_paid():
                raise Unconfirmed(error.fact + (f", but it named task {task_id}" if task_id else "")) from error
            error.args = (f"{error} Nothing was paid.",)
            raise
        if not task_id:
            raise Unconfirmed(f"the answer holds no task_id{answer.said()}")
        return task_id

    async def query(self, task_id: str) -> TaskStatus:
        """Where a task stands."""
        answer = await self._read_of(task_id, _QUERY, {"task_id": task_id})
        failed = answer.is_failed_task
        data = answer.fields if failed else answer.data()
        word = text(data.get("status"))
        if not word:
            raise ApiUnavailable(f"The API's answer about task {task_id} holds no status{answer.said()}; ask again.")
        status: Status = "Failed" if failed else "Success" if word.lower() == "success" else "Processing"
        return TaskStatus(
            task_id,
            status,
            " ".join(word.split())[:80],
            id_of(data.get("file_id")),
            pixels(data.get("video_width")),
            pixels(data.get("video_height")),
            failure(data) if failed else None,
        )

    async def retrieve(self, task_id: str, file_id: str) -> VideoLink:
        """A fresh download link of a finished file."""
        answer = await self._read_of(task_id, _RETRIEVE, {"file_id": file_id, "task_id": task_id})
        file = answer.data().get("file")
        url = text(file.get("download_url")) if isinstance(file, dict) else None
        if not isinstance(file, dict) or not url or not _is_link(url):
            raise ApiUnavailable(
                f"The API's answer about file {file_id} holds no download link{answer.said()}; ask again."
            )
        return VideoLink(
            id_of(file.get("file_id")) or file_id, _secure(url), text(file.get("filename")) or "video.mp4", expiry(url)
        )

    @asynccontextmanager
    async def download(self, url: str, start: int = 0) -> AsyncIterator[Download]:
        """Open a download, from byte `start` when the server can; raises ApiRefused when the link has expired.

        Raises ApiUnavailable, also while reading, when the connection breaks.
        """
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        timeout = httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self._connections.stream(
                "GET", url, headers=headers, timeout=timeout, follow_redirects=True
            ) as response:
                if response.status_code not in (200, 206):
                    raise _download_refused(response.status_code)
                resumed = start if response.status_code == 206 else 0
                place = f"bytes {start}-"
                if response.status_code == 206 and not response.headers.get("Content-Range", place).startswith(place):
                    raise ApiRefused("The download did not go on where it had stopped.", RANGE_NOT_SATISFIABLE)
                length = response.headers.get("Content-Length", "")
                total = resumed + int(length) if length.isdecimal() else None
                yield Download(resumed, total, response.aiter_raw())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiUnavailable(f"The download broke off ({_name(error)}).") from error

    async def _read_of(self, task_id: str, path: str, params: dict[str, str]) -> Answer:
        try:
            return await self._read(path, params)
        except ApiRefused as error:
            if error.code != INVALID_PARAMETERS:
                raise
            raise NotFound(
                f"The API knows no such task or file of task {task_id} for this key ({error.fact}). Check the number; "
                "a task belongs to the key and the host that submitted it."
            ) from error

    async def _read(self, path: str, params: dict[str, str]) -> Answer:
        """One read, repeated a few times when the failure may pass."""
        trouble: ApiUnavailable | None = None
        try:
            async with asyncio.timeout(self._read_seconds):
                async for attempt in stamina.retry_context(
                    on=_again, attempts=READ_ATTEMPTS, timeout=self._read_seconds, wait_initial=0.3
                ):
                    with attempt:
                        try:
                            return await self._read_once(path, params)
                        except ApiUnavailable as error:
                            trouble = error
                            raise
        except TimeoutError as error:
            raise trouble or ApiUnavailable(
                f"The API did not answer within {self._read_seconds:g} s; ask again in a minute."
            ) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _read_once(self, path: str, params: dict[str, str]) -> Answer:
        try:
            answer = await self._call("GET", f"{path}?{urlencode(params)}")
        except httpx.HTTPError as error:
            raise ApiUnavailable(
                f"The API at {self._base_url} could not be reached ({_name(error)}); ask again in a minute."
            ) from error
        if not answer.is_failed_task:
            answer.data()
        return answer

    async def _call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> Answer:
        key = self.key()
        headers = {"Authorization": f"Bearer {key}"} | (headers or {})
        url = httpx.URL(self._base_url + path)  # else httpx reads the text once more for each of its layers
        async with self._connections.stream(method, url, headers=headers, **request) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > ANSWER_BYTES_MAX:
                    break
            return Answer(response.status_code, response.headers, bytes(body), key)


def _again(error: Exception) -> bool | float:
    """Whether a read is asked again, and after how many seconds when the API says so."""
    if not isinstance(error, ApiUnavailable):
        return False
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= RETRY_AFTER_MAX else False
    return True


def _is_link(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
        )
    except ValueError:
        return False


def _secure(url: str) -> str:
    """The link over https, which some object stores insist on; this machine's own links stay as they are."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return url if parts.scheme != "http" or local or parts.port else "https" + url[4:]


def _download_refused(status: int) -> HailuoError:
    if status in (401, 403, 404, 410, 416):
        return ApiRefused(f"The download link is no longer valid (HTTP {status}).", status)
    return ApiUnavailable(f"The download was refused for now (HTTP {status}).")


def _name(error: Exception) -> str:
    """An exception in words, without addresses or secrets."""
    if isinstance(error, httpx.ConnectError) and handles.used_up():
        return handles.USED_UP
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
    return "timed out" if isinstance(error, TimeoutError) else words
