"""What every tool shares: arguments declared once, results, strict schemas, errors in a colleague's words."""

import difflib
import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ContentBlock, TextContent, ToolAnnotations
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from hailuo_mcp.errors import HailuoError
from hailuo_mcp.film_script import SHOTS_MAX
from hailuo_mcp.plain import plain, plain_data
from hailuo_mcp.rules import (
    DEFAULT_DURATION,
    PROMPT_MAX_CHARACTERS,
    WAIT_MAX_SECONDS,
    Duration,
    Resolution,
    Status,
    one_of,
)

if TYPE_CHECKING:
    from hailuo_mcp.journal import Video

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


class HailuoTool(Tool):
    """A tool that refuses unknown arguments and whose errors are plain sentences."""

    @classmethod
    def of(cls, fn: Callable[..., Any], title: str, **hints: bool) -> "HailuoTool":
        """The tool of a function: its name, docstring and signature, with true hints."""
        tool = cls.from_function(fn, title=title, description=inspect.getdoc(fn), annotations=_hints(hints))
        assert isinstance(tool, cls)
        model = tool.fn_metadata.arg_model
        model.model_config["extra"] = "forbid"
        model.model_rebuild(force=True)
        tool.parameters = _inlined(_trimmed(tool.parameters)) | {"additionalProperties": False}
        if tool.fn_metadata.output_schema:
            # Every field is always sent, so the list of required ones would only cost the model tokens.
            tool.fn_metadata.output_schema = _trimmed(tool.fn_metadata.output_schema)
            tool.fn_metadata.output_schema.pop("required")
        return tool

    async def run(self, arguments: dict[str, Any], context: "Context[Any, Any]", convert_result: bool = False) -> Any:
        """Run the tool; what it foresees becomes a tool error, a bug stays a crash."""
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                return refusal(explain(error.__cause__, self))
            if isinstance(error.__cause__, HailuoError):
                return refusal(_with_task(str(error.__cause__), arguments.get("task_id")))
            raise


def _with_task(words: str, task_id: Any) -> str:
    """What went wrong with a task names the task: it may be all that a person has of a paid video."""
    return words if not task_id or str(task_id) in words else f"{words} (task {task_id})"


def _hints(hints: dict[str, bool]) -> ToolAnnotations:
    return ToolAnnotations(**{f"{name}_hint": value for name, value in hints.items()})


def _trimmed(schema: Any, *, named: bool = False) -> Any:
    """A schema without titles and what holds anyway, and with short nullables; `named` says that keys are names."""
    if isinstance(schema, list):
        return [_trimmed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if not named and [*schema.get("anyOf", [])][1:] == [{"type": "null"}]:
        inner = _trimmed(schema["anyOf"][0])
        if "enum" in inner:
            return {"enum": [*inner["enum"], None]}
        return inner | {"type": [inner["type"], "null"]}
    return {
        key: _trimmed(value, named=key in ("properties", "$defs") and not named)
        for key, value in schema.items()
        if named or ((key, value) != ("additionalProperties", True) and key != "title")
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, which some hosts do not follow."""
    defined = schema.pop("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            return [resolve(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return resolve(defined[part["$ref"].rsplit("/", 1)[1]])
        return {key: resolve(value) for key, value in part.items()}

    return dict(resolve(schema))


def explain(error: ValidationError, tool: Tool) -> str:
    """Bad arguments, one line each: which, what is allowed, what was given."""
    lines = [_line(detail, tool.parameters) for detail in error.errors(include_url=False)]
    return "\n".join([f"{tool.name} was not carried out; nothing was sent. To mend:", *dict.fromkeys(lines)])


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "string_type": lambda _: "must be text",
    "string_too_short": lambda _: "must not be empty",
    "value_error": lambda context: str(context["error"]),
    "list_type": lambda _: "must be a list",
    "model_type": lambda _: 'must be like {"prompt": "...", "duration": 6}',
    "model_attributes_type": lambda _: 'must be like {"prompt": "...", "duration": 6}',
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
}


def _line(detail: ErrorDetails, schema: dict[str, Any]) -> str:
    name, allowed, own = _place(detail["loc"], schema)
    kind, given = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(detail["loc"][-1]), allowed, n=1, cutoff=0.5)
        return f"- {name}: no such argument; " + (
            f"did you mean {close[0]}?" if close else f"there are {', '.join(allowed)}"
        )
    if kind == "string_too_long":
        return f"- {name}: has {len(str(given))} characters; at most {detail['ctx']['max_length']} are allowed"
    if kind in ("too_short", "too_long"):
        bound = detail["ctx"]["min_length" if kind == "too_short" else "max_length"]
        least = "at least" if kind == "too_short" else "at most"
        return f"- {name}: must be {least} {bound} (got {detail['ctx']['actual_length']})"
    if kind == "literal_error":
        words = f"must be {one_of(tuple(own.get('enum', [own.get('const')])))}"
    elif kind.startswith("int_"):
        words = "must be a whole number"
    else:
        words = _WORDS[kind](detail.get("ctx", {})) if kind in _WORDS else detail["msg"][0].lower() + detail["msg"][1:]
    return f"- {name}: {words}" + ("" if kind == "missing" else f" (got {_short(given)})")


def _place(loc: "tuple[int | str, ...]", schema: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What a person calls the place of a fault, as in `shots 2, prompt`; the names allowed there; its own schema."""
    words, allowed, own = "", schema["properties"], schema
    for step in loc:
        if isinstance(step, int):
            words, own = f"{words} {step + 1}", own.get("items", {})
        else:
            allowed = own.get("properties", allowed)
            words, own = f"{words}, {step}" if words else step, own.get("properties", {}).get(step, {})
    return words or "arguments", allowed, own


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
