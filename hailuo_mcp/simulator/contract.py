"""The API document as checks and answers: what each of the three calls accepts, and what it says.

Where the document is silent, the stricter reading is taken, so that a client that passes here sends nothing doubtful.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hailuo_mcp import rules
from hailuo_mcp.simulator.stills import BadFrame, Picture, read_frame

Call = Literal["submit", "query", "retrieve", "download", "other"]

PATHS: dict[str, Call] = {
    "/v1/video_generation": "submit",
    "/v1/query/video_generation": "query",
    "/v1/files/retrieve": "retrieve",
}
METHODS: dict[Call, tuple[str, ...]] = {
    "submit": ("POST",),
    "query": ("GET",),
    "retrieve": ("GET",),
    "download": ("GET", "HEAD"),
}
SENSITIVE = "[sensitive]"  # a prompt that holds this word is refused with 1026
FILENAME = "output_aigc.mp4"

_FIELDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "prompt": (str,),
    "first_frame_image": (str,),
    "last_frame_image": (str,),
    "duration": (int,),
    "resolution": (str,),
    "prompt_optimizer": (bool,),
    "aigc_watermark": (bool,),
}
_MESSAGES = {
    1004: "login fail: Please carry the API secret key in the 'Authorization' field of the request header",
    1008: "insufficient balance",
    1026: "input new_sensitive",
    1027: "output new_sensitive",
    2049: "invalid api key",
}
# What stands in a refusal besides `base_resp`: present and empty, so that only `base_resp` tells.
_EMPTY: dict[Call, dict[str, str]] = {"submit": {"task_id": ""}, "query": {"task_id": "", "status": "", "file_id": ""}}


class Refusal(Exception):
    """The API says no: a `base_resp` code, and its words."""

    def __init__(self, code: int, message: str = "") -> None:
        self.code = code
        self.message = f"invalid params, {message}" if code == 2013 else status_message(code, message)
        super().__init__(f"{code}: {self.message}")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: its body in memory, or a part of a file."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    file: Path | None = None
    span: range = range(0)

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.file is None else len(self.span)

    def with_headers(self, headers: Mapping[str, str]) -> "Answer":
        """The same answer with more headers; a name it already has is replaced."""
        return replace(self, headers=self.headers | {name.lower(): value for name, value in headers.items()})


@dataclass(frozen=True, slots=True)
class Order:
    """What a submit asks for: its payload, and its pictures made small."""

    payload: dict[str, Any]
    short_side: int
    first: Picture | None
    last: Picture | None

    @property
    def prompt(self) -> str:
        """The words."""
        return str(self.payload["prompt"])

    @property
    def duration(self) -> int:
        """Seconds."""
        return int(self.payload.get("duration", rules.DEFAULT_DURATION))

    @property
    def watermark(self) -> bool:
        """Whether the video says that it was generated."""
        return bool(self.payload.get("aigc_watermark", False))


def status_message(code: int, otherwise: str = "") -> str:
    """The API's own words for a code, where they are known."""
    return _MESSAGES.get(code, otherwise) or rules.API_CODES.get(code, rules.UNKNOWN_CODE).meaning


def json_answer(content: dict[str, Any], code: int = 0, message: str = "success") -> Answer:
    """HTTP 200 and JSON, whatever `base_resp` says."""
    answer = content | {"base_resp": {"status_code": code, "status_msg": message}}
    return Answer(200, {"content-type": "application/json; charset=utf-8"}, json.dumps(answer).encode())


def refused(call: Call, code: int, message: str) -> Answer:
    """The API's refusal of that call."""
    return json_answer(dict(_EMPTY.get(call, {})), code, message)


def read_key(headers: Mapping[str, str], keys: Collection[str]) -> str:
    """The key of `Authorization: Bearer ...`; raises Refusal 1004 without one, 2049 with an unknown one."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        raise Refusal(1004)
    if key not in keys:
        raise Refusal(2049)
    return key


def read_arguments(query: list[tuple[str, str]], names: tuple[str, ...]) -> list[str]:
    """The arguments of a query string, each exactly once and none besides; raises Refusal 2013."""
    given = dict(query)
    if wrong := [name for name in names if not given.get(name)]:
        raise Refusal(2013, f"{wrong[0]} is required")
    if len(query) != len(names):
        raise Refusal(2013, f"only {' and '.join(names)} may be given, once")
    return [given[name] for name in names]


def read_order(body: bytes, content_type: str, short_side: int | None) -> Order:
    """Judge the body of a submit; raises Refusal 2013 or 1026. Slow for large frames: call it in a thread."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(2013, "Content-Type must be application/json")
    payload = _parse(body)
    _check_fields(payload)
    resolution = payload.get("resolution", rules.DEFAULT_RESOLUTION)
    duration = payload.get("duration", rules.DEFAULT_DURATION)
    if problems := rules.request_problems(payload["prompt"], duration, resolution):
        raise Refusal(2013, "; ".join(problems))
    short_side = short_side or int(resolution.removesuffix("P"))
    first, last = (_frame(payload, f"{which}_frame_image", short_side) for which in ("first", "last"))
    if SENSITIVE in payload["prompt"].lower():
        raise Refusal(1026)
    return Order(payload, short_side, first, last)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refusal(2013, "the body is not JSON") from None
    if not isinstance(payload, dict):
        raise Refusal(2013, "the body is not a JSON object")
    return payload


def _check_fields(payload: dict[str, Any]) -> None:
    if unknown := sorted(payload.keys() - _FIELDS.keys()):
        raise Refusal(2013, f"unknown field {', '.join(unknown)!r}")
    for name in ("model", "prompt"):
        if name not in payload:
            raise Refusal(2013, f"{name} is required")
    for name, value in payload.items():
        if type(value) not in _FIELDS[name]:  # exact: True is no duration, 6.0 neither
            raise Refusal(2013, f"{name} must be {_FIELDS[name][0].__name__}")
    if payload["model"] != rules.MODEL:
        raise Refusal(2013, f"model must be {rules.MODEL}")


def _frame(payload: dict[str, Any], name: str, short_side: int) -> Picture | None:
    try:
        return read_frame(payload[name], short_side) if name in payload else None
    except BadFrame as problem:
        raise Refusal(2013, f"{name} {problem}") from None


def fingerprint(payload: dict[str, Any]) -> str:
    """Equal for equal requests, whatever the order and spacing of their JSON."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def submitted(task_id: str) -> Answer:
    """The answer to a submit that was accepted, and billed."""
    return json_answer({"task_id": task_id})


def progress(task_id: str, status: str, code: int = 0) -> Answer:
    """The answer to a query before success, or after failure."""
    message = "success" if code == 0 else status_message(code)
    return json_answer({"status": status, "file_id": "", "task_id": task_id}, code, message)


def success(task_id: str, file_id: str, size: tuple[int, int]) -> Answer:
    """The answer to a query of a finished video."""
    found = {"status": "Success", "file_id": file_id, "task_id": task_id}
    return json_answer(found | {"video_width": size[0], "video_height": size[1]})


def file_record(file_id: str, created_at: float, link: str) -> Answer:
    """The answer to a retrieve: here `file_id` is a number, and `bytes` is 0, as in the document."""
    record = {"file_id": int(file_id), "bytes": 0, "created_at": int(created_at), "filename": FILENAME}
    return json_answer({"file": record | {"purpose": "video_generation", "download_url": link}})
