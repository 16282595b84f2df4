"""Reading the upstream API's answers, whatever dress they come in: codes, gateway errors, HTML, wrapped JSON."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hailuo_mcp.errors import ApiRefused, ApiUnavailable, HailuoError
from hailuo_mcp.plain import plain, quoted
from hailuo_mcp.redaction import redacted
from hailuo_mcp.rules import API_CODES, UNKNOWN_CODE, ApiCode

RETRY_AFTER_MAX = 3600.0  # seconds; nobody is told to come back next year
# Answers to a POST that may stand for "done, look there", as well as for "not here".
_ELSEWHERE = (302, 303)


class Answer:
    """An answer in whatever dress it came."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, key: str) -> None:
        self.status = status
        self.retry_after = _retry_after(headers.get("Retry-After"))
        # Should a gateway repeat the key, in whichever field or header: it goes no further than here.
        trace = _without(key, headers.get("Trace-Id", ""))
        self.trace = f" (Trace-Id {plain(trace)[:80]})" if trace else ""
        try:
            parsed = _without(key, json.loads(body))
        except (ValueError, RecursionError):  # not JSON, not even text, or nested to break parsers
            parsed = None
        self._body: dict[str, Any] | None = _unwrapped(parsed) if isinstance(parsed, dict) else None

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object as it came, errors included, or an empty one."""
        return self._body or {}

    @property
    def is_failed_task(self) -> bool:
        """Whether it tells of a task that failed; its code is then the reason, not a failure of the query."""
        # Under an error of HTTP, "fail" is what some gateways call the query itself.
        return self.status < 300 and (text(self.fields.get("status")) or "").lower().startswith("fail")

    def data(self) -> dict[str, Any]:
        """The answer's fields; raises ApiRefused or ApiUnavailable, the latter also for what is no answer at all."""
        code = self._code()
        if code is not None:
            self._raise_code(code)
        if 300 <= self.status < 500:
            raise self._refusal()
        if self.status < 300 and self._body is not None:
            return self._body
        fact = f"The API answered with HTTP {self.status}{self.said()}"
        if self.status < 300:
            fact = f"The API's answer (HTTP {self.status}) is not the JSON it should be{self.trace}"
        raise ApiUnavailable(f"{fact}; ask again in a minute.", retry_after=self.retry_after, fact=fact)

    def may_have_been_paid(self) -> bool:
        """Whether a submit with this answer may have been carried out."""
        code = self._code()
        if code is not None:
            return API_CODES.get(code, UNKNOWN_CODE).kind == "unclear"
        return self.status >= 500 or self.status == 408 or self.status < 300 or self.status in _ELSEWHERE

    def _code(self) -> int | None:
        """The API's own error code, None when there is none."""
        base = self.fields.get("base_resp")
        code = base.get("status_code") if isinstance(base, dict) else None
        if isinstance(code, str) and re.fullmatch(r"-?[0-9]{1,9}", code.strip()):
            code = int(code)
        return code if isinstance(code, int) and not isinstance(code, bool) and code != 0 else None

    def _raise_code(self, number: int) -> None:
        code: ApiCode = API_CODES.get(number, UNKNOWN_CODE)
        fact = f"The API answered {number}, {code.meaning}{self.said(code.meaning)}"
        if code.kind == "refused":
            raise ApiRefused(f"{fact}. {code.remedy}", number, fact=fact)
        raise ApiUnavailable(f"{fact}. {code.remedy}", number, self.retry_after, fact=fact)

    def _refusal(self) -> HailuoError:
        said = self.said()
        if self.status == 429:
            return ApiUnavailable(
                f"The API answered HTTP 429, too many requests{said}. {API_CODES[1002].remedy}", 1002, self.retry_after
            )
        if self.status == 408:
            return ApiUnavailable(f"The API answered HTTP 408, request timed out{said}.")
        remedy = {
            401: API_CODES[2049].remedy,
            402: API_CODES[1008].remedy,
            403: "The key has no quota left or may not use this model; check the account.",
            413: "The pictures are too large for the API's gateway; use smaller ones.",
        }.get(self.status, "Check HAILUO_BASE_URL and the request.")
        return ApiRefused(f"The API refused with HTTP {self.status}{said}. {remedy}", self.status)

    def said(self, meaning: str = "") -> str:
        """The API's own words, where they say more than `meaning`; cut short, and without the key."""
        base, error = self.fields.get("base_resp"), self.fields.get("error")
        later = f" (it asks to wait {self.retry_after:.0f} s)" if self.retry_after else ""
        words = (base.get("status_msg") if isinstance(base, dict) else None) or (
            error.get("message") if isinstance(error, dict) else error
        )
        said = redacted(text(words or self.fields.get("message")) or "")
        return (f": {quoted(said)}" if said.lower() not in ("", meaning.lower()) else "") + later + self.trace


