"""The tools: read the arguments, call the studio, phrase the answer."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import CallToolResult

from hailuo_mcp.app import App
from hailuo_mcp.films.script import is_film
from hailuo_mcp.films.words import film_failure, film_row, film_words, shot_rows
from hailuo_mcp.rules import DEFAULT_DURATION, DEFAULT_RESOLUTION, Status
from hailuo_mcp.surface.consent import Consent, agreed, ask_person
from hailuo_mcp.surface.contract import (
    Cursor,
    FileId,
    FileName,
    FirstFrame,
    Generated,
    LastFrame,
    Limit,
    Link,
    MaybeTaskId,
    Mend,
    Prompt,
    Quality,
    Record,
    Saved,
    Seconds,
    StatusOf,
    Take,
    TaskId,
    VideoList,
    VideoState,
    WaitSeconds,
    answer,
    refusal,
)
from hailuo_mcp.surface.media import film_links, video_link
from hailuo_mcp.surface.rows import clip_words, file_facts, iso, row
from hailuo_mcp.surface.tool import HailuoTool

if TYPE_CHECKING:
    from hailuo_mcp.films.film import Film
    from hailuo_mcp.records import Video

SUBMIT_WAIT_SECONDS = 45.0  # a slow line may need longer; the sending goes on
FILMS_TOLD = 10  # when all that is under way is asked for
DOWNLOAD_WAIT_SECONDS = 45.0  # below the 60 s after which many hosts give up on a call
_STATUS: dict[str, Status] = {"Processing": "Processing", "Success": "Success", "Failed": "Failed"}


class Tools:
    """The tools over one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self) -> list[HailuoTool]:
        """Every tool with its title and true hints."""
        paid = {"read_only": False, "destructive": False, "idempotent": False}
        return [
            HailuoTool.of(self.generate_video, "Generate a video", **paid),
            HailuoTool.of(self.check_status, "Check a video", read_only=True),
            HailuoTool.of(self.get_download_url, "Get a download link", read_only=True),
            HailuoTool.of(self.download_video, "Save a video", **paid | {"idempotent": True}),
            HailuoTool.of(self.list_videos, "List videos", read_only=True, open_world=False),
        ]

    async def generate_video(
        self,
        consent: Annotated[ElicitationResult[Consent], Resolve(ask_person)],
        prompt: Prompt,
        first_frame_image: FirstFrame = "",
        last_frame_image: LastFrame = "",
        duration: Seconds = DEFAULT_DURATION,
        resolution: Quality = DEFAULT_RESOLUTION,
        prompt_optimizer: bool = True,
        aigc_watermark: bool = False,
        take: Take = 1,
        mend: Mend = True,
    ) -> Annotated[CallToolResult, Generated]:
        """Make a video from a first and/or last picture. COSTS MONEY: call once for each video wanted.

        Give frames as paths or URLs, never as pasted bytes. Returns a task_id at once; the video takes 1-5 minutes.
        Next: check_status. A repeated request is not paid twice.
        """
        from hailuo_mcp.studio import Request

        if not agreed(consent):
            return refusal("The person did not agree to pay for this video. Nothing was sent.")
        studio = await self._app.studio()
        done = await studio.generate(
            Request(
                prompt,
                first_frame_image,
                last_frame_image,
                duration,
                resolution,
                prompt_optimizer,
                aigc_watermark,
                take,
                mend,
            ),
            patience=SUBMIT_WAIT_SECONDS,
        )
        task_id = str(done.video.task_id)
        lines = [
            f"This request is already under way as task {task_id}; nothing more was paid. Pass take={take + 1} for "
            "another one."
            if done.already
            else f"Submitted and paid for: task {task_id}.",
            f"The prompt was sent as: {done.prompt}" if done.prompt != prompt else "",
            *(f"Note: {warning}" for warning in done.warnings),
            f'It takes 1-5 minutes. Next: check_status(task_id="{task_id}", wait_seconds=45), again until it ends.',
        ]
        result = Generated(
            task_id=task_id,
            status=_STATUS.get(done.video.state, "Processing"),
            prompt=done.prompt,
            already_submitted=done.already,
            warnings=list(done.warnings),
        )
        return answer("\n".join(filter(None, lines)), result)

    async def check_status(
        self, ctx: Context[Any, Any], task_id: MaybeTaskId = "", wait_seconds: WaitSeconds = 0, record: Record = ""
    ) -> Annotated[CallToolResult, StatusOf]:
        """See how a video stands; free. wait_seconds=45 waits for its end. Next: download_video."""
        studio = await self._app.studio()
        if record and not task_id:
            return refusal(f"task_id: must be the task, as the provider lists it, that record {record} belongs to")
        if not task_id:
            films = await (await self._app.films()).recent(FILMS_TOLD, unfinished=True)
            return _under_way(await studio.under_way(), films)
        if is_film(task_id):
            return await self._film_status(ctx, task_id, wait_seconds)
        video = await studio.status(task_id, wait_seconds, _progress(ctx, wait_seconds), record=record)
        result = StatusOf(
            task_id=str(video.task_id),
            status=_STATUS[video.state],
            upstream_status=video.upstream_status,
            file_id=video.file_id,
            video_width=video.video_width,
            video_height=video.video_height,
            file=file_facts(video),
            failure=video.failure if video.state == "Failed" else None,
            path=video.path,
            under_way=None,
            shots=None,
        )
        return answer(status_words(video), result)

    async def _film_status(self, ctx: Context[Any, Any], film_id: str, wait_seconds: int) -> CallToolResult:
        async def tell(waited: float, film: "Film") -> None:
            await ctx.report_progress(waited, wait_seconds, f"{film.home} of {len(film.shots)} shots at home")

        film = await (await self._app.films()).status(film_id, wait_seconds, tell)
        facts: dict[str, Any] = dict.fromkeys(StatusOf.model_fields)
        facts |= {"task_id": film_id, "status": film.status, "failure": film_failure(film), "shots": shot_rows(film)}
        facts["path"] = film.record.path if film.record.finished else None
        return answer(film_words(film), StatusOf(**facts), *film_links(film))

    async def get_download_url(self, task_id: TaskId, file_id: FileId = "") -> Annotated[CallToolResult, Link]:
        """Get a fresh, expiring link to a finished video; free."""
        if is_film(task_id):
            return refusal(f"{task_id} is a film, joined on this machine: check_status tells where its file is.")
        studio = await self._app.studio()
        video, link = await studio.link(task_id, file_id or None)
        expires = iso(link.expires_at)
        result = Link(
            task_id=str(video.task_id),
            file_id=link.file_id,
            download_url=link.download_url,
            filename=link.filename,
            expires_at=expires,
        )
        until = f"It works until {expires}." if expires else "It works for a limited time."
        return answer(f"Download link of task {video.task_id}: {link.download_url}\n{until}", result)

    async def download_video(
        self,
        ctx: Context[Any, Any],
        task_id: TaskId,
        filename: FileName = "",
    ) -> Annotated[CallToolResult, Saved]:
        """Save a finished video as MP4 in the output folder, checked to be complete; never over another file."""
        if is_film(task_id):
            return await self._film_file(task_id, filename)
        studio = await self._app.studio()
        video = await studio.download(
            task_id, filename.strip() or None, DOWNLOAD_WAIT_SECONDS, _progress(ctx, DOWNLOAD_WAIT_SECONDS)
        )
        result = Saved(
            task_id=str(video.task_id),
            path=video.path,
            bytes=video.bytes if video.path else None,
            video_width=video.video_width,
            video_height=video.video_height,
        )
        if not video.path:
            return answer(
                f"Video {video.task_id} is still being downloaded; that goes on by itself. Call download_video again "
                "in a minute to see where it is.",
                result,
            )
        link = video_link(Path(video.path), video.bytes)
        facts = f"{(video.bytes or 0) / 1e6:.1f} MB, {clip_words(video)}"
        return answer(f"Saved: {video.path} ({facts})", result, link)

    async def _film_file(self, film_id: str, filename: str) -> CallToolResult:
        film = await (await self._app.films()).file(film_id, filename.strip() or None)
        if not film.record.finished:
            return refusal(f"{film_id} is not joined yet.\n{film_words(film)}")
        facts: dict[str, Any] = dict.fromkeys(Saved.model_fields)
        facts |= {"task_id": film_id, "path": film.record.path, "bytes": film.record.bytes}
        return answer(f"Saved: {film.record.path}", Saved(**facts), *film_links(film))

    async def list_videos(
        self, state: VideoState = "", limit: Limit = 10, cursor: Cursor = ""
    ) -> Annotated[CallToolResult, VideoList]:
        """List earlier videos, newest first: what was asked, how it stands, where the file is."""
        studio = await self._app.studio()
        videos, following = await studio.recent(state or None, limit, cursor or None)
        films = await (await self._app.films()).of(videos)
        text = "\n".join(_grouped(videos, films)) or "There are no videos."
        if following:
            text += f'\nMore: list_videos(cursor="{following}")'
        listed = VideoList(
            videos=list(map(row, videos)), films=list(map(film_row, films.values())), next_cursor=following
        )
        return answer(text, listed)


