"""A film judged before anything is paid for: every picture, every prompt, the shapes, the day's budget, the time."""

import asyncio
import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from fractions import Fraction

from hailuo_mcp import camera
from hailuo_mcp.errors import RequestRejected
from hailuo_mcp.films.script import Script, Shot
from hailuo_mcp.frames import Judged, crop_of
from hailuo_mcp.journal import Journal
from hailuo_mcp.review import Reviewer
from hailuo_mcp.rules import TYPICAL_MINUTES, request_problems

CROP_TOLD = 0.01  # a smaller cut cannot be seen
PICTURE_SHORT_SIDE = 384  # pixels of a keyframe on the storyboard and in the sketch
_SAME_SHAPE = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """What a film would be. `to_pay` are the numbers of the shots that it will pay for; `rounds` says how often it
    waits for a video, as many running side by side as allowed; `judged` is by source."""

    script: Script
    to_pay: tuple[int, ...]
    sent: dict[int, str]  # each prompt as it will be sent
    judged: dict[str, Judged]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    side_by_side: int
    rounds: int

    @property
    def seconds(self) -> int:
        """How long the film will be, about."""
        return sum(shot.duration for shot in self.script.shots)

    @property
    def minutes(self) -> tuple[int, int]:
        """How long making it usually takes, from and to."""
        low, high = TYPICAL_MINUTES
        return self.rounds * low, self.rounds * high

    def require_no_problems(self) -> None:
        """Raises RequestRejected with all problems when there are any."""
        if self.problems:
            problems = (f"- {problem}" for problem in self.problems)
            raise RequestRejected("\n".join(["Nothing was sent and nothing was paid. To mend:", *problems]))

    def key(self, host: str, take: int) -> str:
        """A digest of everything that makes two films the same; pictures count by their content."""

        def content(source: str | None) -> str | None:
            judged = self.judged.get(source or "")
            return judged.frame.sha256 if judged and judged.frame else source

        shots = [
            asdict(shot) | {"first": content(shot.first), "last": content(shot.last)} for shot in self.script.shots
        ]
        identity = json.dumps([host, asdict(self.script) | {"shots": shots}, take], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()


class Planner:
    """Plans films. `side_by_side`: how many of a film's videos may be under way at once."""

    def __init__(
        self, reviewer: Reviewer, journal: Journal, *, daily_limit: int | None = None, side_by_side: int = 3
    ) -> None:
        self._reviewer = reviewer
        self._journal = journal
        self._daily_limit = daily_limit
        self._side_by_side = side_by_side

    async def plan(
        self,
        script: Script,
        to_pay: Collection[int] | None = None,
        *,
        whole_urls: bool = False,
        retake: bool = False,
    ) -> Plan:
        """Judge a film; of one that is under way only the shots that are still `to_pay`.

        Pictures at URLs are fetched as a whole, to be looked at, only with `whole_urls`. In a `retake` they are called
        as its arguments are.
        """
        numbers = tuple(range(1, len(script.shots) + 1) if to_pay is None else sorted(to_pay))
        names = _frame_names(script.shots[numbers[0] - 1]) if retake else _names(script, numbers)
        found = await asyncio.gather(
            *(self._judge(source, name, script.mend, whole_urls) for source, name in names.items())
        )
        judged = dict(zip(names, found, strict=True))
        problems = [problem for one in found for problem in one.problems]
        warnings = [warning for one in found if one.frame for warning in one.frame.warnings]
        sent = {}
        for number in numbers:
            shot = script.shots[number - 1]
            reading = camera.read(shot.prompt)
            sent[number] = reading.prompt
            wrong = [*request_problems(reading.prompt, shot.duration, script.resolution), *reading.problems]
            problems += [f"shot {number}: {problem}" for problem in wrong]
            warnings += [f"shot {number}: {warning}" for warning in reading.warnings]
            warnings += _cut(number, shot, judged, names)
        warnings += _shapes(script, judged)
        problems += await self._over_budget(len(numbers))
        side_by_side = min(self._side_by_side, len(numbers))
        rounds = _rounds(script, numbers, side_by_side)
        return Plan(script, numbers, sent, judged, tuple(problems), tuple(warnings), side_by_side, rounds)

    async def _judge(self, source: str, name: str, mend: bool, whole_urls: bool) -> Judged:
        judged = await self._reviewer.judge(
            "first_frame_image", source, mend=mend, show=PICTURE_SHORT_SIDE, whole_urls=whole_urls
        )
        if judged.frame:
            judged.frame.close()
        return judged.called(name)

    async def _over_budget(self, wanted: int) -> list[str]:
        if self._daily_limit is None:
            return []
        left = max(self._daily_limit - await self._journal.paid_within_day(), 0)
        if wanted <= left:
            return []
        return [
            f"shots: {wanted} videos are to be paid for, but HAILUO_MAX_VIDEOS_PER_DAY={self._daily_limit} leaves "
            f"{left} within these 24 hours"
        ]


def _names(script: Script, numbers: Collection[int]) -> dict[str, str]:
    """Every source of those shots, and what a person calls it."""
    names: dict[str, str] = {}
    for number in numbers:
        shot = script.shots[number - 1]
        for source, at in ((shot.first, number), (shot.last, number + 1)):
            if source:
                names.setdefault(source, f"keyframe {at}")
    return names


def _frame_names(shot: Shot) -> dict[str, str]:
    named = ((shot.last, "last_frame_image"), (shot.first, "first_frame_image"))
    return {source: name for source, name in named if source}


def _cut(number: int, shot: Shot, judged: dict[str, Judged], names: dict[str, str]) -> list[str]:
    first, last = (judged.get(source or "") for source in (shot.first, shot.last))
    if not (first and first.facts and last and last.facts and shot.last):
        return []
    crop = crop_of((first.facts.width, first.facts.height), (last.facts.width, last.facts.height))
    if crop.loss < CROP_TOLD:
        return []
    return [f"shot {number}: the model will crop {crop.loss:.0%} of {names[shot.last]}, at its {crop.sides}"]


def _shapes(script: Script, judged: dict[str, Judged]) -> list[str]:
    """A word about shots that will not have one size, as each takes that of the picture it begins with."""
    shapes: dict[int, Fraction] = {}
    for number, shot in enumerate(script.shots, 1):
        if (one := judged.get(shot.first or shot.last or "")) and one.facts:
            shapes[number] = Fraction(one.facts.width, one.facts.height)
        elif script.follows(number) and number - 1 in shapes:
            shapes[number] = shapes[number - 1]
    first = next(iter(shapes.items()), None)
    odd = [number for number, shape in shapes.items() if first and abs(shape / first[1] - 1) > _SAME_SHAPE]
    if not first or not odd:
        return []
    which = f"shot {odd[0]} comes" if len(odd) == 1 else f"shots {', '.join(map(str, odd))} come"
    return [
        f"keyframes: {which} out in another shape than shot {first[0]}, so the film will be encoded anew, with black "
        "bars; pictures of one shape avoid that"
    ]


def _rounds(script: Script, numbers: Collection[int], side_by_side: int) -> int:
    left, rounds = list(numbers), 0
    while left:
        ready = [number for number in left if not (script.follows(number) and number - 1 in left)]
        done = ready[:side_by_side]
        left = [number for number in left if number not in done]
        rounds += 1
    return rounds
