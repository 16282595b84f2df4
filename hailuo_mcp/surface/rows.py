"""Records of the journal as compact data and words."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hailuo_mcp.records import Video


def row(video: "Video") -> dict[str, Any]:
    """One video as compact data; `record` is the journal's own id, for requests that have no task_id."""
    facts = {
        "task_id": video.task_id,
        "record": None if video.task_id else video.id,
        "film_id": video.intent.film_id if video.intent else None,
        "shot": video.intent.shot if video.intent else None,
        "state": video.state,
        "created_at": iso(video.created_at),
        "prompt": video.intent.prompt[:120] if video.intent else None,
        "path": video.path,
        "video_width": video.video_width if video.path else None,
        "video_height": video.video_height if video.path else None,
        **(file_facts(video) or {}),
        "failure": video.failure,
    }
    return {name: value for name, value in facts.items() if value is not None}


def file_facts(video: "Video") -> dict[str, Any] | None:
    """What was found in a video's file when it came home; None before that."""
    names = ("bytes", "seconds", "frames_per_second", "codec", "has_audio")
    return {name: getattr(video, name) for name in names} if video.path else None


def clip_words(video: "Video") -> str:
    """The same in a phrase: `1364x768, 6.0 s, 24 frames/s, h264, without sound`; empty when nothing is known."""
    parts = [
        f"{video.video_width}x{video.video_height}" if video.video_width and video.video_height else "",
        f"{video.seconds:.1f} s" if video.seconds else "",
        f"{video.frames_per_second:g} frames/s" if video.frames_per_second else "",
        video.codec or "",
        "" if video.has_audio is None else "with sound" if video.has_audio else "without sound",
    ]
    return ", ".join(filter(None, parts))


def iso(epoch: float | None) -> str | None:
    """Epoch seconds as UTC in ISO 8601; None for what no calendar holds."""
    try:
        return None if epoch is None else datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None
