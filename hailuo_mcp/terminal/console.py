"""What a person at a terminal sees: results on stdout, everything else on stderr. The only place with `print`."""

import asyncio
import json
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from hailuo_mcp.errors import HailuoError

TICK_SECONDS = 0.5
PLAIN_TICK_SECONDS = 30.0  # between two lines of the same news, where no line can be redrawn
_BAR_CELLS = 20
_COLOURS = {"red": "31", "green": "32", "yellow": "33"}


class OutputLost(HailuoError):
    """Stdout takes nothing more, such as a file on a full disk."""


class Console:
    """The two streams of a command, written to so that no encoding, width or closed pipe breaks them."""

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        terminal = environment.get("TERM") != "dumb"
        self.is_live = terminal and self._err.isatty()
        # Older Windows consoles show colour codes as rubbish; its newer terminal names itself.
        able = os.name != "nt" or "WT_SESSION" in environment
        self._colourful = terminal and able and self._out.isatty() and not environment.get("NO_COLOR")
        self._drawn = 0

    @property
    def columns(self) -> int | None:
        """How wide stdout is; None where it is not a terminal and nothing needs to be cut."""
        return shutil.get_terminal_size().columns if self._out.isatty() else None

    def result(self, text: str) -> None:
        """What was asked for, on stdout."""
        self._clear()
        self._put(_showable(text, self._out, exact=not self._out.isatty()))

    def listed(self, mark: str, colour: str, lines: Sequence[str]) -> None:
        """One item of a list on stdout, folded to the terminal; its mark is coloured where colours show."""
        width = max(self.columns or 0, len(mark) + 40) - len(mark)
        folded = [part for line in lines for part in (_fold(line, width) if self.columns else [line])]
        text = _showable(f"\n{' ' * len(mark)}".join(folded), self._out)
        painted = f"\x1b[{_COLOURS[colour]}m{mark}\x1b[0m" if self._colourful else mark
        self._put(painted + text)

    def document(self, value: Mapping[str, Any]) -> None:
        """What was asked for as one JSON document, plain ASCII, on stdout."""
        self._clear()
        self._put(json.dumps(value, indent=2))

    def _put(self, text: str) -> None:
        try:
            print(text, file=self._out, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(f"What was asked for could not be written to stdout: {error.strerror}.") from error

    def say(self, text: str) -> None:
        """A word to the person, on stderr."""
        self._clear()
        print(_showable(text, self._err), file=self._err, flush=True)

    def fail(self, sentence: object) -> None:
        """What went wrong and what to do, on stderr."""
        self.say(f"hailuo-mcp: {sentence}")

    def draw(self, text: str, share: float) -> None:
        """Redraw the last line of a live stderr: a bar and a text, cut to the width of the terminal."""
        columns = shutil.get_terminal_size().columns - 1
        bar = f"{_bar(share, self._err)} " if columns > 3 * _BAR_CELLS else ""
        line = fit(bar + _showable(text, self._err), columns)
        width = _width(line)
        print("\r" + line + " " * (self._drawn - width), end="", file=self._err, flush=True)
        self._drawn = width

    def _clear(self) -> None:
        if self._drawn:
            print("\r" + " " * self._drawn, end="\r", file=self._err, flush=True)
            self._drawn = 0


class Progress:
    """Tells how long something has taken: in one line redrawn in place, or now and then in a line of its own.

    usual_seconds: when the bar is full; what takes longer stays just below that.
    """

    def __init__(
        self, console: Console, what: str, usual_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._what = what
        self._usual = usual_seconds
        self._clock = clock
        self._start = clock()
        self._said: tuple[str, float] | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.tell(self._what)
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._ticking:
            self._ticking.cancel()
        self._console._clear()

    def tell(self, what: str) -> None:
        """Say what goes on now."""
        self._what = what
        waited = self._clock() - self._start
        if self._console.is_live:
            self._console.draw(f"{_duration(waited)}  {what}", min(waited / max(self._usual, 0.1), 0.97))
        elif self._said is None or self._said[0] != what or waited - self._said[1] >= PLAIN_TICK_SECONDS:
            self._console.say(f"{_duration(waited)}  {what}")
            self._said = (what, waited)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tell(self._what)


def fit(text: str, columns: int) -> str:
    """A text cut to that many columns of a terminal, in which Chinese characters are two wide."""
    if _width(text) <= columns:
        return text
    while text and _width(text) > columns - 3:
        text = text[:-1]
    return text + "..."


def _fold(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _bar(share: float, stream: TextIO) -> str:
    full = round(share * _BAR_CELLS)
    if _can_show("█░", stream):
        return "█" * full + "░" * (_BAR_CELLS - full)
    return "[" + "#" * full + "." * (_BAR_CELLS - full) + "]"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _showable(text: str, stream: TextIO, *, exact: bool = False) -> str:
    """The text without what would steer a terminal (unless `exact`) and what the stream's encoding cannot write."""
    if not exact:
        text = "".join("?" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding, stream.errors or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
