"""A request judged before anything is paid: its words, its numbers and its frames, all at once."""

import asyncio
import io
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

from hailuo_mcp import camera
from hailuo_mcp.errors import HailuoError, RequestRejected
from hailuo_mcp.frames import (
    Crop,
    Frame,
    FrameName,
    Judged,
    crop_of,
    crop_warning,
    is_url,
    judge_file,
    judge_source,
    judge_url,
)
from hailuo_mcp.media import mending
from hailuo_mcp.remote import Remote
from hailuo_mcp.rules import DEFAULT_DURATION, DEFAULT_RESOLUTION, request_problems
from hailuo_mcp.stills import Stills, is_reference
from hailuo_mcp.submission import Submission


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for. Frames are paths, URLs, data URLs or frames of earlier videos; `take` tells wanted
    repetitions apart; without `mend` a frame that cannot be sent as it is gets refused."""

    prompt: str
    first_frame_image: str | None = None
    last_frame_image: str | None = None
    duration: int = DEFAULT_DURATION  # seconds
    resolution: str = DEFAULT_RESOLUTION
    prompt_optimizer: bool = True
    aigc_watermark: bool = False
    take: int = 1
    mend: bool = True


@dataclass(frozen=True, slots=True)
class Review:
    """What a request turned out to be: what would be sent, and everything that is wrong with it."""

    request: Request
    reading: camera.Reading
    judged: tuple[Judged, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def frames(self) -> list[Frame]:
        """The frames that can be sent."""
        return [judged.frame for judged in self.judged if judged.frame]

    def frame(self, name: FrameName) -> Judged | None:
        """What became of one frame argument, None when it was not given."""
        return next((judged for judged in self.judged if judged.name == name), None)

    @property
    def crop(self) -> Crop | None:
        """What the model will cut from the last frame, as far as the sizes of both are known."""
        first, last = (self.frame(name) for name in ("first_frame_image", "last_frame_image"))
        if not (first and first.facts and last and last.facts):
            return None
        return crop_of((first.facts.width, first.facts.height), (last.facts.width, last.facts.height))

    def submission(self) -> Submission:
        """What is sent; raises RequestRejected with all problems when there are any."""
        if self.problems:
            problems = (f"- {problem}" for problem in self.problems)
            raise RequestRejected("\n".join(["Nothing was sent and nothing was paid. To mend:", *problems]))
        request = self.request
        return Submission(
            self.reading.prompt,
            request.duration,
            request.resolution,
            request.prompt_optimizer,
            request.aigc_watermark,
            self.frames,
        )


class Reviewer:
    """Judges requests. `open_file` opens a path that a person gave, within what may be read."""

    def __init__(self, open_file: Callable[[str], BinaryIO], remote: Remote, stills: Stills) -> None:
        self._open_file = open_file
        self._remote = remote
        self._stills = stills

    async def review(
        self,
        request: Request,
        opened: ExitStack,
        *,
        show: int | None = None,
        whole_urls: bool = False,
        unwritten: bool = False,
    ) -> Review:
        """Judge a request; `opened` closes its frames. `show` asks for the pictures, their short side so many pixels
        long; those at URLs are fetched for that only with `whole_urls`. `unwritten`: its prompt comes later."""
        reading = camera.read(request.prompt)
        words = "(not written yet)" if unwritten else reading.prompt
        problems = [*request_problems(words, request.duration, request.resolution), *reading.problems]
        sources: list[tuple[FrameName, str | None]] = [
            ("first_frame_image", request.first_frame_image),
            ("last_frame_image", request.last_frame_image),
        ]

        async def judge(name: FrameName, source: str) -> Judged:
            one = await self.judge(name, source, mend=request.mend, show=show, whole_urls=whole_urls)
            if one.frame:  # at once: the other frame may never be judged
                opened.callback(one.frame.close)
            return one

        judged = await asyncio.gather(*(judge(name, source) for name, source in sources if source and source.strip()))
        warnings = [*reading.warnings]
        for one in judged:
            problems += one.problems
            if one.frame:
                warnings += one.frame.warnings
        frames = [one.frame for one in judged if one.frame]
        if len(frames) == 2 and (crop := crop_warning(*frames)):
            warnings.append(crop)
        return Review(request, reading, tuple(judged), tuple(problems), tuple(warnings))

    async def judge(
        self, name: FrameName, source: str, *, mend: bool = True, show: int | None = None, whole_urls: bool = False
    ) -> Judged:
        """Judge one frame, wherever it is."""
        if is_url(source):
            return await self._judge_url(name, source.strip(), show if whole_urls else None)
        if not is_reference(source):
            return await _in_thread(partial(judge_source, name, source, self._open_file, mend=mend, show=show))
        try:
            still = io.BytesIO(await self._stills.of(source))
        except HailuoError as error:
            return Judged(name, source.strip()[:200], problems=(f"{name}: {error}",))
        return await _in_thread(partial(judge_file, name, source.strip(), still, mend=mend, show=show))

    async def _judge_url(self, name: FrameName, url: str, show: int | None) -> Judged:
        judged = judge_url(name, url, None, None)
        if not judged.frame:
            return judged
        found = await (self._remote.whole(url) if show else self._remote.head(url))
        if found.private:
            trouble = f"cannot be reached by the API, as {found.trouble}; give the picture's path instead"
            return replace(judged, frame=None, problems=(f"{name}: {url} {trouble}",))
        if found.data is None:
            trouble = f"could not be checked: {found.trouble}; the API will try to read it by itself"
            return replace(judged, frame=replace(judged.frame, warnings=(f"{name}: {url} {trouble}",)))
        judged = await asyncio.to_thread(judge_url, name, url, found.data, found.size)
        if show and judged.frame:
            image = await asyncio.to_thread(mending.glimpse, url, io.BytesIO(found.data), show)
            judged = replace(judged, image=image)
        return judged


async def _in_thread(judge: Callable[[], Judged]) -> Judged:
    """Judge in a thread; the file of a frame that nobody waits for any more is closed, whenever the thread ends."""
    lock = threading.Lock()
    made: list[Judged] = []
    gone = False

    def run() -> Judged:
        judged = judge()
        with lock:
            made.append(judged)
            if gone:
                _close(judged)
        return judged

    try:
        return await asyncio.to_thread(run)
    except asyncio.CancelledError:
        with lock:
            gone = True
            for judged in made:
                _close(judged)
        raise


def _close(judged: Judged) -> None:
    if judged.frame:
        judged.frame.close()
