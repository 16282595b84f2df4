"""Asking the person before money is spent, in hosts that can ask (`HAILUO_CONFIRM=always`)."""

from typing import Any

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit
from pydantic import BaseModel, Field

from hailuo_mcp.app import App


class Consent(BaseModel):
    """The form that the person sees."""

    pay: bool = Field(title="Pay for this video", default=True)


# The SDK hands a resolver the tool's arguments by name, and may call it again in each round: it must not spend.
def ask_person(
    ctx: Context[App, Any], prompt: str, duration: int, resolution: str, first_frame_image: str, last_frame_image: str
) -> Consent | Elicit[Consent]:
    """Consent taken as given, or the question to ask."""
    able = ctx.client_capabilities and ctx.client_capabilities.elicitation
    app: App = ctx.request_context.lifespan_context
    if app.settings.confirm == "never" or not able:
        return Consent(pay=True)
    frames = ", ".join(
        f"{name}: {_shown(source)}"
        for name, source in (("first frame", first_frame_image), ("last frame", last_frame_image))
        if source
    )
    return Elicit(
        f"Pay for a video of {duration} s at {resolution}?\n{prompt}" + (f"\n{frames}" if frames else ""), Consent
    )


def agreed(answer: ElicitationResult[Consent]) -> bool:
    """Whether the person wants to pay."""
    return isinstance(answer, AcceptedElicitation) and answer.data.pay


def _shown(source: str) -> str:
    return "a pasted picture" if source.startswith("data:") else source
