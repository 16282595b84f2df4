"""The 15 camera commands of the API, and how a prompt's `[...]` are read.

The API understands the Chinese text only; the English names are those of the API family's English documents.
"""

import re
from dataclasses import dataclass
from typing import Literal

from hailuo_mcp.rules import COMMANDS_PER_BRACKET

Group = Literal["truck", "pan", "push/pull", "pedestal", "tilt", "zoom", "other"]


@dataclass(frozen=True, slots=True)
class CameraCommand:
    """One command: `text` is what the API reads, `english` what people may write instead."""

    text: str
    english: str
    group: Group
    effect: str


COMMANDS: tuple[CameraCommand, ...] = (
    CameraCommand("左移", "Truck left", "truck", "the camera slides left, parallel to the scene"),
    CameraCommand("右移", "Truck right", "truck", "the camera slides right, parallel to the scene"),
    CameraCommand("左摇", "Pan left", "pan", "the camera stays in place and turns left"),
    CameraCommand("右摇", "Pan right", "pan", "the camera stays in place and turns right"),
    CameraCommand("推进", "Push in", "push/pull", "the camera moves towards the subject"),
    CameraCommand("拉远", "Pull out", "push/pull", "the camera moves away from the subject"),
    CameraCommand("上升", "Pedestal up", "pedestal", "the camera rises"),
    CameraCommand("下降", "Pedestal down", "pedestal", "the camera sinks"),
    CameraCommand("上摇", "Tilt up", "tilt", "the camera stays in place and looks up"),
    CameraCommand("下摇", "Tilt down", "tilt", "the camera stays in place and looks down"),
    CameraCommand("变焦推近", "Zoom in", "zoom", "the lens zooms in; the camera does not move"),
    CameraCommand("变焦拉远", "Zoom out", "zoom", "the lens zooms out; the camera does not move"),
    CameraCommand("晃动", "Shake", "other", "handheld shaking"),
    CameraCommand("跟随", "Tracking shot", "other", "the camera follows the subject"),
    CameraCommand("固定", "Static shot", "other", "the camera does not move"),
)

RULES: tuple[str, ...] = (
    "Together: commands in one [] act at the same time, separated by commas, as in [左摇,上升]; at most 3 is advised.",
    "In sequence: commands act in the order in which they stand in the prompt, as in '...[推进], then ...[拉远]'.",
    "Plain words describe camera moves too, but a standard command is followed more exactly.",
)

EXAMPLES: tuple[str, ...] = (
    "[推进] A dandelion in the evening light, the seeds begin to fly.",
    "A girl turns to the sea [左摇,上升], then the wind lifts her hair [拉远].",
    "[Truck left, Pedestal up] A slow rise over the roofs of the old town.",
)


