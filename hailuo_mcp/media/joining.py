"""Clips become one film: packets are copied where the streams allow it, else it is encoded anew."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.packet import Packet
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from hailuo_mcp import video
from hailuo_mcp.media import damage, mp4

_NO_CLIP = "A film needs at least one clip."
_TICKS = 10_000  # in a second, at least: how short one tick is
_QUALITY = "18"  # x264's CRF: a second generation that looks like the first
_HERTZ = 48_000
_FRAMES_AHEAD = 4
_FADE = 240  # samples: 5 ms, too short to hear, long enough that no seam clicks


@dataclass(frozen=True, slots=True)
class Joined:
    """The film in the file. A copied one still holds both pictures of each seam, the first for a single tick."""

    seconds: float
    frames: int
    re_encoded: bool
    reason: str | None  # why it was encoded anew


def join(clips: Sequence[Path], target: Path, *, exact: bool = False) -> Joined:
    """Write the clips as one MP4; each must begin with the picture that the one before it ends with.

    Copied, every picture stays as it is. `exact` encodes anew, at a constant rate and without the doubled pictures.
    Audio is always encoded anew, and clips without any are silent in a film that has some. Raises
    `video.Unreadable` for a clip that is damaged, `OSError` for a file that cannot be read or written.
    """
    shots = [_examine(path) for path in clips]
    if not shots:
        raise ValueError(_NO_CLIP)
    if target.exists() and any(target.samefile(path) for path in clips):
        raise ValueError(f"{target.name} is one of the clips; the film needs a file of its own.")
    reason = "a constant frame rate was asked for" if exact else _obstacle(shots)
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as film:
        seconds, frames = _encode(film, shots) if reason else _copy(film, shots)
    return Joined(float(seconds), frames, reason is not None, reason)


def film_sheet(
    clips: Sequence[Path],
    *,
    numbers: Sequence[int] | None = None,
    per_clip: int = 4,
    long_edge: int = 1568,
    max_bytes: int = 200_000,
) -> bytes:
    """A JPEG with a row for each clip, whose frames are spread evenly from its first to its last.

    `numbers` are what the clips are called, 1, 2, 3 and so on unless given.
    """
    if not clips:
        raise ValueError(_NO_CLIP)
    box = (long_edge // max(per_clip, 1), max(long_edge // max(len(clips), 1), 1))
    rows = [
        [(f"shot {number}: {second:.1f} s", tile) for second, tile in video.tiles(path, per_clip, box)]
        for number, path in zip(numbers or range(1, len(clips) + 1), clips, strict=True)
    ]
    return video.sheet(rows, max_bytes)


@dataclass(frozen=True, slots=True)
class _Shot:
    """What a clip's packets tell. Stamps and `end` count ticks."""

    path: Path
    traits: dict[str, object]  # what must be equal for a copy
    tick: Fraction  # seconds
    stamps: list[int]  # when each picture is shown, in that order
    end: int
    lags: tuple[int, int]  # from when a picture is decoded to when one is shown, at the start and at the end
    rate: Fraction
    size: tuple[int, int]
    has_audio: bool
    flaw: str | None  # why its packets cannot follow others

    @property
    def seconds(self) -> Fraction:
        return (self.end - self.stamps[0]) * self.tick


def _examine(path: Path) -> _Shot:
    try:
        mp4.inspect(path)  # the libraries open truncated files without a word
    except mp4.NotAVideo as error:
        raise video.Unreadable(path, f"cannot be joined. {error}") from error
    packets: list[tuple[int, int, int, bool]] = []
    with video.opened(path) as (container, stream):
        prefix, torn, starts_whole = damage.length_bytes(stream), 0, False
        for packet in container.demux(stream):
            if packet.size:
                starts_whole = starts_whole or (not packets and packet.is_keyframe)
                torn += not damage.is_whole(bytes(packet), prefix)
                packets.append((packet.pts or 0, packet.dts or 0, packet.duration or 0, packet.is_discard))
        shown = sorted((pts, duration) for pts, _, duration, hidden in packets if not hidden)
        torn += max(stream.frames - len(packets), 0)
        if torn or not shown:
            raise video.Unreadable(path, f"cannot be joined: {torn} of {stream.frames} pictures are damaged.")
        context = stream.codec_context
        return _Shot(
            path=path,
            traits={
                "codec": context.name,
                "size": (stream.width, stream.height),
                "pixel format": context.pix_fmt,
                "time base": stream.time_base,
                "encoder settings": context.extradata,
                "colours": (context.colorspace, context.color_primaries, context.color_trc, context.color_range),
            },
            tick=stream.time_base or Fraction(1),
            stamps=[pts for pts, _ in shown],
            end=shown[-1][0] + shown[-1][1],
            lags=(shown[0][0] - packets[0][1], shown[-1][0] - packets[-1][1]),
            rate=stream.guessed_rate or stream.average_rate or Fraction(24),
            size=(stream.width, stream.height),
            has_audio=bool(container.streams.audio),
            flaw=_flaw(packets, starts_whole),
        )


