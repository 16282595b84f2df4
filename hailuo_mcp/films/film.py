"""A film as it stands: what became of each shot, what can still go on by itself, what needs a person."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hailuo_mcp.films.journal import FilmRecord
from hailuo_mcp.films.script import Script, Shot
from hailuo_mcp.records import Video
from hailuo_mcp.rules import Status

ShotStatus = Literal["Waiting", "Submitting", "Processing", "Success", "Failed", "Unconfirmed", "Refused"]


@dataclass(frozen=True, slots=True)
class ShotState:
    """One shot. `newest` is the record of the take that is wanted, `earlier` the last good one before it."""

    number: int
    shot: Shot
    newest: Video | None
    earlier: Video | None
    takes: int  # how many of them were, or may have been, paid for

    @property
    def status(self) -> ShotStatus:
        """In one word. A take that came to nothing does not spoil a good one before it."""
        state = self.newest.state if self.newest else None
        if not self.shot.halted and (state == "Submitting" or state == "Processing" or state == "Success"):
            return state
        if not self.shot.halted and (state is None or state == "Refused"):
            return "Waiting"
        if self.earlier:
            return "Success"
        return "Unconfirmed" if state == "Unconfirmed" else "Refused" if self.shot.halted else "Failed"

    @property
    def usable(self) -> Video | None:
        """The take that the film is made of, once there is one."""
        if self.status != "Success":
            return None
        good = self.newest and self.newest.state == "Success" and not self.shot.halted
        return self.newest if good else self.earlier

    @property
    def path(self) -> str | None:
        """Where its file lies, once it is home."""
        return self.usable.path if self.usable else None

    @property
    def failure(self) -> str | None:
        """Why the wanted take is not there."""
        if self.shot.halted:
            return self.shot.halted
        return self.newest.failure if self.newest and self.newest.state in ("Failed", "Unconfirmed") else None


@dataclass(frozen=True, slots=True)
class Film:
    """A film and its shots."""

    record: FilmRecord
    script: Script
    shots: tuple[ShotState, ...]

    @property
    def status(self) -> Status:
        """Processing while anything can go on by itself, Failed when a person has to decide."""
        if self.record.finished:
            return "Success"
        return "Processing" if self.all_made or any(self._moving()) else "Failed"

    def _moving(self) -> Iterator[bool]:
        for shot in self.shots:
            yield shot.status in ("Submitting", "Processing") or self.is_ready(shot)

    def is_ready(self, shot: ShotState) -> bool:
        """Whether a shot waits for nothing but its turn."""
        follows = self.script.follows(shot.number)
        return shot.status == "Waiting" and (not follows or self.shots[shot.number - 2].status == "Success")

    @property
    def all_made(self) -> bool:
        """Whether every shot has a good take."""
        return all(shot.status == "Success" for shot in self.shots)

    @property
    def all_home(self) -> bool:
        """Whether every shot has a good take on the disk."""
        return all(shot.path for shot in self.shots)

    @property
    def paid(self) -> int:
        """Videos that were, or may have been, paid for; every take counts."""
        return sum(shot.takes for shot in self.shots)

    @property
    def home(self) -> int:
        """Shots whose file is on the disk."""
        return sum(shot.path is not None for shot in self.shots)

    @property
    def stuck(self) -> list[ShotState]:
        """Shots about which a person has to decide."""
        return [shot for shot in self.shots if shot.status in ("Failed", "Unconfirmed", "Refused")]


def assemble(record: FilmRecord, takes: Sequence[Video]) -> Film:
    """A film from its record and its takes, oldest first."""
    script = Script.from_json(record.script)
    return Film(record, script, tuple(_state(number, shot, takes) for number, shot in enumerate(script.shots, 1)))


def _state(number: int, shot: Shot, takes: Sequence[Video]) -> ShotState:
    own = [video for video in takes if video.intent and video.intent.shot == number]
    wanted = [video for video in own if video.intent and video.intent.take == shot.take]
    newest = max(wanted, key=lambda video: video.state != "Refused", default=None)
    earlier = [video for video in own if video.state == "Success" and video is not newest]
    paid = sum(video.state != "Refused" for video in own)
    return ShotState(number, shot, newest, earlier[-1] if earlier else None, paid)
