"""How the camera commands move a flat picture: the maths of the animatic, without a pixel.

A flat picture has no depth, so a pan looks like a truck, and a tilt like a pedestal; they differ in reach and pace.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARGIN = 0.22  # of the picture's width and height, on each side: how far a view may look over the edge
_SHORTEST = 0.25  # of the clip: what even a command at the very end of the prompt gets


@dataclass(frozen=True, slots=True)
class View:
    """What the camera sees: its centre, in picture widths and heights from the picture's, and log magnification."""

    x: float = 0.0
    y: float = 0.0
    depth: float = 0.0

    def __add__(self, other: "View") -> "View":
        return View(self.x + other.x, self.y + other.y, self.depth + other.depth)

    def scaled(self, factor: float) -> "View":
        """The same move, `factor` times as far."""
        return View(self.x * factor, self.y * factor, self.depth * factor)

    def seen_from(self, rest: "View") -> "View":
        """This view in a picture that was taken from `rest`."""
        zoom = math.exp(rest.depth)
        return View((self.x - rest.x) * zoom, (self.y - rest.y) * zoom, self.depth - rest.depth)

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in picture widths and heights; (0, 0, 1, 1) is the picture itself."""
        half = 0.5 * math.exp(-self.depth)
        return 0.5 + self.x - half, 0.5 + self.y - half, 0.5 + self.x + half, 0.5 + self.y + half

    def excess(self) -> float:
        """How far the view looks over the picture's edge, in picture widths or heights."""
        left, top, right, bottom = self.box()
        return max(-left, -top, right - 1, bottom - 1)


def _smooth(u: float) -> float:
    return u * u * (3 - 2 * u)


def _steady(u: float) -> float:
    """Constant speed with a short start and stop, as of a camera on rails."""
    ramp = 0.12
    if u < ramp:
        return u * u / (2 * ramp * (1 - ramp))
    return 1 - _steady(1 - u) if u > 1 - ramp else (u - ramp / 2) / (1 - ramp)


def _slide(x: float, y: float) -> Callable[[float, float], View]:
    return lambda u, _: View(x, y).scaled(_steady(u))


def _turn(x: float, y: float) -> Callable[[float, float], View]:
    return lambda u, _: View(x, y).scaled(_smooth(u))


def _nearer(u: float) -> float:
    """Walking towards something: it grows as 1 / distance, so faster and faster."""
    return -math.log(1 - 0.22 * _smooth(u))


def _shake(u: float, seconds: float) -> View:
    """A hand's tremor: frequencies without a common period, nothing at both ends."""
    amount = 0.013 * min(1.0, 6 * u, 6 * (1 - u))
    turns = math.tau * seconds
    x = 0.6 * math.sin(1.9 * turns) + 0.4 * math.sin(4.3 * turns + 1)
    y = 0.6 * math.sin(2.3 * turns + 2) + 0.4 * math.sin(5.1 * turns)
    return View(amount * x, amount * y)


def _follow(u: float, seconds: float) -> View:
    """Beside a walking subject: sideways, a little closer, and the bob of steps."""
    bob = 0.006 * math.sin(math.tau * 1.7 * seconds) * min(1.0, 6 * u, 6 * (1 - u))
    return View(0.10, 0, 0.12).scaled(_steady(u)) + View(y=bob)


# By English name: how far the camera is on its way at `u` (0 to 1) of the command's time, `seconds` into it.
# x grows to the right and y downwards: a camera that turns right makes the scene move left.
_WAYS: dict[str, Callable[[float, float], View]] = {
    "Truck left": _slide(-0.16, 0),
    "Truck right": _slide(0.16, 0),
    "Pan left": _turn(-0.21, 0),
    "Pan right": _turn(0.21, 0),
    "Push in": lambda u, _: View(depth=_nearer(u)),
    "Pull out": lambda u, _: View(depth=_nearer(1 - u) - _nearer(1)),
    "Pedestal up": _slide(0, -0.16),
    "Pedestal down": _slide(0, 0.16),
    "Tilt up": _turn(0, -0.21),
    "Tilt down": _turn(0, 0.21),
    "Zoom in": lambda u, _: View(depth=0.36 * _steady(u)),
    "Zoom out": lambda u, _: View(depth=-0.36 * _steady(u)),
    "Shake": _shake,
    "Tracking shot": _follow,
    "Static shot": lambda u, _: View(),
}


def starts(places: Sequence[float]) -> list[float]:
    """When each command begins, 0 to 1, from where it stands in the prompt, 0 to 1: in order, each with some time."""
    least = min(_SHORTEST, 1 / max(len(places), 1))
    times: list[float] = []
    for index, place in enumerate(places):
        latest = 1 - (len(places) - index) * least
        times.append(max(min(place, latest), times[-1] + least if times else 0.0))
    return times


def acting(cues: Sequence[tuple[float, Sequence[str]]], frames: int) -> list[tuple[str, ...]]:
    """The names of the commands that act at each frame, as `journey` does; none before the first."""
    begins = starts([place for place, _ in cues])
    groups: list[tuple[str, ...]] = [(), *(tuple(names) for _, names in cues)]
    return [groups[sum(begin <= frame / max(frames - 1, 1) for begin in begins)] for frame in range(frames)]


def journey(cues: Sequence[tuple[float, Sequence[str]]], frames: int, seconds: float) -> list[View]:
    """The view at each frame; `cues` are the place in the prompt (0 to 1) and the English names that act together."""
    begins = starts([place for place, _ in cues])
    ends = [*begins[1:], 1.0][: len(begins)]
    ways = [[_WAYS[name] for name in names] for _, names in cues]
    path = []
    for frame in range(frames):
        now = frame / max(frames - 1, 1)
        view = View()
        for begin, end, together in zip(begins, ends, ways, strict=True):
            u = min(max((now - begin) / max(end - begin, 1e-9), 0.0), 1.0)
            for way in together:
                view += way(u, u * (end - begin) * seconds)
        path.append(view)
    return path


def reined_in(path: Sequence[View], pictures: Sequence[tuple[int, range]]) -> list[View]:
    """The journey, shortened evenly until no picture is looked past its margins nor magnified to mush.

    `pictures`: the frame at which each is seen at rest, and the frames at which it is seen at all.
    """
    farthest = max(max(abs(view.x), abs(view.y), abs(view.depth)) for view in path)
    factor = 1 / max(farthest, 1.0)
    while True:
        shorter = [view.scaled(factor) for view in path]
        if all(shorter[at].seen_from(shorter[rest]).excess() <= MARGIN for rest, seen in pictures for at in seen):
            return shorter
        factor *= 0.95
