"""A film to look at: its storyboard before it is paid for, a free sketch of the whole, a sheet with a row a shot."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from hailuo_mcp import camera, files
from hailuo_mcp.errors import NotReady, RequestRejected
from hailuo_mcp.films.film import Film
from hailuo_mcp.films.plan import Plan
from hailuo_mcp.media import mp4

SKETCH_SHORT_SIDE = 384  # pixels
PREVIEW_NAME = "preview-film.mp4"
BYTES_MAX = 200_000
_COLUMNS = 4
_TILE = (384, 288)
_TILES_A_SHOT = 4
_ROWS_MAX = 10  # of the sheet: more would be too small to see anything


@dataclass(frozen=True, slots=True)
class Sketch:
    """The whole film as a flat animatic at `path`, and a JPEG with a row a shot."""

    path: Path
    facts: mp4.Mp4Facts
    sheet: bytes


class Screening:
    """Draws in threads, one picture at a time: it takes both cores."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawing = asyncio.Lock()

    async def storyboard(self, plan: Plan) -> bytes:
        """The keyframes in order as a JPEG of at most 200 kB; grey where a shot ends as the model likes."""
        async with self._drawing:
            return await asyncio.to_thread(_storyboard, plan)

    async def sketch(self, plan: Plan) -> Sketch:
        """The whole film as a file in the output folder; raises DownloadFailed when it cannot be saved."""
        try:
            async with self._drawing:
                return await asyncio.to_thread(_sketch, plan, self._folder)
        except OSError as error:
            raise files.unsaved("The preview", self._folder, error) from error

    async def sheet(self, film: Film) -> bytes:
        """A JPEG of at most 200 kB with a row for each shot that is at home; of a long film shots spread evenly."""
        clips = [(shot.number, Path(shot.path)) for shot in film.shots if shot.path]
        async with self._drawing:
            return await asyncio.to_thread(_sheet, clips)


def _storyboard(plan: Plan) -> bytes:
    from hailuo_mcp import video  # late: loading FFmpeg takes a moment

    tiles = []
    shots = plan.script.shots
    for at, source in enumerate([shots[0].first, *(shot.last for shot in shots)]):
        judged = plan.judged.get(source or "")
        label = f"keyframe {at + 1}" if source else f"end of shot {at}: open" if at else "shot 1 begins freely"
        tiles.append((label, _tile(judged.image if judged else None)))
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    return video.sheet(rows, BYTES_MAX)


def _tile(image: Image.Image | None) -> Image.Image:
    return ImageOps.contain(image, _TILE) if image else Image.new("RGB", _TILE, "#b0b0b0")


def _sketch(plan: Plan, folder: Path) -> Sketch:
    """Draw every shot and join them."""
    from hailuo_mcp import video
    from hailuo_mcp.media import animatic, joining

    shots = plan.script.shots
    leading = next((_picture(plan, source) for shot in shots for source in (shot.first, shot.last) if source), None)
    size = video.output_size(leading.size if leading else None, SKETCH_SHORT_SIDE)
    with tempfile.TemporaryDirectory(prefix="hailuo-film-") as place:
        clips: list[Path] = []
        for number, shot in enumerate(shots, 1):
            first = _picture(plan, shot.first)
            if plan.script.follows(number):
                first = video.read_frame(clips[-1], "last")
            reading = camera.read(shot.prompt)
            clips.append(Path(place) / f"{number}.mp4")
            animatic.render(
                clips[-1],
                first=first,
                last=_picture(plan, shot.last),
                moves=reading.moves,
                prompt_length=len(reading.prompt),
                seconds=shot.duration,
                size=size,
                caption=f"preview, shot {number}",
            )
        with files.draft(folder, PREVIEW_NAME) as draft:
            joining.join(clips, draft.path)
            facts = mp4.inspect(draft.path)
            return Sketch(draft.publish(), facts, _sheet(list(enumerate(clips, 1))))


def _picture(plan: Plan, source: str | None) -> Image.Image | None:
    judged = plan.judged.get(source or "")
    return judged.image if judged else None


def _sheet(clips: list[tuple[int, Path]]) -> bytes:
    from hailuo_mcp import video
    from hailuo_mcp.media import joining

    clips = [(number, path) for number, path in clips if path.is_file()]
    if not clips:
        raise NotReady("The files of all its shots are gone; download_video with a shot's task_id fetches it again.")
    wanted = min(len(clips), _ROWS_MAX)
    chosen = [clips[at] for at in sorted({round(at * (len(clips) - 1) / max(wanted - 1, 1)) for at in range(wanted)})]
    try:
        return joining.film_sheet(
            [path for _, path in chosen], numbers=[number for number, _ in chosen], per_clip=_TILES_A_SHOT
        )
    except (video.Unreadable, OSError) as error:
        raise RequestRejected(f"A shot of the film cannot be looked at: {error}") from error
