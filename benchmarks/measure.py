"""What is measured and how: memory and CPU time of a process, interleaved rounds, medians. Linux: it reads /proc."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 1_000_000
NOISE = 1.03  # two runs of the same program differ by more


def resident(pid: int) -> float:
    """Memory in use now, in MB."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> float:
    """The most memory in use since `forget_peak`, in MB."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew from what is in use now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    """Seconds of CPU time that a process has taken, all its threads together, also those that ended."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's number for the clock of a process


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise ValueError(name)


def timed(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@dataclass
class Samples:
    """What one contender showed: for each quantity a list, one entry for each round."""

    of: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **quantities: float) -> None:
        for name, value in quantities.items():
            self.of.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.of[name])

    def ratio(self, name: str, to: "Samples") -> float:
        """The median of each round's ratio: what slows a whole round down cancels out."""
        return statistics.median(a / b for a, b in zip(self.of[name], to.of[name], strict=True) if b)


def interleaved(
    contenders: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, warm_up: int = 0
) -> dict[str, Samples]:
    """Let the contenders take turns, each round in another order; what one act returns is a round's quantities."""
    found = {name: Samples() for name in contenders}
    names = list(contenders)
    for at in range(-warm_up, rounds):
        turn = at % len(names)
        for name in names[turn:] + names[:turn]:
            quantities = contenders[name]()
            if at >= 0:
                found[name].add(**quantities)
    return found
