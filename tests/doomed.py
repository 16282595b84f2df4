"""A real server over stdio that can be killed with SIGKILL at a chosen step of its own code. Run by `servers.py`."""

import json
import os
import signal
import sys
import threading
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import aiosqlite

from hailuo_mcp import app, cli, journal_schema, owed, studio
from hailuo_mcp.app import App

PRELOADED = [
    "doomed",
    "hailuo_mcp.server",
    "hailuo_mcp.studio",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "stamina",
]
_OURS = (str(Path(app.__file__).parent), str(Path(aiosqlite.__file__).parent))
_START = App._build.__code__  # what comes before opens nothing

Step = tuple[str, int]  # a place in the code, and which time it is passed


class Fate:
    """A profiler that counts the steps of our code, and of what it calls in C; at one of them the process dies."""

    def __init__(self, fatal: Step | None) -> None:
        self.passed: Counter[str] = Counter()
        self._fatal = fatal
        self._begun = False
        self._lock = threading.Lock()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        self._begun = self._begun or code is _START
        if not self._begun or not code.co_filename.startswith(_OURS):
            return
        inner = f" {arg.__qualname__}" if event.startswith("c_") else ""
        module = frame.f_globals["__name__"].removeprefix("hailuo_mcp.")
        place = f"{module} {code.co_qualname}{inner} {event}"
        with self._lock:
            self.passed[place] += 1
            if self._fatal == (place, self.passed[place]):
                os.kill(os.getpid(), signal.SIGKILL)


def serve(
    requests: Connection,
    answers: Connection,
    environment: dict[str, str],
    fatal: Step | None,
    steps: str | None,
    twin_seconds: float,
    lock_seconds: float,
) -> None:
    """Be `python -m hailuo_mcp` with that environment, until the step; `steps` names a file to list all steps in."""
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(requests.fileno(), 0)
    os.dup2(answers.fileno(), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    requests.close()
    answers.close()
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    app.WATCH_AFTER_SECONDS = 0.02
    owed.AGAIN_SECONDS = 0.2
    studio.TWIN_WAIT_SECONDS = twin_seconds
    journal_schema.PATIENCE_SECONDS, journal_schema.LINE_SECONDS = lock_seconds, 3 * lock_seconds
    fate = Fate(fatal)
    if fatal or steps:
        threading.setprofile(fate)
        sys.setprofile(fate)
    try:
        cli.main([])
    finally:
        if steps:
            sys.setprofile(None)
            Path(steps).write_text(json.dumps(fate.passed), encoding="utf-8")
