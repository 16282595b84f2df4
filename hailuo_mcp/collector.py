"""The watch over paid videos: asks how they stand, tells who waits, brings the finished ones home."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hailuo_mcp.api import HailuoApi, VideoLink
from hailuo_mcp.clocks import Steady
from hailuo_mcp.downloads import Downloads, usual_name
from hailuo_mcp.errors import ApiUnavailable, HailuoError, NotFound, NotReady
from hailuo_mcp.journal import Journal
from hailuo_mcp.media.mp4 import Mp4Facts, NotAVideo
from hailuo_mcp.records import Home, Video
from hailuo_mcp.waiting import Sleep, done_within

ENDED = ("Success", "Failed")
BACKOFF_MAX_SECONDS = 600.0
WATCHED_AT_ONCE = 16
DOWNLOADS_AT_ONCE = 2
GIVE_UP_AFTER = 6  # failed tries to bring one video home in the background
CLOCKS_APART_SECONDS = 30.0  # how far the clocks of machines that share a journal may differ
STALE_SECONDS = 48 * 3600.0  # a task that has not ended by then may never end
STALE_LOOK_SECONDS = 3600.0  # but this machine may have slept meanwhile, so it is still looked at
PROGRESS_SECONDS = 10.0  # who waits is told at least this often
LOOK_SECONDS_MIN = 0.5  # what a look may take at the end of a wait
JOURNAL_LOOK_SECONDS = 1.0  # how often a record is read again while another process watches the video
CARES_MAX = 1000  # beyond these, what has ended is forgotten also where no watch does it
LINK_SPARE_SECONDS = 60.0  # a link that ends sooner is asked for anew

_log = logging.getLogger(__name__)
Announce = Callable[[Video], Awaitable[None]]


@dataclass(slots=True)
class _Care:
    """What this process knows of one video between two looks."""

    video: Video | None = None
    link: VideoLink | None = None  # kept here alone: it opens the video to anyone
    looked_at: float = float("-inf")
    next_look: float = 0.0
    failures: int = 0
    leased_until: float = 0.0
    look: asyncio.Task[Video] | None = None
    fetch: asyncio.Task[Video] | None = None
    turn: asyncio.Task[None] | None = None
    waiting: int = 0  # callers who would miss what is remembered here
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Collector:
    """Looks after every task, at most one query per task and interval however many callers wait.

    With several processes on one journal, the one that holds a video's lease watches it; the others read the journal.
    """

    def __init__(
        self,
        api: HailuoApi,
        journal: Journal,
        downloads: Downloads,
        *,
        interval: float,
        adopts: bool = True,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._api = api
        self._journal = journal
        self._downloads = downloads
        self._interval = interval
        self._adopts = adopts  # tasks of the key that the journal does not know; not where callers share the key
        self._clock = clock  # what is written down and what links say is measured by this one
        self._now = Steady(clock)
        self._sleep = sleep
        self._owner = secrets.token_urlsafe(12)
        self._lease_seconds = max(30.0, 3 * interval)
        self._cares: dict[str, _Care] = {}
        self._paused_until = 0.0
        self._wanted: set[str] = set()  # tasks that the next claim is to hold
        self._next_claim: asyncio.Task[None] | None = None
        self._claims: set[asyncio.Task[None]] = set()
        self._claiming = asyncio.Lock()
        self._looking = asyncio.Semaphore(WATCHED_AT_ONCE)
        self._fetching = asyncio.Semaphore(DOWNLOADS_AT_ONCE)
        self.announce: Announce | None = None
        self._noticed: float | None = None  # when the journal was last searched for what others wrote
        self._told: dict[str, Video] = {}  # what was announced of each record lately

    async def close(self) -> None:
        """Stop what is under way and let other processes take over; partial downloads stay for the next one."""
        running: list[asyncio.Task[Any]] = [*self._claims]
        running += [task for care in self._cares.values() for task in (care.turn, care.look, care.fetch) if task]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._journal.release(self._owner)

    async def look(self, task_id: str) -> Video:
        """Ask the API now; callers who ask at the same time share one query."""
        care = self._care(task_id)
        if care.look is None or care.look.done():
            care.look = asyncio.create_task(self._look(task_id, care))
            care.look.add_done_callback(_retrieve)
        return await asyncio.shield(care.look)

    async def glance(self, task_id: str) -> Video:
        """The record; the API is asked only where it may have news, and at most once in an interval."""
        with self._attended(task_id) as care:
            claimed = None
            if self.under_way(task_id) and not self._is_fresh(care):
                claimed = await self._leased(task_id, care)
            # Others leave a video that is watched here alone, so what is remembered of it need not be read again.
            known = self.under_way(task_id) if care.leased_until > self._now() else None
            known = known or await self._journal.find(task_id)
            if known is None:  # a task of the key's that was submitted elsewhere
                return await self.look(task_id)
            if known.state == "Failed" or known.file_id or self._is_fresh(care):
                return known
            if claimed is None:
                claimed = await self._leased(task_id, care)
            if claimed and not (self._is_fresh(care) and care.look and care.look.done()):
                return await self.look(task_id)
            return care.video or known if claimed else known  # somebody has looked meanwhile, here or elsewhere

    @contextmanager
    def _attended(self, task_id: str) -> Iterator[_Care]:
        """The care of a video while somebody waits for it: it is not forgotten."""
        care = self._care(task_id)
        care.waiting += 1
        try:
            yield care
        finally:
            care.waiting -= 1

    def _is_fresh(self, care: _Care) -> bool:
        return self._now() - care.looked_at < self._interval

    async def resolve(self, record: str, task_id: str) -> Video:
        """Give an unconfirmed request the task that a person found; raises NotFound when the API does not know it."""
        await self.look(task_id)
        care = self._care(task_id)
        care.video = await self._journal.resolve(record, task_id)
        await self._tell(care)
        return care.video

    def under_way(self, task_id: str) -> Video | None:
        """The record, if it is known here to be under way: what has ended may be changed by another process."""
        care = self._cares.get(task_id)
        return care.video if care and care.video and care.video.state not in ENDED else None

    async def wait(self, task_id: str, seconds: float, tell: Callable[[float, Video], Awaitable[None]]) -> Video:
        """Wait until the task ends, at most `seconds`; `tell` hears of the seconds waited so far and the record."""
        start = self._now()
        with self._attended(task_id) as care:
            video = await self.glance(task_id)
            while video.state not in ENDED and (waited := self._now() - start) < seconds:
                await tell(waited, video)
                video = await self._next(task_id, care, video, seconds - waited)
            return video

    async def _next(self, task_id: str, care: _Care, video: Video, seconds: float) -> Video:
        """The record after the next look, by whoever watches, or after at most `seconds`."""
        watching = await self._leased(task_id, care)
        care.changed.clear()
        if care.video and care.video.state in ENDED:
            return care.video
        pause = max(0.0, care.next_look - self._now()) if watching else JOURNAL_LOOK_SECONDS
        pause = min(pause, seconds, PROGRESS_SECONDS)
        await self._sleep_or(care.changed, pause)
        if not watching:
            return await self._journal.find(task_id) or video
        if self._now() >= care.next_look:
            return await self._look_again(task_id, video, seconds - pause)
        return care.video or video

    async def link(self, task_id: str, file_id: str | None = None) -> tuple[Video, VideoLink]:
        """A fresh download link; raises NotReady when the task has not succeeded."""
        video = await self._known(task_id)
        trusted = file_id and self._adopts
        if not trusted and (video is None or video.state != "Success" or not video.file_id):
            video = await self.glance(task_id)
        if file_id and not trusted and file_id != _file_id(video):
            raise NotFound(f"File {file_id} is not that of task {task_id}; leave file_id out.")
        file_id = file_id or _file_id(video)
        link = await self._api.retrieve(task_id, file_id)
        if video is None or video.state != "Success":
            video = await self._journal.observed(task_id, state="Success", file_id=link.file_id)
        video = await self._journal.linked(
            task_id,
            file_id=link.file_id,
            filename=link.filename,
            expires_at=link.expires_at,
        )
        self._care(task_id).link = link
        return video, link

    async def bring_home(self, task_id: str, name: str | None = None) -> Video:
        """The video as a checked file in the output folder; callers who ask at the same time share one download.

        A video that is home under another name is copied. Raises NotReady, DownloadFailed or what the API raises.
        A cancelled caller does not stop the download.
        """
        care = self._care(task_id)
        video = await self._journal.find(task_id)
        while video is None or not is_home(video):
            ours = care.fetch is None or care.fetch.done()
            if care.fetch is None or ours:
                care.fetch = asyncio.create_task(self._fetch(task_id, care, name))
                care.fetch.add_done_callback(_retrieve)
            video = await asyncio.shield(care.fetch)
            if ours:
                return video
        home = Path(str(video.path))
        if name is None or _is_named(home, name):
            return video
        try:
            return replace(video, path=str(await asyncio.to_thread(self._downloads.copy, task_id, home, name)))
        except NotAVideo:
            await self._journal.lost(task_id)
            return await self.bring_home(task_id, name)

    async def run(self) -> None:
        """Watch until cancelled: every unfinished video of the journal, also those of processes that died."""
        held: list[Video] = []
        claim_at = 0.0
        while True:
            if self._now() >= claim_at:
                try:
                    held = await self._claim()
                except HailuoError as error:
                    _log.warning("the watch over unfinished videos pauses: %s", error)
                claim_at = self._now() + min(self._interval, self._lease_seconds / 3)
            for video in held:
                self._take_turn(video)
            due = min((self._care(str(video.task_id)).next_look for video in held), default=claim_at)
            pause = min(max(due, self._paused_until), claim_at) - self._now()
            await self._sleep(max(pause, self._interval / 20))

    async def _claim(self) -> list[Video]:
        """Everything unfinished that no other process watches, ours for a while."""
        await self._journal.recover()
        videos = await self._journal.lease(self._owner, seconds=self._lease_seconds)
        until = self._now() + self._lease_seconds
        for video in videos:
            self._care(str(video.task_id)).leased_until = until
        self._forget_all_but({str(video.task_id) for video in videos})
        await self._notice()
        return videos

    def _forget_all_but(self, held: Collection[str]) -> None:
        now = self._now()
        for task_id, care in [*self._cares.items()]:
            # One that is to be looked at later has failed meanwhile, which must not be forgotten.
            running = any(task and not task.done() for task in (care.look, care.fetch, care.turn))
            busy = care.waiting > 0 or care.next_look > now or running
            if task_id not in held and not busy and (care.video is None or care.video.state in ENDED):
                del self._cares[task_id]

    async def _notice(self) -> None:
        """Announce what other processes have written since the last time."""
        if self.announce is None:
            return
        since, self._noticed = self._noticed, self._clock()
        changed = await self._journal.changed_since(min(since or self._noticed, self._noticed) - CLOCKS_APART_SECONDS)
        told, self._told = self._told, {video.id: video for video in changed}
        for video in changed:
            if since is not None and told.get(video.id) != video:
                await self.announce(video)

    def _take_turn(self, video: Video) -> None:
        """Start a video's turn when it is due. Not awaited: what hangs must not hold up the others."""
        care = self._care(str(video.task_id))
        idle = care.turn is None or care.turn.done()
        if idle and self._is_due(care):
            care.turn = asyncio.create_task(self._turn(video, care))

    def _is_due(self, care: _Care) -> bool:
        return self._now() >= max(care.next_look, self._paused_until)

    async def _turn(self, video: Video, care: _Care) -> None:
        """A look, and the way home when the video is done."""
        task_id = str(video.task_id)
        video = care.video or video
        # What has ended and is home asks for nothing until the next claim leaves it out.
        care.next_look = max(care.next_look, self._now() + self._interval) if video.state in ENDED else care.next_look
        try:
            if video.state == "Processing":
                async with self._looking:
                    # Where many wait here, a caller may have looked meanwhile, or the API asked for a pause.
                    looks = self._is_due(care)
                    video = await self.look(task_id) if looks else care.video or video
                if looks and video.state == "Processing" and self._clock() - video.created_at > STALE_SECONDS:
                    care.next_look = self._now() + STALE_LOOK_SECONDS
            if video.state == "Success" and not video.path:
                await self.bring_home(task_id)
        except HailuoError as error:
            self._back_off(care, error)
            if video.state == "Success" and care.failures >= GIVE_UP_AFTER:
                await self._give_up(task_id, error)

    async def _give_up(self, task_id: str, reason: HailuoError) -> None:
        try:
            await self.tell(await self._journal.given_up(task_id, str(reason)))
        except HailuoError as error:
            _log.warning("video %s cannot be given up: %s", task_id, error)

    def _back_off(self, care: _Care, error: HailuoError) -> None:
        care.failures += 1
        pause = min(BACKOFF_MAX_SECONDS, self._interval * 2**care.failures) * random.uniform(1, 1.2)  # noqa: S311
        if isinstance(error, ApiUnavailable) and error.retry_after:
            pause = max(pause, error.retry_after)
            self._paused_until = self._now() + error.retry_after
        care.next_look = self._now() + pause
        _log.info("a video is looked at again in %.0f s: %s", pause, error)

    async def _look(self, task_id: str, care: _Care) -> Video:
        if care.video is None and not self._adopts:
            await self._known(task_id)
        # The next look is set before the answer is here: a slow answer must not lead to a second query.
        care.looked_at = self._now()
        care.next_look = care.looked_at + self._interval * random.uniform(1, 1.15)  # noqa: S311
        seen = await self._api.query(task_id)
        care.failures = 0
        before = self.under_way(task_id) or await self._journal.find(task_id)
        if before and (before.state, before.upstream_status) == (seen.status, seen.upstream_status):
            care.video = before
            return before
        care.video = await self._journal.observed(
            task_id,
            state=seen.status,
            upstream_status=seen.upstream_status,
            file_id=seen.file_id,
            video_width=seen.video_width,
            video_height=seen.video_height,
            failure=seen.failure,
        )
        await self._tell(care)
        return care.video

    async def _known(self, task_id: str) -> Video | None:
        """The record, None for a task that may be adopted; raises NotFound where each caller has their own only."""
        video = await self._journal.find(task_id)
        if video is None and not self._adopts:
            raise NotFound(f"No video with the task_id {task_id} is yours; list_videos tells which are.")
        return video

    async def _look_again(self, task_id: str, video: Video, seconds: float) -> Video:
        """A look while somebody waits: a passing failure is waited out, not told, and so is an API that hangs."""
        try:
            async with asyncio.timeout(max(seconds, LOOK_SECONDS_MIN)):  # wait_for loses cancellations in Python 3.11
                return await self.look(task_id)
        except TimeoutError:
            return video  # the look itself goes on
        except ApiUnavailable as error:
            self._back_off(self._care(task_id), error)
            return video

    async def _tell(self, care: _Care) -> None:
        care.changed.set()
        if care.video:
            await self.tell(care.video)

    async def tell(self, video: Video) -> None:
        """Announce what this process wrote into a record."""
        if self._noticed is not None:
            self._told[video.id] = video
        if self.announce:
            await self.announce(video)

    async def _leased(self, task_id: str, care: _Care) -> bool:
        """Whether this process watches the video, claiming it when nobody does."""
        if care.leased_until - self._now() < self._lease_seconds / 3:
            self._wanted.add(task_id)
            if self._next_claim is None:
                self._next_claim = asyncio.create_task(self._claim_wanted())
                self._claims.add(self._next_claim)
                self._next_claim.add_done_callback(self._claims.discard)
                self._next_claim.add_done_callback(_retrieve)
            # Shared: who goes away takes nothing from the others, and what goes wrong is told to all.
            await asyncio.shield(self._next_claim)
        return care.leased_until > self._now()

    async def _claim_wanted(self) -> None:
        """Claim all videos that somebody wants; who comes while it is being written shares the next claim."""
        async with self._claiming:
            wanted, self._wanted, self._next_claim, now = self._wanted, set(), None, self._now()
            lease, many = self._lease_seconds, len(wanted)
            for video in await self._journal.lease(self._owner, seconds=lease, limit=many, task_ids=wanted):
                held = self._care(str(video.task_id))
                held.leased_until = now + lease
                if held.video and held.video.updated_at < video.updated_at:
                    held.video = video  # another process wrote it

    async def _sleep_or(self, event: asyncio.Event, seconds: float) -> None:
        changed = asyncio.ensure_future(event.wait())
        try:
            await done_within(changed, seconds, self._sleep)
        finally:
            changed.cancel()

    async def _fetch(self, task_id: str, care: _Care, name: str | None) -> Video:
        video = await self._journal.find(task_id)
        if video is None or video.state != "Success":
            video = await self.glance(task_id)
            _file_id(video)
        while True:
            # Another process on this machine may be at it: two must not write to one file.
            async with self._fetching:
                with self._downloads.alone(task_id) as alone:
                    video = await self._journal.find(task_id) or video
                    if is_home(video):
                        return video
                    if alone:
                        return await self._bring(task_id, care, video, name)
            await self._sleep(JOURNAL_LOOK_SECONDS)

    async def _bring(self, task_id: str, care: _Care, video: Video, name: str | None) -> Video:
        path, facts = await self._download(video, name or usual_name(task_id))
        rate = round(facts.frames_per_second, 3)
        size = (facts.width or None, facts.height or None)
        home = Home(str(path), facts.bytes, round(facts.seconds, 3), rate, facts.codec, facts.has_audio, *size)
        care.video = await self._journal.brought_home(task_id, home)
        care.failures = 0
        await self._tell(care)
        return care.video

    async def _download(self, video: Video, name: str) -> tuple[Path, Mp4Facts]:
        task_id, file_id = str(video.task_id), _file_id(video)

        async def fresh_link() -> str:
            return (await self.link(task_id, file_id))[1].download_url

        link = self._care(task_id).link
        lasts = link and link.expires_at and link.expires_at - self._clock() > LINK_SPARE_SECONDS
        url = link.download_url if link and lasts else None
        return await self._downloads.fetch(task_id, name, url, fresh_link, never_home=video.codec is None)

    def _care(self, task_id: str) -> _Care:
        if task_id not in self._cares and len(self._cares) >= CARES_MAX:
            self._forget_all_but(set())
        return self._cares.setdefault(task_id, _Care())


