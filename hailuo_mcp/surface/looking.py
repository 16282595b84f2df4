"""The free tools that look: at the frames before paying, at a sketch of the move, at the finished clip."""

from typing import TYPE_CHECKING, Annotated, Any

from mcp_types import CallToolResult

from hailuo_mcp.app import App
from hailuo_mcp.errors import RequestRejected
from hailuo_mcp.films.script import is_film
from hailuo_mcp.films.words import film_words
from hailuo_mcp.rules import DEFAULT_DURATION, DEFAULT_RESOLUTION
from hailuo_mcp.surface.contract import (
    Checked,
    Clip,
    FirstFrame,
    LastFrame,
    MaybePrompt,
    Mend,
    Moment,
    Previewed,
    Prompt,
    Quality,
    Seconds,
    Take,
    Tiles,
    Viewed,
    answer,
)
from hailuo_mcp.surface.media import film_links, picture, picture_link, video_link
from hailuo_mcp.surface.tool import HailuoTool

if TYPE_CHECKING:
    from hailuo_mcp.frames import Judged
    from hailuo_mcp.review import Review
    from hailuo_mcp.viewing import View


_ENDS = {"first_frame_image": "begins", "last_frame_image": "ends"}


class LookingTools:
    """The tools over one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> list[HailuoTool]:
        """Every tool with its title and true hints."""
        writes = {"read_only": False, "destructive": False}
        return [
            HailuoTool.of(self.check_frames, "Check frames", read_only=True),
            HailuoTool.of(self.preview_video, "Preview a video", **writes, idempotent=False),
            HailuoTool.of(self.view_video, "Look at a video", **writes, idempotent=True),
        ]

    async def check_frames(
        self,
        first_frame_image: FirstFrame = "",
        last_frame_image: LastFrame = "",
        prompt: MaybePrompt = "",
        duration: Seconds = DEFAULT_DURATION,
        resolution: Quality = DEFAULT_RESOLUTION,
        mend: Mend = True,
    ) -> Annotated[CallToolResult, Checked]:
        """See the frames, what the model will crop, and all problems of a request before paying; free."""
        from hailuo_mcp.review import Request

        studio = await self._app.studio()
        request = Request(prompt, first_frame_image, last_frame_image, duration, resolution, mend=mend)
        review, board = await studio.check(request)
        crop = review.crop
        result = Checked(
            ok=not review.problems,
            prompt=review.reading.prompt,
            frames=[_frame(judged) for judged in review.judged],
            crop_percent=round(100 * crop.loss) if crop else None,
            crop_sides=crop.sides if crop and round(100 * crop.loss) else None,
            camera=[
                {"sent": _bracket(move.commands), "commands": [command.english for command in move.commands]}
                for move in review.reading.moves
            ],
            problems=list(review.problems),
            warnings=list(review.warnings),
        )
        return answer(_check_words(review), result, *([picture(board)] if board else []))

    async def preview_video(
        self,
        prompt: Prompt,
        first_frame_image: FirstFrame = "",
        last_frame_image: LastFrame = "",
        duration: Seconds = DEFAULT_DURATION,
        resolution: Quality = DEFAULT_RESOLUTION,
        prompt_optimizer: bool = True,
        aigc_watermark: bool = False,
        take: Take = 1,
        mend: Mend = True,
    ) -> Annotated[CallToolResult, Previewed]:
        """Draw a rough sketch of generate_video's clip as MP4, from its arguments; free.

        It shows timing and direction of the camera moves on flat pictures, not what the model will make.
        """
        from hailuo_mcp.review import Request

        studio = await self._app.studio()
        frames = (first_frame_image, last_frame_image)
        preview = await studio.preview(
            Request(prompt, *frames, duration, resolution, prompt_optimizer, aigc_watermark, take, mend)
        )
        result = Previewed(
            path=str(preview.path),
            seconds=round(preview.facts.seconds, 2),
            video_width=preview.facts.width,
            video_height=preview.facts.height,
            prompt=preview.review.reading.prompt,
            warnings=list(preview.review.warnings),
        )
        lines = [
            f"Sketch of the shot: {preview.path}. Pictures are flat in it, so a pan looks like a truck.",
            f"The picture shows it at {_seconds(preview.seconds)}.",
            *(f"Note: {warning}" for warning in preview.review.warnings),
        ]
        return answer("\n".join(lines), result, video_link(preview.path, preview.facts.bytes), picture(preview.sheet))

    async def view_video(
        self, task_id: Clip, frames: Tiles = 9, save_frame: Moment = ""
    ) -> Annotated[CallToolResult, Viewed]:
        """Look at a finished video: frames with their seconds, and how like its ends are to the pictures asked for."""
        if is_film(task_id.strip()):
            if save_frame:
                raise RequestRejected("save_frame: give the task_id of a shot, or the name of the film's file")
            return await self._view_film(task_id.strip())
        studio = await self._app.studio()
        view = await studio.view(task_id.strip(), frames, save_frame or None)
        facts = view.facts
        result = Viewed(
            task_id=view.video.task_id if view.video else None,
            path=str(view.path),
            seconds=round(facts.seconds, 2),
            frames_per_second=round(facts.frames_per_second, 2),
            video_width=facts.width,
            video_height=facts.height,
            has_audio=facts.has_audio,
            shown_at=view.seconds,
            first_frame_likeness=view.likeness.get("first_frame_image"),
            last_frame_likeness=view.likeness.get("last_frame_image"),
            frame_path=view.frame and str(view.frame),
            notes=view.notes,
        )
        links = [video_link(view.path, facts.bytes), *([picture_link(view.frame)] if view.frame else [])]
        return answer(_view_words(view), result, picture(view.sheet), *links)

    async def _view_film(self, film_id: str) -> CallToolResult:
        film, sheet = await (await self._app.films()).look(film_id)
        facts: dict[str, Any] = dict.fromkeys(Viewed.model_fields)
        facts |= {"task_id": film_id, "path": film.record.path or "", "seconds": film.record.seconds or 0.0}
        facts |= {"frames_per_second": 0, "video_width": 0, "video_height": 0, "has_audio": False, "shown_at": []}
        facts["notes"] = ["the picture has a row for each shot"]
        words = f"{film_words(film)}\nThe picture has a row for each shot that is at home."
        return answer(words, Viewed(**facts), picture(sheet), *film_links(film))


def _frame(judged: "Judged") -> dict[str, Any]:
    facts, frame = judged.facts, judged.frame
    found: dict[str, Any] = {"name": judged.name, "source": judged.label, "ok": frame is not None}
    if facts:
        found |= {
            "format": facts.name,
            "bytes": facts.bytes,
            "width": facts.width,
            "height": facts.height,
            "aspect": round(facts.width / facts.height, 3),
            "orientation": _orientation(facts.width, facts.height),
        }
    if facts and frame and not frame.url:
        mended = (frame.format, frame.width, frame.height) != (facts.format, facts.width, facts.height)
        found |= {"sent": f"{frame.format} {frame.width}x{frame.height}", "mended": mended or bool(frame.warnings)}
    return found


def _orientation(width: int, height: int) -> str:
    return "square" if width == height else "landscape" if width > height else "portrait"


def _bracket(commands: Any) -> str:
    return f"[{','.join(command.text for command in commands)}]"


def _check_words(review: "Review") -> str:
    lines = [
        "Nothing stands against sending this."
        if not review.problems
        else f"This would be refused; {len(review.problems)} to mend:",
        *(f"- {problem}" for problem in review.problems),
    ]
    for judged in review.judged:
        if facts := judged.facts:
            shape = f"{facts.width / facts.height:.2f}:1, {_orientation(facts.width, facts.height)}"
            size = f"{facts.bytes / 1e6:.1f} MB" if facts.bytes >= 50_000 else f"{facts.bytes} bytes"
            lines.append(f"{judged.name}: {facts.name}, {facts.width}x{facts.height} ({shape}), {size}")
    if (crop := review.crop) and crop.loss >= 0.01 and len(review.frames) < 2:
        lines.append(f"The model would crop {crop.loss:.0%} of the last frame, at its {crop.sides}")
    moves = [
        f"{_bracket(move.commands)} {' with '.join(command.english for command in move.commands)}"
        for move in review.reading.moves
    ]
    if moves:
        lines.append(f"Camera: {', then '.join(moves)}")
    elif review.request.prompt.strip():
        lines.append("Camera: no commands in the prompt")
    else:
        lines.append("No prompt was given, so only the rest was checked")
    if review.reading.prompt != review.request.prompt:
        lines.append(f"The prompt will be sent as: {review.reading.prompt}")
    return "\n".join([*lines, *(f"Note: {warning}" for warning in review.warnings)])


def _view_words(view: "View") -> str:
    from hailuo_mcp.stills import last_frame

    likeness = view.likeness.items()
    facts, task_id = view.facts, view.video.task_id if view.video else None
    sound = "with sound" if facts.has_audio else "without sound"
    lines = [
        f"{view.path}: {facts.seconds:.1f} s, {facts.width}x{facts.height}, {sound}.",
        f"The picture shows it at {_seconds(view.seconds)}.",
        *(f"The clip {_ENDS[name]} {value:.2f} like {name} (1 the same, 0 unrelated)." for name, value in likeness),
        *(f"Note: {note}" for note in view.notes),
    ]
    if view.frame:
        lines.append(f"The frame is saved as {view.frame}, and can be given as a frame by that path.")
    lines.append(f'To go on from its end: first_frame_image="{last_frame(task_id or view.path.name)}"')
    return "\n".join(lines)


def _seconds(seconds: list[float]) -> str:
    return f"{', '.join(f'{second:.1f}' for second in seconds)} s"
