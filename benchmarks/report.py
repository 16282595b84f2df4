"""What was found, as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from measure import Samples
from peers import MINIMAX, NODE, OLDER, OURS


@dataclass(frozen=True, slots=True)
class Goal:
    """What was promised, what was found, and whether that is good enough."""

    words: str
    found: str
    met: bool


@dataclass
class Section:
    """One table, with what a reader must know to judge it."""

    title: str
    columns: Sequence[str]
    lines: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def goal(self, words: str, found: str, met: bool) -> None:
        self.goals.append(Goal(words, found, met))

    def ahead(
        self,
        what: str,
        found: Mapping[str, Samples],
        name: str,
        unit: str,
        digits: int = 0,
        beside: Sequence[str] = (),
    ) -> None:
        """The goal to need less of something than every peer, `beside` those of another language or SDK."""
        peers = [peer for peer in (MINIMAX, OLDER, NODE) if peer not in beside]
        ours, theirs = found[OURS].median(name), {peer: found[peer].median(name) for peer in peers}
        best = min(theirs, key=lambda peer: theirs[peer])
        words = f"ahead of every peer{' on Python' if NODE in beside else ''}: {what}"
        if OLDER in beside:
            words = f"ahead of every peer on the same SDK: {what}"
        self.goal(words, f"{ours:.{digits}f} {unit}; {best} {theirs[best]:.{digits}f}", ours <= theirs[best])


def markdown(head: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole report."""
    lines = ["# Benchmark results", "", *head, "", "## Goals", ""]
    goals = [(goal.words, goal.found, "yes" if goal.met else "**no**") for part in sections for goal in part.goals]
    lines += _table(("goal", "found", "met"), goals)
    for section in sections:
        lines += ["", f"## {section.title}", "", *_table(section.columns, section.lines)]
        for note in section.notes:
            lines += ["", note]
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [columns, ["---"] * len(columns), *lines]
    return ["| " + " | ".join(row) + " |" for row in rows]