def _file_id(video: Video | None) -> str:
    """The finished file; raises NotReady with what to do."""
    if video is not None and video.state == "Failed":
        raise NotReady(f"Task {video.task_id} failed, so there is no video: {video.failure}")
    if video is None or video.state != "Success":
        task_id = video.task_id if video else "?"
        raise NotReady(
            f"Task {task_id} is still processing, so there is no file yet. Call check_status with its task_id and "
            "wait_seconds 45 until the status is Success, then try again."
        )
    if not video.file_id:
        raise NotReady(
            f"Task {video.task_id} succeeded, but the API has not named its file yet; try again in a minute."
        )
    return video.file_id


def is_home(video: Video) -> bool:
    """Whether the file is still there, and as long as it was: a crash of the machine may have cut it off."""
    try:
        return bool(video.path) and Path(str(video.path)).stat().st_size == (video.bytes or -1)
    except OSError:
        return False


def _is_named(home: Path, name: str) -> bool:
    """Whether a file has that name, or the number that it got because the name was taken."""
    stem, wanted = home.stem, Path(name).stem
    return stem == wanted or (stem.startswith(f"{wanted}-") and stem[len(wanted) + 1 :].isdigit())


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Mark a failure as seen: every caller may have gone."""
    if not task.cancelled():
        task.exception()