@dataclass(frozen=True, slots=True)
class Move:
    """The commands of one `[...]`, acting together, and where in the sent prompt it stands (character index)."""

    commands: tuple[CameraCommand, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as it will be sent, its moves in order, and what a person should know about its brackets."""

    prompt: str
    moves: tuple[Move, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


# 【】 and ［］ are what Chinese keyboards type; they count as brackets only around commands. None reaches over another
# bracket, of whatever kind: a command within 【】 counts, too.
_INSIDE = r"([^\[\]【】［］]*)"
_TOLD_MAX = 10  # slips, or warnings, of one prompt
_BRACKETS = rf"\[{_INSIDE}\]|【{_INSIDE}】|［{_INSIDE}］"
_SEPARATORS = r"[,，、;；+/|]|(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])"
_ADORNED_CHARACTERS_MAX = 24  # a command with a word or two around it; what is longer is a text of its own
_SIMPLIFIED = str.maketrans("搖進遠變動隨", "摇进远变动随")
# Words that people use for a command and the API does not know: they lead to a suggestion, never to a guess.
_SYNONYMS = {
    "dolly in": "推进", "dolly out": "拉远", "pull back": "拉远", "move left": "左移", "move right": "右移",
    "crane up": "上升", "crane down": "下降", "boom up": "上升", "boom down": "下降", "move up": "上升",
    "move down": "下降", "handheld": "晃动", "follow": "跟随", "tracking": "跟随", "track": "跟随", "static": "固定",
    "fixed": "固定", "locked off": "固定", "pan": "左摇", "tilt": "上摇", "truck": "左移", "pedestal": "上升",
    "push": "推进", "pull": "拉远", "zoom": "变焦推近", "推近": "推进", "拉近": "推进", "推远": "拉远", "拉出": "拉远",
    "左转": "左摇", "右转": "右摇", "放大": "变焦推近", "缩小": "变焦拉远", "变焦": "变焦推近", "抖动": "晃动",
    "摇晃": "晃动", "跟拍": "跟随", "静止": "固定",
}  # fmt: skip


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold().translate(_SIMPLIFIED)


_BY_NAME = {_key(name): command for command in COMMANDS for name in (command.text, command.english)}
_ALPHABET = set("".join(command.text for command in COMMANDS)) | set("向镜头平")


def find(name: str) -> CameraCommand | None:
    """The command of that Chinese or English name, whatever its case, spaces and hyphens."""
    return _BY_NAME.get(_key(name))


def suggest(name: str) -> CameraCommand | None:
    """The command that a name which is none was probably meant to be; None for other text."""
    import difflib

    key = _key(name)
    if key in _SYNONYMS:
        return _BY_NAME[_SYNONYMS[key]]
    within = [name for name in _BY_NAME if len(key) <= _ADORNED_CHARACTERS_MAX and _holds(key, name)]
    if within:
        return _BY_NAME[max(within, key=len)]
    # An item spelled with nothing but the commands' own characters can only be a slip, such as 向左移.
    cutoff = 0.5 if key and set(key) <= _ALPHABET else 0.75
    close = difflib.get_close_matches(key, _BY_NAME, n=1, cutoff=cutoff)
    return _BY_NAME[close[0]] if close else None


def _holds(key: str, name: str) -> bool:
    """Whether an item holds a command's name, as in `slow push in` or 缓慢推进; one word, as `shake`, is too common."""
    return f" {name} " in f" {key} " and " " in name if name.isascii() else key.endswith(name)


def read(prompt: str) -> Reading:
    """Read the brackets of a prompt: known names become the canonical text, slips become problems."""
    sent: list[str] = []
    moves: list[Move] = []
    problems: list[str] = []
    warnings: list[str] = []
    end = 0
    for match in re.finditer(_BRACKETS, prompt):
        inside = next(text for text in match.groups() if text is not None)
        items = [item.strip() for item in re.split(_SEPARATORS, inside) if item.strip()]
        commands = tuple(filter(None, map(find, items)))
        ascii_brackets = match.group(1) is not None
        if not ascii_brackets and len(commands) < max(len(items), 1):
            continue
        sent.append(prompt[end : match.start()])
        end = match.end()
        slips = [(item, meant) for item in items if not find(item) and (meant := suggest(item))]
        problems += [
            f"prompt: [{item}] is not a camera command; did you mean [{meant.english}] ([{meant.text}])?"
            for item, meant in slips
        ]
        if commands:
            moves.append(Move(commands, at=sum(map(len, sent))))
        if len(commands) == len(items) and commands:
            sent.append(f"[{','.join(command.text for command in commands)}]")
        else:
            known = {item: command.text for item in items if (command := find(item))}
            sent.append(f"[{','.join(known.get(item, item) for item in items)}]" if commands else match.group())
            if not slips:
                warnings.append(f"{match.group()} is sent as plain text: it is not made of camera commands only")
        if len(commands) > COMMANDS_PER_BRACKET:
            warnings.append(
                f"{match.group()} combines {len(commands)} commands; more than {COMMANDS_PER_BRACKET} may cost quality"
            )
    sent.append(prompt[end:])
    return Reading("".join(sent), tuple(moves), _few(problems), _few(warnings))


def _few(lines: list[str]) -> tuple[str, ...]:
    """Each line once, and no more of them than anybody reads."""
    once = [*dict.fromkeys(lines)]
    more = len(once) - _TOLD_MAX
    return (*once[:_TOLD_MAX], f"prompt: {more} more brackets are like these") if more > 0 else tuple(once)
