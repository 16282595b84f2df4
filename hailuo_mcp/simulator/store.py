"""The object store behind `download_url`: signed links, ranges, and its XML errors (as Alibaba OSS words them)."""

import base64
import hmac
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

from hailuo_mcp.simulator.contract import FILENAME, Answer
from hailuo_mcp.simulator.rendering import Video

PREFIX = "/files/"
_ACCESS_KEY_ID = "LTAIsimulated"
_SIGNING_KEY = b"simulated"  # fixed: a link outlives a restart, as the real ones do
_BUCKET = "public-cdn-video-simulated"


def object_key(task_id: str, created_at: float) -> str:
    """Where a task's video lies in the store; hard to guess for one who does not know the task."""
    day = datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d")
    return f"inference_output/video/{day}/{uuid.uuid5(uuid.NAMESPACE_OID, task_id)}/{FILENAME}"


def signed_link(base_url: str, key: str, expires: int) -> str:
    """A link to the object until that epoch second. The key's slashes are escaped, as in the document's example."""
    signature = quote(_signature(key, str(expires)), safe="")
    query = f"Expires={expires}&OSSAccessKeyId={_ACCESS_KEY_ID}&Signature={signature}"
    return f"{base_url}{PREFIX}{quote(key, safe='')}?{query}"


def _signature(key: str, expires: str) -> str:
    text = f"GET\n\n\n{expires}\n/{_BUCKET}/{key}"
    return base64.b64encode(hmac.digest(_SIGNING_KEY, text.encode("utf-8", "replace"), "sha1")).decode()


def link_problem(key: str, query: Mapping[str, str], headers: Mapping[str, str], now: float) -> Answer | None:
    """Why a link is not honoured; None when it is."""
    if "authorization" in headers:
        return _error(400, "InvalidArgument", "Only one auth mechanism allowed: header or signed URL.")
    expires, signature = query.get("Expires", ""), query.get("Signature", "")
    if not signature or not re.fullmatch(r"[0-9]{1,12}", expires):
        return _error(403, "AccessDenied", "You have no right to access this object because of bucket acl.")
    right_id = query.get("OSSAccessKeyId") == _ACCESS_KEY_ID
    if not right_id or not hmac.compare_digest(_signature(key, expires).encode(), signature.encode()):
        return _error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match yours.")
    if now >= int(expires):
        return _error(403, "AccessDenied", "Request has expired.")
    return None


def missing() -> Answer:
    """No such object."""
    return _error(404, "NoSuchKey", "The specified key does not exist.")


def deliver(video: Video, created_at: float, headers: Mapping[str, str]) -> Answer:
    """The video, or the part that `Range` asks for."""
    modified = formatdate(created_at, usegmt=True)
    facts = {"etag": f'"{video.etag}"', "last-modified": modified, "accept-ranges": "bytes"}
    wanted = headers.get("range", "")
    if headers.get("if-range", modified) not in (modified, facts["etag"]):
        wanted = ""  # the client's first part is of another file
    span = _span(wanted, video.length)
    if span is None:
        error = _error(416, "InvalidRange", "The requested range cannot be satisfied.")
        return error.with_headers({"content-range": f"bytes */{video.length}"})
    answer = Answer(200, facts | {"content-type": "video/mp4"}, file=video.path, span=range(video.length))
    if not span:
        return answer
    answer = answer.with_headers({"content-range": f"bytes {span.start}-{span.stop - 1}/{video.length}"})
    return Answer(206, answer.headers, file=video.path, span=span)


def _span(wanted: str, length: int) -> range | None:
    """The bytes of one range; empty for the whole file (also when the header is not understood); None: not there."""
    match = re.fullmatch(r"bytes=(?:([0-9]{1,15})-([0-9]{0,15})|-([0-9]{1,15}))", wanted)
    if match is None:
        return range(0)
    first, last, tail = match.groups()
    if tail is not None:
        return range(max(0, length - int(tail)), length) or None
    stop = min(int(last) + 1, length) if last else length
    if last and int(last) < int(first):
        return range(0)
    return range(int(first), stop) or None


def _error(status: int, code: str, message: str) -> Answer:
    page = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n  <Code>{code}</Code>\n  <Message>{message}</Message>\n'
    page += f"  <RequestId>{uuid.uuid4().hex[:24].upper()}</RequestId>\n</Error>\n"
    return Answer(status, {"content-type": "application/xml"}, page.encode())
