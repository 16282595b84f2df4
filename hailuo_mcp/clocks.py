"""Time for waiting: it never goes backwards."""

from collections.abc import Callable


class Steady:
    """A clock that only goes forward, over one that may be set back: nothing may wait for a lost hour to come again.

    Unlike the system's monotonic clock it goes on while the machine sleeps.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead = 0.0
        self._latest = clock()

    def __call__(self) -> float:
        now = self._clock() + self._ahead
        if now < self._latest:
            self._ahead += self._latest - now
            now = self._latest
        self._latest = now
        return now
