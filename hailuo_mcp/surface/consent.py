"""Asking the person before money is spent, in hosts that can ask (`HAILUO_CONFIRM=always`).

Nobody is asked about what cannot be paid for: it is judged first, and what a person should know of it is told with the
question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

from hailuo_mcp.app import App
from hailuo_mcp.films.script import Script, Shot, lay_out

if TYPE_CHECKING:
    from hailuo_mcp.films.plan import Plan


class Consent(BaseModel):
    """The form that the person sees."""

    pay: bool = Field(title="Pay for it", default=True)


# The SDK hands a resolver the tool's arguments by name, and may call it again in each round: it must not spend.
async def ask_person(
    ctx: Context[App, Any],
    prompt: str,
    duration: int,
    resolution: str,
    first_frame_image: str,
    last_frame_image: str,
    mend: bool,
) -> Consent | Elicit[Consent]:
    """Consent taken as given, or the question to ask."""
    if not _asks(ctx):
        return Consent(pay=True)
    from hailuo_mcp.review import Request

    studio = await _app(ctx).studio()
    review = await studio.judge(Request(prompt, first_frame_image, last_frame_image, duration, resolution, mend=mend))
    review.submission()  # raises with all problems
    frames = ", ".join(
        f"{name}: {_shown(source)}"
        for name, source in (("first frame", first_frame_image), ("last frame", last_frame_image))
        if source
    )
    lines = [f"Pay for a video of {duration} s at {resolution}?", review.reading.prompt, *filter(None, [frames])]
    return _question(lines, review.warnings)


@dataclass(frozen=True, slots=True)
class Planned:
    """A film that was asked for, and what would be paid for it."""

    shots: Sequence[Shot]
    plan: "Plan"


async def plan_film(
    ctx: Context[App, Any],
    shots: list[Any],
    keyframes: list[str],
    resolution: str,
    prompt_optimizer: bool,
    aigc_watermark: bool,
    exact: bool,
    film_id: str,
    preview: bool,
    mend: bool,
) -> Planned:
    """The plan of a film, or of the shots that lengthen one."""
    films = await _app(ctx).films()
    wanted = [Shot(shot.prompt, shot.duration) for shot in shots]
    if film_id:
        script, numbers = await films.lengthened(film_id, keyframes, wanted)
    else:
        numbers = list(range(1, len(wanted) + 1))
        script = Script(lay_out(keyframes, wanted), resolution, prompt_optimizer, aigc_watermark, mend, exact)
    return Planned(wanted, await films.plan(script, numbers, whole_urls=preview))


def ask_about_film(
    ctx: Context[App, Any],
    planned: Annotated[Planned, Resolve(plan_film)],
    film_id: str,
    confirm: bool,
    preview: bool,
) -> Consent | Elicit[Consent]:
    """Whether a film is to be paid for: what the caller says, or the question to the person."""
    plan = planned.plan
    if preview or not _asks(ctx) or not plan.to_pay or plan.problems:
        return Consent(pay=confirm and not preview)
    end = f", which lengthen film {film_id}?" if film_id else f" at {plan.script.resolution}, joined into one film?"
    shots = (f"{number}. {plan.sent[number]}" for number in plan.to_pay)
    return _question([f"Pay for {len(plan.to_pay)} videos, {plan.seconds} s in all{end}", *shots], plan.warnings)


def ask_about_shot(
    ctx: Context[App, Any], film_id: str, shot: int, prompt: str, task_id: str
) -> Consent | Elicit[Consent]:
    """Consent to another take of one shot, or the question to the person; a task that was found costs nothing."""
    if task_id or not _asks(ctx):
        return Consent(pay=True)
    return Elicit(f"Pay for another take of shot {shot} of {film_id}?" + (f"\n{prompt}" if prompt else ""), Consent)


def _question(lines: Sequence[str], warnings: Sequence[str]) -> Elicit[Consent]:
    return Elicit("\n".join([*lines, *(f"Note: {warning}" for warning in warnings)]), Consent)


def _app(ctx: Context[App, Any]) -> App:
    app: App = ctx.request_context.lifespan_context
    return app


def _asks(ctx: Context[App, Any]) -> bool:
    """Whether the person is to be asked, and can be."""
    able = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    shows_forms = able is not None and (able.form is not None or able.url is None)
    return _app(ctx).settings.confirm == "always" and shows_forms


def agreed(answer: ElicitationResult[Consent]) -> bool:
    """Whether the person wants to pay."""
    return isinstance(answer, AcceptedElicitation) and answer.data.pay


def _shown(source: str) -> str:
    return "a pasted picture" if source.startswith("data:") else source
