"""The tools for films, and how a film is told: planned and confirmed once, then looked after shot by shot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import CallToolResult

from hailuo_mcp.app import App
from hailuo_mcp.films.script import Shot
from hailuo_mcp.films.words import (
    film_failure,
    film_words,
    plan_words,
    planned_row,
    shot_rows,
)
from hailuo_mcp.rules import DEFAULT_RESOLUTION
from hailuo_mcp.surface.consent import Consent, Planned, agreed, ask_about_film, ask_about_shot, plan_film
from hailuo_mcp.surface.contract import (
    FilmId,
    FilmOf,
    Keyframes,
    MaybeFilmId,
    MaybeFrame,
    MaybePrompt,
    MaybeSeconds,
    MaybeTaskId,
    Mend,
    Quality,
    ShotNumber,
    Shots,
    Take,
    answer,
    refusal,
)
from hailuo_mcp.surface.media import film_links, picture, video_link
from hailuo_mcp.surface.tool import HailuoTool

if TYPE_CHECKING:
    from hailuo_mcp.films.film import Film
    from hailuo_mcp.films.films import Films
    from hailuo_mcp.films.plan import Plan
    from hailuo_mcp.films.screening import Sketch


class FilmTools:
    """The tools over one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> list[HailuoTool]:
        """Every tool with its title and true hints."""
        paid = {"read_only": False, "destructive": False, "idempotent": False}
        return [
            HailuoTool.of(self.create_film, "Make a film", **paid),
            HailuoTool.of(self.retake_shot, "Retake a shot", **paid),
        ]

    async def create_film(
        self,
        planned: Annotated[Planned, Resolve(plan_film)],
        consent: Annotated[ElicitationResult[Consent], Resolve(ask_about_film)],
        shots: Shots,
        keyframes: Keyframes,
        resolution: Quality = DEFAULT_RESOLUTION,
        prompt_optimizer: bool = True,
        aigc_watermark: bool = False,
        exact: bool = False,
        film_id: MaybeFilmId = "",
        confirm: bool = False,
        preview: bool = False,
        take: Take = 1,
        mend: Mend = True,
    ) -> Annotated[CallToolResult, FilmOf]:
        """Make a film of shots that lead from keyframe to keyframe. COSTS MONEY for each shot, with confirm=true only.

        Without confirm: a free plan with all problems and a storyboard. preview=true draws the whole film as a free
        sketch. exact=true joins at a constant frame rate, encoded anew. Next: check_status(task_id=film_id).
        """
        films, plan = await self._app.films(), planned.plan
        if preview:
            return _preview(plan, await films.preview(plan))
        if not agreed(consent):
            return await self._told(films, plan)
        if film_id:
            film, new = await films.lengthen(film_id, keyframes, planned.shots, plan), bool(plan.to_pay)
        else:
            film, new = await films.create(plan, take)
        told = f"Film {film.record.id} is under way; it pays for {len(plan.to_pay)} videos and goes on by itself."
        if not new:
            another = "" if film_id else f" Pass take={take + 1} for another one."
            told = f"This is already under way as {film.record.id}; nothing more is paid.{another}"
        return film_answer(film, plan.warnings, told)

    async def retake_shot(
        self,
        consent: Annotated[ElicitationResult[Consent], Resolve(ask_about_shot)],
        film_id: FilmId,
        shot: ShotNumber,
        prompt: MaybePrompt = "",
        duration: MaybeSeconds = None,
        first_frame_image: MaybeFrame = "",
        last_frame_image: MaybeFrame = "",
        task_id: MaybeTaskId = "",
    ) -> Annotated[CallToolResult, FilmOf]:
        """Pay for one shot of a film again, with changes or as it was; the other shots stay. COSTS MONEY.

        task_id: free; the task of an unconfirmed shot, found at the provider.
        """
        if not agreed(consent):
            return refusal("The person did not agree to pay for this shot. Nothing was sent.")
        films = await self._app.films()
        if task_id:
            film = await films.found(film_id, shot, task_id)
            return film_answer(film, (), f"Shot {shot} goes on as task {task_id}; nothing more was paid.")
        changes = Shot(prompt.strip(), duration or 0, first_frame_image.strip(), last_frame_image.strip())
        plan = await films.retake_plan(film_id, shot, changes)
        film = await films.retake(film_id, plan)
        warnings = [*plan.warnings, *_loose_ends(film, shot, changes)]
        return film_answer(film, warnings, f"Shot {shot} is taken again, which pays for one video.")

    async def _told(self, films: "Films", plan: "Plan") -> CallToolResult:
        """The plan, as far as it can be read, with its storyboard."""
        result = FilmOf(
            film_id=None,
            status=None,
            videos_to_pay=len(plan.to_pay),
            seconds=plan.seconds,
            shots=[planned_row(plan, number) for number in plan.to_pay],
            path=None,
            failure="\n".join(plan.problems) or None,
            warnings=list(plan.warnings),
        )
        return answer(plan_words(plan), result, picture(await films.storyboard(plan)))


def _loose_ends(film: "Film", number: int, changes: Shot) -> list[str]:
    """Neighbours that no longer meet a shot that was changed."""
    words = []
    has_next = number < len(film.shots)
    if has_next and film.script.follows(number + 1):
        words.append(
            f"shot {number + 1} begins where the earlier take of shot {number} ended; retake it, too, if it jumps"
        )
    elif changes.last and has_next:
        words.append(f"shot {number + 1} does not begin with the new last frame of shot {number}")
    if changes.first and number > 1:
        words.append(f"shot {number - 1} does not end with the new first frame of shot {number}")
    return words


def film_answer(film: "Film", warnings: Sequence[str] = (), told: str = "") -> CallToolResult:
    """How a film stands, as text and data, with a link to its file."""
    result = FilmOf(
        film_id=film.record.id,
        status=film.status,
        videos_to_pay=sum(shot.status == "Waiting" for shot in film.shots),
        seconds=film.record.seconds or float(sum(shot.shot.duration for shot in film.shots)),
        shots=shot_rows(film),
        path=film.record.path if film.record.finished else None,
        failure=film_failure(film),
        warnings=list(warnings),
    )
    lines = [told, film_words(film), *(f"Note: {warning}" for warning in warnings)]
    return answer("\n".join(filter(None, lines)), result, *film_links(film))


def _preview(plan: "Plan", sketch: "Sketch") -> CallToolResult:
    result = FilmOf(
        film_id=None,
        status=None,
        videos_to_pay=len(plan.to_pay),
        seconds=round(sketch.facts.seconds, 2),
        shots=[planned_row(plan, number) for number in plan.to_pay],
        path=str(sketch.path),
        failure=None,
        warnings=list(plan.warnings),
    )
    lines = [
        f"Sketch of the film: {sketch.path}. Pictures are flat in it; nothing was paid.",
        "The picture has a row for each shot.",
        *(f"Note: {warning}" for warning in plan.warnings),
    ]
    return answer("\n".join(lines), result, picture(sketch.sheet), video_link(sketch.path, sketch.facts.bytes))
