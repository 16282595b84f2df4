"""Looking before paying and after: the frames on one picture, a free sketch of the move, the finished clip."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hailuo_mcp import files
from hailuo_mcp.errors import RequestRejected
from hailuo_mcp.frames import Crop, FrameName, Judged
from hailuo_mcp.media import mp4
from hailuo_mcp.records import Video
from hailuo_mcp.review import Request, Review, Reviewer
from hailuo_mcp.stills import Stills, check_moment

if TYPE_CHECKING:
    from PIL.Image import Image

    from hailuo_mcp.media.boards import Panel
    from hailuo_mcp.media.miniatures import Miniature
    from hailuo_mcp.video import Which

PICTURE_SHORT_SIDE = 420  # pixels of each frame on the board
PREVIEW_SHORT_SIDE = 384
PREVIEW_TILES = 9
COMPARED_SHORT_SIDE = 256
GLIMPSE_SHORT_SIDE = 360
CROP_SHOWN = 0.01  # a smaller cut cannot be seen
_ENDS: tuple[tuple[FrameName, "Which"], ...] = (("first_frame_image", "first"), ("last_frame_image", "last"))


@dataclass(frozen=True, slots=True)
class Preview:
    """A sketch of a shot at `path`, and a picture of its course: a JPEG with the second of each tile."""

    review: Review
    path: Path
    facts: mp4.Mp4Facts
    sheet: bytes
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class View:
    """A clip at `path`, a picture of its course, and how close its ends are to what was asked for: 1 the same, 0 like
    unrelated pictures; `notes` say why an end is not compared. `frame` is a PNG of the moment that was wanted."""

    path: Path
    video: Video | None
    facts: mp4.Mp4Facts
    sheet: bytes
    seconds: list[float]
    likeness: dict[FrameName, float]
    notes: list[str]
    frame: Path | None


class Viewer:
    """Everything that is looked at. Drawing happens in threads, one at a time: it takes both cores."""

    def __init__(self, reviewer: Reviewer, stills: Stills, output_dir: Path) -> None:
        self._reviewer = reviewer
        self._stills = stills
        self._output_dir = output_dir
        self._drawing = asyncio.Lock()

    async def check(self, request: Request) -> tuple[Review, bytes | None]:
        """Everything that can be said of a request before it is paid for, and a picture of its frames."""
        unwritten = not request.prompt.strip()
        with ExitStack() as opened:
            review = await self._reviewer.review(request, opened, show=PICTURE_SHORT_SIDE, unwritten=unwritten)
        if not review.judged:
            return review, None
        async with self._drawing:
            return review, await asyncio.to_thread(_board, review)

    async def preview(self, request: Request) -> Preview:
        """A sketch of the shot as MP4 in the output folder; raises RequestRejected like the paid call."""
        with ExitStack() as opened:
            review = await self._reviewer.review(request, opened, show=PREVIEW_SHORT_SIDE, whole_urls=True)
        review.submission()
        missing = (f"{judged.name}: is not in the sketch" for judged in review.judged if judged.image is None)
        review = replace(review, warnings=(*review.warnings, *missing))
        async with self._drawing:
            path, facts = await asyncio.to_thread(self._sketch, review)
            _, sheet, seconds = await asyncio.to_thread(_look_at, path, PREVIEW_TILES)
        return Preview(review, path, facts, sheet, seconds)

    def _sketch(self, review: Review) -> tuple[Path, mp4.Mp4Facts]:
        from hailuo_mcp import video  # late: loading FFmpeg takes a moment
        from hailuo_mcp.media import animatic

        first, last = (_image(review.frame(name)) for name, _ in _ENDS)
        shape = first or last
        try:
            with files.draft(self._output_dir, _preview_name(review.reading.prompt)) as draft:
                animatic.render(
                    draft.path,
                    first=first,
                    last=last,
                    moves=review.reading.moves,
                    prompt_length=len(review.reading.prompt),
                    seconds=review.request.duration,
                    size=video.output_size(shape.size if shape else None, PREVIEW_SHORT_SIDE),
                    caption="preview",
                )
                facts = mp4.inspect(draft.path)
                return draft.publish(), facts
        except OSError as error:
            raise files.unsaved("The preview", self._output_dir, error) from error

    async def view(self, clip: str, frames: int, moment: str | None = None) -> View:
        """A clip, named by its task_id or by its file in the output folder; `moment` is saved as a picture of its own.

        Raises NotReady or RequestRejected.
        """
        if moment:
            check_moment(moment)
        path, video = await self._stills.file(clip)
        async with self._drawing:
            facts, sheet, seconds = await asyncio.to_thread(_look_at, path, frames)
        likeness, notes = await self._compared(path, video)
        frame = await self._stills.save(path, moment) if moment else None
        return View(path, video, facts, sheet, seconds, likeness, notes, frame)

    async def glimpses(
        self, sources: Mapping[FrameName, str | None], digests: Mapping[FrameName, str | None] | None = None
    ) -> dict[FrameName, bytes]:
        """Small JPEGs of frames, of those that can be seen; with `digests` of those that are still the same."""
        from hailuo_mcp.media import miniatures

        seen: dict[FrameName, bytes] = {}
        for name, source in sources.items():
            if not source:
                continue
            judged = await self._reviewer.judge(name, source, show=GLIMPSE_SHORT_SIDE, whole_urls=True)
            if judged.frame:
                judged.frame.close()
            same = digests is None or (judged.frame is not None and judged.frame.sha256 == digests[name])
            if judged.image and same:
                seen[name] = await asyncio.to_thread(miniatures.small_jpeg, judged.image)
        return seen

    async def miniature(self, clip: str) -> "Miniature":
        """A small copy of a clip, named by its task_id or by its file in the output folder."""
        path, _ = await self._stills.file(clip)
        async with self._drawing:
            return await asyncio.to_thread(_miniature, path)

    async def _compared(self, path: Path, video: Video | None) -> tuple[dict[FrameName, float], list[str]]:
        """How close the clip's ends are to the frames that were asked for, where those can still be read."""
        likeness: dict[FrameName, float] = {}
        notes: list[str] = []
        intent = video.intent if video else None
        asked = [
            (_ENDS[0], intent and intent.first_frame, intent and intent.first_frame_sha256),
            (_ENDS[1], intent and intent.last_frame, intent and intent.last_frame_sha256),
        ]
        for (name, end), label, digest in asked:
            if not label:
                continue
            judged = await self._reviewer.judge(name, label, show=COMPARED_SHORT_SIDE, whole_urls=True)
            if judged.frame:
                judged.frame.close()
            if judged.image is None:
                notes.append(f"{name}: cannot be compared, as {label} is not at hand any more")
            elif judged.frame and judged.frame.sha256 != digest:
                notes.append(f"{name}: not compared, as {label} has changed since")
            else:
                likeness[name] = await asyncio.to_thread(_likeness, path, end, judged.image)
        return likeness, notes


