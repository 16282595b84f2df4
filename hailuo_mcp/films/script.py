"""A film as it was asked for: its shots in order, from which pictures to which, as data that the journal keeps."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from hailuo_mcp.errors import RequestRejected
from hailuo_mcp.rules import DEFAULT_DURATION, DEFAULT_RESOLUTION

PREFIX = "film-"
SHOTS_MAX = 60  # of one film: our own bound, so that a slip cannot plan hundreds of paid videos


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot. Frames are sources as everywhere; without a `first` one it goes on where the shot before it ends.

    `take` is the one that is wanted; `halted` says why it is not sent until a person decides.
    """

    prompt: str
    duration: int = DEFAULT_DURATION  # seconds
    first: str | None = None
    last: str | None = None
    take: int = 1
    halted: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """The shots, counted from 1, and what they share. `exact`: joined at a constant frame rate, encoded anew."""

    shots: tuple[Shot, ...]
    resolution: str = DEFAULT_RESOLUTION
    prompt_optimizer: bool = True
    aigc_watermark: bool = False
    mend: bool = True
    exact: bool = False

    def to_json(self) -> str:
        """The script as the journal keeps it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """A script that the journal kept."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {"shots": tuple(Shot(**shot) for shot in values["shots"])})

    def shot(self, number: int) -> Shot:
        """That shot; raises RequestRejected."""
        if not 1 <= number <= len(self.shots):
            raise RequestRejected(f"shot: the film has shots 1 to {len(self.shots)} (got {number})")
        return self.shots[number - 1]

    def follows(self, number: int) -> bool:
        """Whether a shot begins where the one before it ends, and so must wait for it."""
        return number > 1 and self.shots[number - 1].first is None

    def with_shot(self, number: int, shot: Shot) -> Self:
        """The same with another shot in that place."""
        return replace(self, shots=(*self.shots[: number - 1], shot, *self.shots[number:]))


def is_film(clip: str) -> bool:
    """Whether an id is a film's and not a task's."""
    return clip.startswith(PREFIX) and not clip.endswith(".mp4")


def lay_out(keyframes: Sequence[str], shots: Sequence[Shot], before: Shot | None = None) -> tuple[Shot, ...]:
    """The shots with their frames: from each keyframe to the next; raises RequestRejected.

    An empty keyframe, or one that is not given, leaves a shot's end open: the next shot goes on from there. Shots that
    lengthen a film come after the shot `before`, and each keyframe is then the end of one of them.
    """
    frames = [frame.strip() or None for frame in keyframes]
    if before is not None:
        frames.insert(0, before.last)
    if problems := _misfits(keyframes, len(frames), len(shots)):
        raise RequestRejected("\n".join(["Nothing was sent and nothing was paid. To mend:", *problems]))
    frames += [None] * (len(shots) + 1 - len(frames))
    return tuple(replace(shot, first=frames[at], last=frames[at + 1]) for at, shot in enumerate(shots))


def _misfits(given: Sequence[str], frames: int, shots: int) -> list[str]:
    problems = []
    if not 1 <= shots <= SHOTS_MAX:
        problems.append(f"- shots: must be 1 to {SHOTS_MAX} (got {shots})")
    elif frames > shots + 1:
        most = shots + 1 - (frames - len(given))
        problems.append(f"- keyframes: {len(given)} are too many for {shots} shots; at most {most} fit between them")
    if frames == len(given) and not any(frame.strip() for frame in given):
        problems.append("- keyframes: at least one picture is needed, such as the first")
    return problems
