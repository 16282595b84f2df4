"""What the tools share: their arguments and results, each declared once."""

import re
from typing import Annotated, Any, Literal

from mcp_types import CallToolResult, ContentBlock, TextContent
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hailuo_mcp.films.script import SHOTS_MAX
from hailuo_mcp.plain import plain, plain_data
from hailuo_mcp.rules import (
    DEFAULT_DURATION,
    PROMPT_MAX_CHARACTERS,
    WAIT_MAX_SECONDS,
    Duration,
    Resolution,
    Status,
)

TAKES_MAX = 999


def _text(value: Any) -> Any:
    """Optional text: clients send null for what they leave out, and ids as numbers."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _moment(value: Any) -> Any:
    """A second may come as a number, an end of the clip as its resource calls it."""
    text = str(value) if isinstance(value, float) else _text(value)
    return text.strip().lower().removesuffix("-frame").removesuffix("s").strip() if isinstance(text, str) else text


def _number(value: Any) -> Any:
    """Models write 6 as "6" or 6.0. `true` is no number, whatever Python thinks."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", word := value.strip().removesuffix("s")):
        return int(word)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


_ID_CHARACTERS_MAX = 128


def _word(value: str) -> str:
    """An id: one word, or nothing where that is allowed."""
    word = value.strip()
    if len(word) > _ID_CHARACTERS_MAX or any(character.isspace() or not character.isprintable() for character in word):
        raise ValueError("must be one word, as another tool gave it")
    return word


def _required(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty; list_videos tells which videos there are")
    return value


# The constraint stands before the validator: only so does the schema show it.
Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=PROMPT_MAX_CHARACTERS,
        description="What happens; camera moves in brackets: [Push in], [Truck left, Pedestal up]",
    ),
]
FirstFrame = Annotated[
    str, Field(description="Opening picture: full path, URL, or hailuo://videos/ID/last-frame"), BeforeValidator(_text)
]
LastFrame = Annotated[str, Field(description="Closing picture"), BeforeValidator(_text)]
Seconds = Annotated[Duration, Field(description="Seconds; 10 needs 768P"), BeforeValidator(_number)]
Quality = Annotated[Resolution, BeforeValidator(_upper)]
TaskId = Annotated[str, BeforeValidator(_text), AfterValidator(_required), AfterValidator(_word)]
MaybeTaskId = Annotated[
    str, Field(description="Omit to see all under way"), BeforeValidator(_text), AfterValidator(_word)
]
# Without a description: it costs every model tokens, and who needs it is told how by the error of a lost answer.
Record = Annotated[str, BeforeValidator(_text), AfterValidator(_word)]
FileId = Annotated[str, BeforeValidator(_text), AfterValidator(_word)]
WaitSeconds = Annotated[int, Field(ge=0, le=WAIT_MAX_SECONDS), BeforeValidator(_number)]
Take = Annotated[int, Field(ge=1, le=TAKES_MAX, description="+1 pays for the same again"), BeforeValidator(_number)]
Mend = Annotated[bool, Field(description="Mend frame copies")]
MaybePrompt = Annotated[str, BeforeValidator(_text)]
Clip = Annotated[
    str,
    Field(description="task_id, or an MP4's name in the output folder"),
    BeforeValidator(_text),
    AfterValidator(_required),
]
Moment = Annotated[
    str, Field(description="Also save a frame as PNG: last, first or a second"), BeforeValidator(_moment)
]
Tiles = Annotated[int, Field(ge=1, le=25), BeforeValidator(_number)]
Keyframes = Annotated[
    list[str], Field(description="Pictures in order, each between two shots; empty: go on where the shot before ends")
]
FilmId = Annotated[str, BeforeValidator(_text), AfterValidator(_required), AfterValidator(_word)]
MaybeFilmId = Annotated[
    str,
    Field(description="Lengthen this film; keyframes are then the ends of the new shots"),
    BeforeValidator(_text),
    AfterValidator(_word),
]
ShotNumber = Annotated[int, Field(ge=1, le=SHOTS_MAX), BeforeValidator(_number)]
MaybeSeconds = Annotated[Duration | None, BeforeValidator(_number)]
MaybeFrame = Annotated[str, BeforeValidator(_text)]
VideoState = Literal["", "Submitting", "Unconfirmed", "Processing", "Success", "Failed", "Refused"]
Limit = Annotated[int, Field(ge=1, le=50), BeforeValidator(_number)]
Cursor = Annotated[str, BeforeValidator(_text)]
FileName = Annotated[str, Field(description="Such as dandelion.mp4"), BeforeValidator(_text)]


class ShotArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    duration: Seconds = DEFAULT_DURATION


Shots = Annotated[list[ShotArguments], Field(min_length=1, max_length=SHOTS_MAX)]


class Generated(BaseModel):
    task_id: str
    status: Status
    prompt: str
    already_submitted: bool
    warnings: list[str]


class StatusOf(BaseModel):
    task_id: str | None
    status: Status | None
    upstream_status: str | None
    file_id: str | None
    video_width: int | None
    video_height: int | None
    file: dict[str, Any] | None
    failure: str | None
    path: str | None
    under_way: list[dict[str, Any]] | None
    shots: list[dict[str, Any]] | None


class FilmOf(BaseModel):
    film_id: str | None
    status: Status | None
    videos_to_pay: int
    seconds: float
    shots: list[dict[str, Any]]
    path: str | None
    failure: str | None
    warnings: list[str]


class VideoList(BaseModel):
    videos: list[dict[str, Any]]
    films: list[dict[str, Any]]
    next_cursor: str | None


class Link(BaseModel):
    task_id: str
    file_id: str
    download_url: str
    filename: str
    expires_at: str | None


class Saved(BaseModel):
    task_id: str
    path: str | None
    bytes: int | None
    video_width: int | None
    video_height: int | None


class Checked(BaseModel):
    ok: bool
    prompt: str
    frames: list[dict[str, Any]]
    crop_percent: int | None
    crop_sides: str | None
    camera: list[dict[str, Any]]
    problems: list[str]
    warnings: list[str]


class Previewed(BaseModel):
    path: str
    seconds: float
    video_width: int
    video_height: int
    prompt: str
    warnings: list[str]


class Viewed(BaseModel):
    task_id: str | None
    path: str
    seconds: float
    frames_per_second: float
    video_width: int
    video_height: int
    has_audio: bool
    shown_at: list[float]
    first_frame_likeness: float | None
    last_frame_likeness: float | None
    frame_path: str | None
    notes: list[str]


def answer(text: str, result: BaseModel, *more: ContentBlock) -> CallToolResult:
    """Plain text for every client, the same facts as structured data, and links or pictures."""
    content: list[ContentBlock] = [TextContent(type="text", text=plain(text)), *more]
    return CallToolResult(content=content, structured_content=plain_data(result.model_dump(mode="json")))


def refusal(text: str) -> CallToolResult:
    """A tool error that reads exactly like this."""
    return CallToolResult(is_error=True, content=[TextContent(type="text", text=plain(text))])