def _board(review: Review) -> bytes:
    from hailuo_mcp.media.boards import draw_board

    return draw_board(_panels(review))


def _panels(review: Review) -> "list[Panel]":
    from hailuo_mcp.media.boards import Panel

    panels = []
    first, crop = review.frame("first_frame_image"), review.crop
    for judged in review.judged:
        title = judged.name.removesuffix("_image").replace("_", " ")
        facts, kept = judged.facts, None
        lines = [f"{title}: {facts.name}, {facts.width}x{facts.height}" if facts else f"{title}: unknown"]
        if judged.problems:
            lines.append("it would be refused")
        elif judged.image is None:
            lines.append("at a URL; only its size was looked at" if facts else "at a URL; it could not be looked at")
        if judged.name == "last_frame_image" and crop and first and first.facts:
            lines.append(crop_words(crop))
            kept = first.facts.width / first.facts.height if crop.loss >= CROP_SHOWN else None
        size = (facts.width, facts.height) if facts else None
        panels.append(Panel(lines, judged.image, size, kept))
    return panels


def crop_words(crop: Crop) -> str:
    """What is cut from the last frame, in words."""
    if crop.loss < CROP_SHOWN:
        return "nothing is cut from it"
    return f"{crop.loss:.0%} is cut from it, at its {crop.sides}"


def _image(judged: Judged | None) -> "Image | None":
    return judged.image if judged else None


def _preview_name(prompt: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\[.*?\]", " ", prompt).lower()).strip("-")[:40].strip("-")
    return f"preview-{words}.mp4" if words else "preview.mp4"


def _look_at(path: Path, frames: int) -> tuple[mp4.Mp4Facts, bytes, list[float]]:
    from hailuo_mcp import video

    try:
        facts = mp4.inspect(path)
        return facts, *video.contact_sheet(path, frames)
    except (mp4.NotAVideo, video.Unreadable) as error:
        raise RequestRejected(f"{path} is not a whole MP4 video: {error}") from error
    except OSError as error:
        raise RequestRejected(f"{path} cannot be read: {error.strerror or error}") from error


def _miniature(path: Path) -> "Miniature":
    from hailuo_mcp import video
    from hailuo_mcp.media import miniatures

    try:
        return miniatures.miniature(path)
    except (video.Unreadable, OSError) as error:
        raise RequestRejected(f"{path} cannot be shown: {error}") from error


def _likeness(path: Path, end: "Which", asked: "Image") -> float:
    from hailuo_mcp import video

    return round(video.likeness(video.read_frame(path, end), asked), 2)