def _grouped(videos: "list[Video]", films: "dict[str, Film]") -> Iterator[str]:
    """A line for each video; the shots of a film stand together under it, where its newest one is."""
    told: set[str] = set()
    for video in videos:
        film = films.get((video.intent and video.intent.film_id) or "")
        if film is None:
            yield _row_words(video)
        elif film.record.id not in told:
            told.add(film.record.id)
            yield _film_line(film)
            yield from (
                f"  {_row_words(shot)}" for shot in videos if shot.intent and shot.intent.film_id == film.record.id
            )


def status_words(video: "Video") -> str:
    """What a person wants to know of a video, and the next step."""
    task = f"Task {video.task_id}"
    if video.state == "Failed":
        return f"{task} failed: {video.failure}"
    if video.state != "Success":
        finer = f" ({video.upstream_status})" if video.upstream_status not in (None, "Processing") else ""
        return (
            f"{task} is still processing{finer}. Nothing is lost by waiting: call check_status with wait_seconds=45 "
            "again."
        )
    facts = f", {words}" if (words := clip_words(video)) else ""
    if video.path:
        return f"{task} is finished{facts}. The video is at {video.path}"
    return (
        f'{task} is finished{facts}. Next: download_video(task_id="{video.task_id}") saves it, or get_download_url for '
        "a link."
    )