def _flaw(packets: list[tuple[int, int, int, bool]], starts_whole: bool) -> str | None:
    stamps, decoded = [packet[0] for packet in packets], [packet[1] for packet in packets]
    if any(hidden for *_, hidden in packets):
        return "hides some of its pictures"
    if not starts_whole or stamps[0] != min(stamps):
        return "begins with pictures that need an earlier one"
    if len(set(stamps)) < len(stamps) or any(a >= b for a, b in pairwise(decoded)):
        return "has timestamps that are out of order"
    return None


def _obstacle(shots: list[_Shot]) -> str | None:
    """Why the packets cannot be copied one clip after the other; None if they can."""
    first = shots[0]
    for shot in shots:
        if shot.flaw:
            return f"{shot.path.name} {shot.flaw}"
        if differing := [name for name, value in shot.traits.items() if value != first.traits[name]]:
            return f"{shot.path.name} and {first.path.name} differ in {', '.join(differing)}"
    for shot, following in pairwise(shots):
        if following.lags[0] > shot.lags[1]:
            return f"{following.path.name} must be decoded before {shot.path.name} ends"
    return None


def _copy(film: OutputContainer, shots: list[_Shot]) -> tuple[Fraction, int]:
    finer = ceil(_TICKS * shots[0].tick)
    tick = shots[0].tick / finer
    with video.opened(shots[0].path) as (_, template):
        stream = film.add_stream_from_template(template)
    stream.time_base = tick
    sound = _Sound(film) if any(shot.has_audio for shot in shots) else None
    begin = 0
    for shot in shots:
        start, last = shot.stamps[0], shot.stamps[-1]
        # A doubled picture cannot be left out, others may refer to it: it is shown for one tick.
        is_doubled = shot is not shots[-1]
        until = begin + (last - start) * finer + (1 if is_doubled else (shot.end - last) * finer)
        if sound:
            sound.add(shot, until * tick)
        with closing(_packets(shot.path)) as packets:
            for packet in packets:
                pts, dts, duration = packet.pts or 0, packet.dts or 0, packet.duration or 0
                packet.duration = 1 if is_doubled and pts == last else duration * finer
                packet.pts, packet.dts = begin + (pts - start) * finer, begin + (dts - start) * finer
                packet.time_base, packet.stream = tick, stream
                film.mux_one(packet)
        begin = until
    if sound:
        sound.finish()
    return begin * tick, sum(len(shot.stamps) for shot in shots)


def _packets(path: Path) -> "Generator[Packet[VideoStream], None, None]":
    # A generator, so that what goes wrong with the film is not blamed on the clip.
    with video.opened(path) as (container, stream):
        yield from (packet for packet in container.demux(stream) if packet.size)


