"""What others wrote, before a model reads it: visible characters only, bounded, and quoted where it is not our word."""

import re
import unicodedata
from typing import Any

QUOTE_CHARACTERS = 300
# Colours and other commands of terminals, as a whole: without its first character the rest would stay as text.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_JOINERS = "\u200c\u200d"  # parts of words in some scripts, and of emoji; they hide and turn nothing
_SPACES = ("Zl", "Zp")
_HIDDEN = ("Cc", "Cf", "Cn", "Cs", "Co")


def plain(text: str) -> str:
    """The text without control, bidirectional, invisible and private characters; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, _ANSI.sub("", text)))


def _shown(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    kind = unicodedata.category(character)
    return " " if kind in _SPACES else "" if kind in _HIDDEN else character


def plain_data(value: Any) -> Any:
    """The same for every text within JSON data."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_data(item) for item in value]
    return {name: plain_data(item) for name, item in value.items()} if isinstance(value, dict) else value


def quoted(text: str) -> str:
    """Words of others in quotation marks, on one line and cut short, so that they cannot pass for ours."""
    words = " ".join(plain(text).split()).replace('"', "'")
    return f'"{words if len(words) <= QUOTE_CHARACTERS else words[: QUOTE_CHARACTERS - 3] + "..."}"'
