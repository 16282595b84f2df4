"""A strict tool: a short schema without references, unknown arguments refused, errors in a colleague's words."""

import inspect
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hailuo_mcp import handles
from hailuo_mcp.errors import HailuoError
from hailuo_mcp.rules import one_of
from hailuo_mcp.surface.contract import refusal


class HailuoTool(Tool):
    """A tool that refuses unknown arguments and whose errors are plain sentences."""

    @classmethod
    def of(cls, fn: Callable[..., Any], title: str, **hints: bool) -> "HailuoTool":
        """The tool of a function: its name, docstring and signature, with true hints."""
        tool = cls.from_function(fn, title=title, description=inspect.getdoc(fn), annotations=_hints(hints))
        assert isinstance(tool, cls)
        tool.parameters = _inlined(_trimmed(tool.parameters)) | {"additionalProperties": False}
        if tool.fn_metadata.output_schema:
            # Every field is always sent, so the list of required ones would only cost the model tokens.
            tool.fn_metadata.output_schema = _trimmed(tool.fn_metadata.output_schema)
            tool.fn_metadata.output_schema.pop("required")
        return tool

    async def run(self, arguments: dict[str, Any], context: "Context[Any, Any]", convert_result: bool = False) -> Any:
        """Run the tool; what it foresees becomes a tool error, a bug stays a crash."""
        self._forbid_unknown_arguments()
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                return refusal(explain(error.__cause__, self))
            if isinstance(error.__cause__, HailuoError):
                return refusal(_with_task(str(error.__cause__), arguments.get("task_id")))
            if isinstance(error.__cause__, OSError | ImportError) and handles.used_up(error.__cause__):
                return refusal(f"{self.name} could not be carried out: {handles.USED_UP}. {handles.REMEDY}")
            raise

    def _forbid_unknown_arguments(self) -> None:
        # The SDK made the model of the arguments; to make it anew for every tool would cost each start.
        model = self.fn_metadata.arg_model
        if "extra" not in model.model_config:
            model.model_config["extra"] = "forbid"
            model.model_rebuild(force=True)


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
    import difflib

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