def _encode(film: OutputContainer, shots: list[_Shot]) -> tuple[Fraction, int]:
    rate, size = shots[0].rate, (shots[0].size[0] // 2 * 2, shots[0].size[1] // 2 * 2)
    stream = video.add_stream(film, size, rate, crf=_QUALITY)
    sound = _Sound(film) if any(shot.has_audio for shot in shots) else None
    done = 0
    for shot in shots:
        count = max(round(shot.seconds * rate), 1) - (shot is not shots[-1])
        if sound:
            sound.add(shot, (done + count) / rate)
        with closing(_paced(shot, rate, count)) as paced, closing(_ahead(_fitted(paced, size))) as frames:
            for at, frame in enumerate(frames, done):
                frame.pts, frame.time_base = at, 1 / rate
                frame.pict_type = PictureType.NONE  # else each keyframe of a clip becomes one of the film
                film.mux(stream.encode(frame))
        done += count
    film.mux(stream.encode(None))
    if sound:
        sound.finish()
    return done / rate, done


def _ahead(frames: Iterator[av.VideoFrame]) -> Generator[av.VideoFrame, None, None]:
    """The same frames, the next ones being made in a thread meanwhile."""
    with ThreadPoolExecutor(1) as maker:
        coming = deque(maker.submit(next, frames, None) for _ in range(_FRAMES_AHEAD))
        try:
            while frame := coming.popleft().result():
                coming.append(maker.submit(next, frames, None))
                yield frame
        finally:
            for future in coming:
                future.cancel()


def _paced(shot: _Shot, rate: Fraction, count: int) -> Generator[av.VideoFrame, None, None]:
    """The clip's first `count` pictures at that rate: each once if it has that rate, however uneven its timestamps."""
    ends = [*shot.stamps[1:], shot.end]
    is_even = len(ends) == max(round(shot.seconds * rate), 1)
    shown = read = 0
    with closing(_decoded(shot.path)) as frames:
        for read, (frame, end) in enumerate(zip(frames, ends, strict=False), 1):
            until = read if is_even else round((end - shot.stamps[0]) * shot.tick * rate)
            while shown < min(until, count):
                shown += 1
                yield frame
    if read < len(ends):
        raise video.Unreadable(shot.path, f"cannot be joined: only {read} of {len(ends)} pictures can be decoded.")


def _decoded(path: Path) -> Generator[av.VideoFrame, None, None]:
    with video.opened(path) as (container, stream):
        yield from container.decode(stream)


def _fitted(frames: Iterable[av.VideoFrame], size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    """The frames in BT.709, scaled into that size, with black bars where their shape is another."""
    width, height = size
    scaler, bars = VideoReformatter(), None
    for frame in frames:
        scale = min(width / frame.width, height / frame.height)
        frame = scaler.reformat(
            frame,
            width=min(round(frame.width * scale / 2) * 2, width),
            height=min(round(frame.height * scale / 2) * 2, height),
            format="yuv420p",
            src_colorspace=video.untagged_space(frame),
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=video.EXACT,
        )
        if (frame.width, frame.height) != size:
            bars = bars or _bars(frame, size)
            bars.vpush(frame)
            frame = bars.vpull()
        yield frame


def _bars(frame: av.VideoFrame, size: tuple[int, int]) -> Graph:
    graph = Graph()
    source = f"video_size={frame.width}x{frame.height}:pix_fmt=yuv420p:time_base=1/1:colorspace=bt709:range=tv"
    pad = f"{size[0]}:{size[1]}:(ow-iw)/2:(oh-ih)/2"
    graph.link_nodes(graph.add("buffer", source), graph.add("pad", pad), graph.add("buffersink")).configure()
    return graph


class _Sound:
    """The film's audio: each clip's own, cut or filled to its pictures' time; silence where there is none."""

    def __init__(self, film: OutputContainer) -> None:
        self._film = film
        self._stream: AudioStream = film.add_stream("aac", rate=_HERTZ, layout="stereo")
        self._done = 0  # samples

    def add(self, shot: _Shot, until: Fraction) -> None:
        """Append the clip's audio up to that second of the film."""
        samples = round(until * _HERTZ) - self._done
        if samples <= 0:
            return
        with closing(_heard(shot, samples)) as frames:
            for frame in frames:
                frame.pts, frame.time_base = self._done, Fraction(1, _HERTZ)
                self._done += frame.samples
                self._film.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._film.mux(self._stream.encode(None))


def _heard(shot: _Shot, samples: int) -> Generator[AudioFrame, None, None]:
    """Exactly that many samples from when the clip's first picture is shown, softly cut at both ends."""
    with closing(_audio(shot.path)) as frames:
        first = next(frames, None)
        graph = Graph()
        begin = shot.stamps[0] * shot.tick
        is_mono = first is not None and first.layout.nb_channels == 1
        nodes = [
            _source(graph, first),
            *([graph.add("pan", "stereo|c0=c0|c1=c0")] if is_mono else []),  # else it would be quieter
            graph.add("asetpts", f"PTS-({begin})/TB"),
            graph.add("aresample", f"{_HERTZ}:async=1:first_pts=0"),
            graph.add("aformat", "sample_fmts=fltp:channel_layouts=stereo"),
            graph.add("apad", f"whole_len={samples}"),
            graph.add("atrim", f"end_sample={samples}"),
            graph.add("afade", f"t=in:ns={_FADE}"),
            graph.add("afade", f"t=out:ss={max(samples - _FADE, 0)}:ns={_FADE}"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        if first:
            for frame in chain([first], frames, [None]):
                with suppress(EOFError):  # it has enough
                    graph.push(frame)
                yield from _ready(graph)
        else:
            yield from _ready(graph)


def _source(graph: Graph, first: AudioFrame | None) -> FilterContext:
    if first is None:
        return graph.add("anullsrc", f"r={_HERTZ}:cl=stereo")
    return graph.add_abuffer(
        sample_rate=first.sample_rate, format=first.format, layout=first.layout, time_base=first.time_base
    )


def _ready(graph: Graph) -> Iterator[AudioFrame]:
    with suppress(BlockingIOError, EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, AudioFrame)
            yield frame


def _audio(path: Path) -> Generator[AudioFrame, None, None]:
    with video.opened(path) as (container, _):
        if container.streams.audio:
            yield from container.decode(container.streams.audio[0])
