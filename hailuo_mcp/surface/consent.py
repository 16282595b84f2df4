"""Asking the person before money is spent, in hosts that can ask (`HAILUO_CONFIRM=always`)."""

from typing import Any

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit
from pydantic import BaseModel, Field

from hailuo_mcp.app import App


class Consent(BaseModel):
    """The form that the person sees."""

    pay: bool = Field(title="Pay for it", default=True)


# The SDK hands a resolver the tool's arguments by name, and may call it again in each round: it must not spend.
def ask_person(
    ctx: Context[App, Any], prompt: str, duration: int, resolution: str, first_frame_image: str, last_frame_image: str
) -> Consent | Elicit[Consent]:
    """Consent taken as given, or the question to ask."""
    if not _asks(ctx):
        return Consent(pay=True)
    frames = ", ".join(
        f"{name}: {_shown(source)}"
        for name, source in (("first frame", first_frame_image), ("last frame", last_frame_image))
        if source
    )
    return Elicit(
        f"Pay for a video of {duration} s at {resolution}?\n{prompt}" + (f"\n{frames}" if frames else ""), Consent
    )


def ask_about_film(
    ctx: Context[App, Any], shots: list[Any], resolution: str, film_id: str, confirm: bool, preview: bool
) -> Consent | Elicit[Consent]:
    """Whether a film is to be paid for: what the caller says, or the question to the person."""
    if preview or not _asks(ctx):
        return Consent(pay=confirm and not preview)
    seconds = sum(shot.duration for shot in shots)
    return Elicit(
        f"Pay for {len(shots)} videos, {seconds} s in all"
        + (f", which lengthen film {film_id}?\n" if film_id else f" at {resolution}, joined into one film?\n")
        + "\n".join(f"{number}. {shot.prompt}" for number, shot in enumerate(shots, 1)),
        Consent,
    )


def ask_about_shot(
    ctx: Context[App, Any], film_id: str, shot: int, prompt: str, task_id: str
) -> Consent | Elicit[Consent]:
    """Consent to another take of one shot, or the question to the person; a task that was found costs nothing."""
    if task_id or not _asks(ctx):
        return Consent(pay=True)
    return Elicit(f"Pay for another take of shot {shot} of {film_id}?" + (f"\n{prompt}" if prompt else ""), Consent)


def _asks(ctx: Context[App, Any]) -> bool:
    """Whether the person is to be asked, and can be."""
    app: App = ctx.request_context.lifespan_context
    able = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    shows_forms = able is not None and (able.form is not None or able.url is None)
    return app.settings.confirm == "always" and shows_forms


def agreed(answer: ElicitationResult[Consent]) -> bool:
    """Whether the person wants to pay."""
    return isinstance(answer, AcceptedElicitation) and answer.data.pay


def _shown(source: str) -> str:
    return "a pasted picture" if source.startswith("data:") else source