def _under_way(videos: "list[Video]", films: "list[Film]") -> CallToolResult:
    lines = [*map(_film_line, films), *map(_row_words, videos)]
    text = "\n".join(["Under way:", *lines]) if lines else "No video is under way."
    everything: dict[str, Any] = dict.fromkeys(StatusOf.model_fields)
    rows = [*map(film_row, films), *map(row, videos)]
    return answer(text, StatusOf(**everything | {"under_way": rows}))


def _film_line(film: "Film") -> str:
    place = f" -> {film.record.path}" if film.record.finished else ""
    stuck = ", ".join(str(shot.number) for shot in film.stuck)
    decide = f'; check_status(task_id="{film.record.id}") tells what to do about shot {stuck}' if stuck else ""
    return f"- film {film.record.id}: {film.status}, {film.home} of {len(film.shots)} shots at home{decide}{place}"


def _row_words(video: "Video") -> str:
    name = f"task {video.task_id}" if video.task_id else f"record {video.id}"
    what = video.intent.prompt[:60] if video.intent else "submitted elsewhere"
    if video.intent and video.intent.shot:
        name = f"shot {video.intent.shot}, {name}"
    where = f" -> {video.path} ({clip_words(video)})" if video.path else f" ({video.failure})" if video.failure else ""
    return f"- {iso(video.created_at)} {name}: {video.state}, {what}{where}"


def _progress(ctx: Context[Any, Any], total: float) -> Callable[[float, "Video"], Awaitable[None]]:
    async def tell(waited: float, video: "Video") -> None:
        await ctx.report_progress(waited, total, f"{video.upstream_status or video.state}, {waited:.0f} s")

    return tell
