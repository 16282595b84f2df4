"""What the simulated service remembers: bills, tasks, and the ledger that outlives the process."""

import asyncio
import base64
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hailuo_mcp.simulator.contract import Order, fingerprint
from hailuo_mcp.simulator.rendering import Video
from hailuo_mcp.simulator.stills import Picture

Word = str | tuple[str, int]  # a status, or a status with the `base_resp` code beside it
FRAMES = ("first_frame_image", "last_frame_image")
KEPT_CHARACTERS = 1_000_000  # of a data URL in a bill in memory; a longer one is cut there
_LEDGER_CHARACTERS = 60  # and in the ledger file, which holds the small pictures anyway
_QUEUEING = 0.1  # the first part of the generation


@dataclass(frozen=True, slots=True)
class Bill:
    """One video paid for. `fingerprint` is the SHA-256 of the whole payload; long data URLs in `payload` are cut."""

    task_id: str
    key: str
    at: float
    prompt: str
    fingerprint: str
    payload: dict[str, Any]


@dataclass(slots=True)
class Task:
    """A submit that was accepted: its bill, what it asks for, and how far it is."""

    bill: Bill
    file_id: str
    order: Order
    script: list[Word] | None = None
    shown: int = -1  # which word of the script the last query has seen
    video: "asyncio.Future[Video] | None" = field(default=None, repr=False)

    def advance(self) -> None:
        """Go on to the next word of the script, if there is one and the task has not ended."""
        if self.script and self.shown + 1 < len(self.script) and not (self.shown >= 0 and self._ended):
            self.shown += 1

    def status(self, now: float, generation_seconds: float) -> tuple[str, int]:
        """The scripted status and its code, or what the clock says, whether or not the video is rendered."""
        if self.script:
            word = self.script[max(self.shown, 0)]
            return (word, 0) if isinstance(word, str) else word
        elapsed = now - self.bill.at
        if elapsed >= generation_seconds:
            return "Success", 0
        return ("Queueing" if elapsed < generation_seconds * _QUEUEING else "Processing"), 0

    @property
    def _ended(self) -> bool:
        status, _ = self.status(0, 0)
        return status == "Success" or status.lower().startswith("fail")


def new_task(order: Order, key: str, at: float, script: Sequence[Word] | None) -> Task:
    """Bill an order, in memory."""
    task_id, file_id = (str(10**14 + secrets.randbelow(9 * 10**14)) for _ in range(2))
    payload = _cut(order.payload, KEPT_CHARACTERS)
    bill = Bill(task_id, key, at, order.prompt, fingerprint(order.payload), payload)
    small = Order(payload, order.short_side, order.first, order.last)
    return Task(bill, file_id, small, list(script) if script else None)


def _cut(payload: dict[str, Any], characters: int) -> dict[str, Any]:
    return {name: value[:characters] if name in FRAMES else value for name, value in payload.items()}


class Ledger:
    """Bills as JSON lines, each on disk before its answer leaves: also a killed process has told what it billed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, task: Task) -> None:
        """Write one bill, and what is needed to go on with its task."""
        order = task.order
        line = asdict(task.bill) | {
            "payload": _cut(order.payload, _LEDGER_CHARACTERS),
            "file_id": task.file_id,
            "short_side": order.short_side,
            "first": _packed(order.first),
            "last": _packed(order.last),
        }
        with self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def load(self) -> list[Task]:
        """The tasks of an earlier life. A last line without its end was never answered: it is cut off."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self._path, len(whole))
        return [_task(json.loads(line)) for line in whole.splitlines()]


def _packed(picture: Picture | None) -> dict[str, Any] | None:
    return None if picture is None else {"size": picture.size, "jpeg": base64.b64encode(picture.jpeg).decode()}


def _unpacked(packed: dict[str, Any] | None) -> Picture | None:
    if packed is None:
        return None
    width, height = packed["size"]
    return Picture((width, height), base64.b64decode(packed["jpeg"]))


def _task(line: dict[str, Any]) -> Task:
    order = Order(line["payload"], line["short_side"], _unpacked(line["first"]), _unpacked(line["last"]))
    bill = Bill(*(line[name] for name in Bill.__slots__))
    return Task(bill, line["file_id"], order)