def failure(data: dict[str, Any]) -> str:
    """Why a task failed, in a sentence, from the answer that says so."""
    base = data.get("base_resp")
    number = base.get("status_code") if isinstance(base, dict) else None
    known = API_CODES.get(number) if isinstance(number, int) else None
    said = text(base.get("status_msg")) if isinstance(base, dict) and number else None
    words = text(data.get("fail_reason")) or text(data.get("error_message")) or said
    reason = quoted(redacted(words)) if words else ""
    if known:
        return f"{known.meaning} ({number}{f': {reason}' if reason else ''}). {known.remedy}"
    if reason:
        return f"the API says {reason}. Change the prompt or the frames before trying again."
    return "The API gave no reason. Change the prompt or the frames before trying again."


def _unwrapped(body: dict[str, Any]) -> dict[str, Any]:
    """The answer itself: gateways put it into `data`, once or twice."""
    merged = body
    inner = body.get("data")
    for _ in range(2):
        if not isinstance(inner, dict):
            break
        merged = merged | {name: value for name, value in inner.items() if name != "data"}
        inner = inner.get("data")
    file = merged.get("file")
    if isinstance(file, dict) and not merged.get("file_id"):
        merged = merged | {"file_id": file.get("file_id")}
    return merged


def text(value: Any) -> str | None:
    """An id or a word as text: the API gives ids as strings in one answer and as numbers in another."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    # JSON can hold half of a surrogate pair, which no UTF-8 can.
    return str(value).encode("utf-8", "replace").decode().strip() or None


def id_of(value: Any) -> str | None:
    """The id of a task or a file; None for what can be none."""
    word = text(value)
    return word if word and len(word) <= 128 and word.isprintable() and " " not in word else None


def pixels(value: Any) -> int | None:
    """A width or height in pixels; the API sends 0 for unknown."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def expiry(url: str) -> float | None:
    """When a signed link ends, in epoch seconds: `Expires=`, or a signing date and a number of seconds."""
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    if query.get("expires", "").isdecimal():
        return float(query["expires"])
    for vendor in ("x-amz", "x-oss", "x-tos"):
        try:
            signed = datetime.strptime(query[f"{vendor}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed.timestamp() + int(query[f"{vendor}-expires"])
        except (KeyError, ValueError, OverflowError):
            continue
    return None


def _without(key: str, value: Any) -> Any:
    """What JSON holds, with every text in it freed from the key, however it was escaped."""
    if isinstance(value, str):
        return value.replace(key, "[key]") if key else value
    if isinstance(value, list):
        return [_without(key, item) for item in value]
    return {name: _without(key, item) for name, item in value.items()} if isinstance(value, dict) else value


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date."""
    if not value:
        return None
    if (seconds := value.strip()).isdecimal():
        return min(float(seconds), RETRY_AFTER_MAX)
    try:
        wait = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        return min(max(0.0, wait), RETRY_AFTER_MAX)
    except (TypeError, ValueError, OverflowError):
        return None
