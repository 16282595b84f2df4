"""How a film and its plan are told: as text for people, and as rows of data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hailuo_mcp.films.film import Film, ShotState
    from hailuo_mcp.films.plan import Plan


def film_words(film: "Film") -> str:
    """What a person wants to know of a film, shot by shot, and the one call that goes on from there."""
    record, count = film.record, len(film.shots)
    if record.finished:
        how = f"encoded anew, as {record.encoded_because}" if record.encoded_because else "joined without encoding"
        head = f"Film {record.id} is finished: {record.path} ({record.seconds:.1f} s, {how})."
        return "\n".join([head, *_shot_lines(film)])
    lost = sum(shot.status == "Unconfirmed" for shot in film.stuck)
    perhaps = f", {lost} of them perhaps" if lost else ""
    head = f"Film {record.id}: {film.home} of {count} shots are at home; videos paid for so far: {film.paid}{perhaps}."
    lines = [head, *_shot_lines(film)]
    if record.failure:
        lines.append(f"For now: {record.failure}")
    lines += [_remedy(film, shot) for shot in film.stuck]
    if film.status == "Processing":
        lines.append(
            f'It goes on by itself. Next: check_status(task_id="{record.id}", wait_seconds=45), again until it ends.'
        )
    return "\n".join(lines)


def film_failure(film: "Film") -> str | None:
    """Why a film does not go on, in one sentence for each reason."""
    words = [film.record.failure] if film.record.failure else []
    return "\n".join([*words, *(_remedy(film, shot) for shot in film.stuck)]) or None


def _remedy(film: "Film", shot: "ShotState") -> str:
    call = f'retake_shot(film_id="{film.record.id}", shot={shot.number}'
    if shot.status == "Unconfirmed":
        return (
            f"Shot {shot.number} may have been paid for, its outcome is not known: look at the task list at the "
            f"provider. If the task is there, {call}, task_id=...) goes on with it for free; if not, {call}) pays for "
            "it again."
        )
    return f"Shot {shot.number} came to nothing: {shot.failure} {call}) pays for this one only; pass what to change."


def _shot_lines(film: "Film") -> list[str]:
    lines = []
    for shot in film.shots:
        after = f" after shot {shot.number - 1}" if shot.status == "Waiting" and not film.is_ready(shot) else ""
        task = f", task {shot.newest.task_id}" if shot.newest and shot.newest.task_id else ""
        lost = shot.newest is not None and shot.newest.state == "Unconfirmed"
        fate = "may have been paid for" if lost else "came to nothing"
        kept = f" (take {shot.shot.take} {fate}, the one before is kept: {shot.failure})"
        lines.append(
            f"- shot {shot.number}: {shot.status}{after}{task}{f' -> {shot.path}' if shot.path else ''}"
            + (kept if shot.failure and shot.status == "Success" else "")
        )
    return lines


def shot_rows(film: "Film") -> list[dict[str, Any]]:
    """Each shot as compact data."""
    rows = []
    for state in film.shots:
        facts = {
            "shot": state.number,
            "status": state.status,
            "prompt": state.shot.prompt,
            "duration": state.shot.duration,
            "take": state.shot.take,
            "task_id": state.newest.task_id if state.newest else None,
            "path": state.path,
            "failure": state.failure,
        }
        rows.append({name: value for name, value in facts.items() if value is not None})
    return rows


def film_row(film: "Film") -> dict[str, Any]:
    """A film as compact data."""
    facts = {
        "film_id": film.record.id,
        "status": film.status,
        "shots": len(film.shots),
        "at_home": film.home,
        "paid": film.paid,
        "path": film.record.path if film.record.finished else None,
        "failure": film_failure(film),
    }
    return {name: value for name, value in facts.items() if value is not None}


def planned_row(plan: "Plan", number: int) -> dict[str, Any]:
    """A shot that would be paid for, as compact data."""
    shot = plan.script.shots[number - 1]
    facts = {
        "shot": number,
        "prompt": plan.sent[number],
        "duration": shot.duration,
        "first": shot.first or ("the end of the shot before" if number > 1 else None),
        "last": shot.last,
        "waits_for": number - 1 if plan.script.follows(number) else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def plan_words(plan: "Plan") -> str:
    """A plan for a person to say yes to, or everything that is to be mended first."""
    low, high = plan.minutes
    count = len(plan.to_pay)
    if not count:
        return "The film has these shots already. Nothing was sent and nothing was paid."
    lines = [
        f"Plan: {count} {'shots' if count > 1 else 'shot'}; nothing was sent and nothing was paid."
        if not plan.problems
        else f"This film would be refused; {len(plan.problems)} to mend. Nothing was sent and nothing was paid.",
        *(f"- {problem}" for problem in plan.problems),
    ]
    for number in plan.to_pay:
        shot = plan.script.shots[number - 1]
        first = _name(shot.first) or (
            f"the end of shot {number - 1}, so it waits for that" if number > 1 else "nothing"
        )
        last = _name(shot.last) or "an open end"
        lines.append(f"- shot {number}, {shot.duration} s: from {first} to {last}; {plan.sent[number]}")
    lines += [f"Note: {warning}" for warning in plan.warnings]
    if not plan.problems:
        beside = f", at most {plan.side_by_side} side by side" if plan.side_by_side > 1 else ""
        lines += [
            f"It pays for {count} {'videos' if count > 1 else 'video'} at {plan.script.resolution}{beside}, and takes "
            f"about {low}-{high} minutes; the film will be about {plan.seconds} s long.",
            "After the person's yes: the same call with confirm=true. preview=true draws it for free.",
        ]
    return "\n".join(lines)


def _name(source: str | None) -> str | None:
    return "a pasted picture" if source and source[:5].lower() == "data:" else source
