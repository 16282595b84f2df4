"""What the journal remembers of one video: what was asked, what became of it, where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

State = Literal["Submitting", "Unconfirmed", "Processing", "Success", "Failed", "Refused"]
Observed = Literal["Processing", "Success", "Failed"]


@dataclass(frozen=True, slots=True)
class Intent:
    """What is asked. `key` is a digest of everything that makes two requests the same; frames are named by hash."""

    key: str
    prompt: str
    duration: int  # seconds
    resolution: str
    prompt_optimizer: bool
    aigc_watermark: bool
    first_frame: str | None = None  # a label for people
    last_frame: str | None = None
    first_frame_sha256: str | None = None
    last_frame_sha256: str | None = None
    take: int = 1
    film_id: str | None = None
    shot: int | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """A file that came home, as it was found there."""

    path: str
    bytes: int
    seconds: float | None = None
    frames_per_second: float | None = None
    codec: str | None = None
    has_audio: bool | None = None
    video_width: int | None = None
    video_height: int | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """One record. Times are epoch seconds; `id` is ours and cannot be guessed; `intent` is None for a task that was
    submitted elsewhere."""

    id: str
    state: State
    created_at: float
    updated_at: float
    task_id: str | None
    upstream_status: str | None
    file_id: str | None
    video_width: int | None
    video_height: int | None
    filename: str | None
    expires_at: float | None  # of the download link, which itself is not kept: it opens the video to anyone
    path: str | None  # where the file lies, once it is home
    bytes: int | None
    seconds: float | None  # how long the file at `path` plays; like the next three, as it was read there
    frames_per_second: float | None
    codec: str | None
    has_audio: bool | None
    failure: str | None  # why it failed, or what is not known
    intent: Intent | None


INTENT = tuple(field.name for field in fields(Intent))
_RECORD = tuple(field.name for field in fields(Video) if field.name != "intent")


def video_of(values: Mapping[str, Any]) -> Video:
    """The record of a row's values by name."""
    intent = None if values["key"] is None else Intent(**{name: values[name] for name in INTENT})
    return Video(**{name: values[name] for name in _RECORD}, intent=intent)
