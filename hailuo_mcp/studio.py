"""The story of a video, in the order it happens: judge, write down, pay once, watch, bring home."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from hailuo_mcp import files
from hailuo_mcp.api import HailuoApi, VideoLink
from hailuo_mcp.clocks import Steady
from hailuo_mcp.collector import Collector
from hailuo_mcp.errors import ApiRefused, HailuoError, JournalUnavailable, NotFound, Unconfirmed
from hailuo_mcp.frames import Frame, FrameName
from hailuo_mcp.journal import Journal
from hailuo_mcp.owed import Owed
from hailuo_mcp.records import Intent, State, Video
from hailuo_mcp.review import Request as Request
from hailuo_mcp.review import Review, Reviewer
from hailuo_mcp.stills import Stills
from hailuo_mcp.submission import Submission
from hailuo_mcp.viewing import Preview, View, Viewer
from hailuo_mcp.waiting import Sleep, done_within

if TYPE_CHECKING:
    from hailuo_mcp.media.miniatures import Miniature

CLOSING_SECONDS = 1.5  # hosts give a server about 2 s before they kill it
SPARE_SECONDS = 30.0  # beyond the submit timeout: a record still `Submitting` then belongs to a dead process
TELL_SECONDS = 5.0
TWIN_WAIT_SECONDS = 20.0  # how long to wait for the same request that another process is sending

Tell = Callable[[float, Video], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a film a video belongs; shots count from 1."""

    film_id: str
    shot: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """A paid video. `already` says that the same request was under way before, so nothing more was paid."""

    video: Video
    prompt: str
    warnings: tuple[str, ...]
    already: bool


@dataclass(frozen=True, slots=True)
class _Prepared:
    submission: Submission
    intent: Intent
    warnings: tuple[str, ...]


class Studio:
    """One method for each thing a user can ask for. Edges and clock are given."""

    def __init__(
        self,
        api: HailuoApi,
        journal: Journal,
        collector: Collector,
        reviewer: Reviewer,
        stills: Stills,
        viewer: Viewer,
        *,
        host: str,
        submit_seconds: float,
        daily_limit: int | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._api = api
        self._journal = journal
        self._collector = collector
        self._reviewer = reviewer
        self._stills = stills
        self._viewer = viewer
        self._host = host
        self._patience = submit_seconds + SPARE_SECONDS
        self._daily_limit = daily_limit
        self._now = Steady(clock)
        self._sleep = sleep
        self._paying: dict[str, asyncio.Task[tuple[Video, bool]]] = {}
        self._owed = Owed(collector.tell, sleep=sleep)

    async def close(self) -> None:
        """Let submits that are being paid for reach the journal, as long as a closing host allows."""
        if self._paying:
            await asyncio.wait(self._paying.values(), timeout=CLOSING_SECONDS)
        await self._owed.close()

    async def generate(
        self, request: Request, place: Place | None = None, *, patience: float | None = None
    ) -> Submitted:
        """Judge everything, then pay for one video at most once. A cancelled caller does not undo the payment.

        As a shot of a film it stands for itself: the same request elsewhere is another video.

        Raises RequestRejected (nothing sent), ApiRefused or ApiUnavailable (nothing paid), or Unconfirmed, also when
        it is still being sent after `patience` seconds.
        """
        self._api.key()
        with ExitStack() as opened:
            prepared = await self._prepare(request, place, opened)
            key = prepared.intent.key
            twin = self._paying.get(key)
            paying = twin or asyncio.create_task(self._pay(prepared, opened.pop_all()))
            if not twin:
                self._paying[key] = paying
                paying.add_done_callback(partial(self._paid, key))
        if not (await asyncio.wait({paying}, timeout=patience))[0]:
            raise Unconfirmed(
                "The request is still being sent; that goes on by itself, and nothing is paid twice. Call check_status "
                "without a task_id in a minute: it lists what is under way. Do not change the request to try again."
            )
        video, new = paying.result()
        if video.task_id is None:
            video = await self._await_twin(video)
        return Submitted(video, prepared.submission.prompt, prepared.warnings, already=bool(twin) or not new)

    def _paid(self, key: str, task: asyncio.Task[tuple[Video, bool]]) -> None:
        self._paying.pop(key, None)
        if not task.cancelled():
            task.exception()  # the caller may have gone; the journal knows

    async def _prepare(self, request: Request, place: Place | None, opened: ExitStack) -> _Prepared:
        """Everything that can be refused here is refused here, all at once."""
        review = await self._reviewer.review(request, opened)
        submission = review.submission()
        return _Prepared(submission, self._intent(submission, review.frames, request.take, place), review.warnings)

    def _intent(self, submission: Submission, frames: Sequence[Frame], take: int, place: Place | None) -> Intent:
        digests = {frame.name: frame.sha256 for frame in frames}
        labels = {frame.name: frame.label for frame in frames}
        what = [self._host, submission.payload(), digests, take, *([place.film_id, place.shot] if place else [])]
        identity = json.dumps(what, sort_keys=True)
        return Intent(
            key=hashlib.sha256(identity.encode()).hexdigest(),
            prompt=submission.prompt,
            duration=submission.duration,
            resolution=submission.resolution,
            prompt_optimizer=submission.prompt_optimizer,
            aigc_watermark=submission.aigc_watermark,
            first_frame=labels.get("first_frame_image"),
            last_frame=labels.get("last_frame_image"),
            first_frame_sha256=digests.get("first_frame_image"),
            last_frame_sha256=digests.get("last_frame_image"),
            take=take,
            film_id=place.film_id if place else None,
            shot=place.shot if place else None,
        )

    async def _pay(self, prepared: _Prepared, opened: ExitStack) -> tuple[Video, bool]:
        """Write the intent down, send it once, write down what came of it. Runs as a task of its own."""
        with opened:
            video, new = await self._journal.begin(
                prepared.intent, patience=self._patience, daily_limit=self._daily_limit
            )
            if not new:
                return video, False
            try:
                task_id = await self._api.submit(prepared.submission)
            except Unconfirmed as error:
                # A journal that fails now has the intent still: the record counts as unconfirmed after its deadline.
                unknown = replace(video, state="Unconfirmed", failure=str(error))
                with suppress(JournalUnavailable, NotFound):
                    await self._owed.write(
                        partial(self._journal.unconfirmed, video.id, str(error), video.created_at), "a lost answer"
                    )
                raise Unconfirmed(unconfirmed_words(unknown)) from error
            except HailuoError as error:
                with suppress(JournalUnavailable, NotFound):
                    await self._owed.write(
                        partial(self._journal.refused, video.id, str(error), video.created_at), "a refusal"
                    )
                raise
            try:
                submitted = partial(self._journal.submitted, video.id, task_id)
                return await self._owed.write(submitted, f"task {task_id}, which is paid for,"), True
            except JournalUnavailable as error:
                raise JournalUnavailable(
                    f"The video was submitted and paid for, its task_id is {task_id}, but the journal could not be "
                    f"written: {error} Keep the task_id. It is written down by itself once the journal works again; "
                    f'should the server stop before, call check_status with the task_id and record="{video.id}".'
                ) from error

    async def _await_twin(self, video: Video) -> Video:
        """The task id of the same request that another process is sending; raises Unconfirmed when there is none."""
        deadline = self._now() + TWIN_WAIT_SECONDS
        while video.state == "Submitting" and self._now() < deadline:
            await self._sleep(0.5)
            video = await self._journal.find(video.id) or video
        if video.task_id:
            return video
        if video.state == "Refused":
            raise ApiRefused(str(video.failure))
        raise Unconfirmed(unconfirmed_words(video))

    async def status(
        self, task_id: str, wait_seconds: float = 0, tell: Tell | None = None, *, record: str = ""
    ) -> Video:
        """Where a video stands, after waiting at most `wait_seconds` for its end. Any task id of the key works.

        `record`: the unconfirmed request that, as a person found out, this task belongs to.
        """
        if record:
            await self._collector.resolve(record, task_id)
        known = self._collector.under_way(task_id) or await self._journal.find(task_id)
        if known and known.state == "Submitting" and await self._journal.recover():
            known = await self._journal.find(task_id)
        if known and known.task_id is None:
            raise (
                ApiRefused(str(known.failure)) if known.state == "Refused" else Unconfirmed(unconfirmed_words(known))
            )
        task_id = str(known.task_id) if known else task_id
        if wait_seconds <= 0:
            return await self._collector.glance(task_id)
        return await self._collector.wait(task_id, wait_seconds, tell or _say_nothing)

    async def glance(self, task_id: str) -> Video:
        """Where a video stands, for callers that poll: the API is asked at most once in an interval."""
        return await self._collector.glance(task_id)

    async def link(self, task_id: str, file_id: str | None = None) -> tuple[Video, VideoLink]:
        """A fresh download link; raises NotReady when the task has not succeeded."""
        return await self._collector.link(task_id, file_id)

    async def download(self, task_id: str, filename: str | None, patience: float, tell: Tell | None = None) -> Video:
        """The finished video as a checked file in the output folder, under a name of its own.

        After `patience` seconds the record comes back without a path; the download goes on.
        """
        home = asyncio.create_task(
            self._collector.bring_home(task_id, files.video_name(filename) if filename else None)
        )
        start = self._now()
        while (waited := self._now() - start) < patience:
            if await done_within(home, min(TELL_SECONDS, patience - waited), self._sleep):
                return home.result()
            if tell and (video := await self._journal.find(task_id)):
                await tell(self._now() - start, video)
        home.cancel()  # only this caller's wait; the download itself is shared
        video = await self._journal.find(task_id) or await self._collector.look(task_id)
        return replace(video, path=None)  # the record may still tell of a file that is gone

    async def judge(self, request: Request) -> Review:
        """A request judged as `generate` will judge it; free."""
        with ExitStack() as opened:
            return await self._reviewer.review(request, opened)

    async def check(self, request: Request) -> tuple[Review, bytes | None]:
        """Everything that can be said of a request before it is paid for, and a JPEG of its frames; free."""
        return await self._viewer.check(request)

    async def preview(self, request: Request) -> Preview:
        """A sketch of the shot as MP4, drawn on this machine; free."""
        return await self._viewer.preview(request)

    async def view(self, clip: str, frames: int, moment: str | None = None) -> View:
        """A look at a finished clip, named by its task_id or its file in the output folder; saves a moment as PNG."""
        return await self._viewer.view(clip, frames, moment)

    async def glimpses(self, first: str | None, last: str | None) -> dict[FrameName, bytes]:
        """Small JPEGs of the frames that a request names, of those that can be seen."""
        return await self._viewer.glimpses({"first_frame_image": first, "last_frame_image": last})

    async def glimpses_of(self, asked: Intent) -> dict[FrameName, bytes]:
        """Small JPEGs of the frames that a video was asked with, of those that are still the same."""
        return await self._viewer.glimpses(
            {"first_frame_image": asked.first_frame, "last_frame_image": asked.last_frame},
            {"first_frame_image": asked.first_frame_sha256, "last_frame_image": asked.last_frame_sha256},
        )

    async def miniature(self, clip: str) -> "Miniature":
        """A finished clip small enough for a message, named by its task_id or its file in the output folder."""
        return await self._viewer.miniature(clip)

    async def still(self, task_id: str, moment: str) -> bytes:
        """A frame of a finished video as PNG: the `first`, the `last`, or the one at that second."""
        return await self._stills.png(task_id, moment)

    async def recent(
        self, state: State | None = None, limit: int = 20, before: str | None = None
    ) -> tuple[list[Video], str | None]:
        """Videos, newest first, and the cursor of the next page."""
        await self._journal.recover()
        return await self._journal.recent(state=state, limit=limit, before=before)

    async def find(self, task_id: str) -> Video:
        """What the journal knows of a video, without asking the API; raises NotFound."""
        video = await self._journal.find(task_id)
        if video is None:
            raise NotFound(f"No video with the task_id {task_id} is in the journal; list_videos tells which are.")
        return video

    async def under_way(self) -> list[Video]:
        """Videos that are neither finished nor refused, newest first."""
        await self._journal.recover()
        return await self._journal.under_way()


def unconfirmed_words(video: Video) -> str:
    """What to tell a person about a submit whose outcome is not known."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(video.created_at))
    if video.state == "Submitting":
        return (
            f"The same request is being sent by another window since {when} and has no task_id yet (record "
            f"{video.id}). Nothing was sent again. Ask once more in a minute."
        )
    take = video.intent.take if video.intent else 1
    return (
        f"This request was sent at {when}, but its outcome is not known: {video.failure}. It may have been paid for, "
        "so it was not sent again. Look at the account's task list at the provider. If the task is there, call "
        f'check_status with its task_id and record="{video.id}"; if not, generate_video with take={take + 1} sends '
        "the request again."
    )


async def _say_nothing(_waited: float, _video: Video) -> None:
    pass
