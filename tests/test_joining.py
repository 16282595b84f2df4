import io
import json
import math
import shutil
import subprocess
import sys
import warnings
from array import array
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from hailuo_mcp import camera, video
from hailuo_mcp.media import animatic, joining, mp4

SIZE = (256, 144)
PROMPTS = ("[Push in]", "[Pan left]", "[Shake]")


def _keyframes(count: int, size: tuple[int, int] = SIZE) -> list[Image.Image]:
    ramps = [Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), Image.radial_gradient("L")]
    pictures = [Image.merge("RGB", ramps[at % 3 :] + ramps[: at % 3]).resize(size) for at in range(count)]
    return [ImageOps.mirror(picture) if at > 2 else picture for at, picture in enumerate(pictures)]


def _shot(target: Path, first: Image.Image, last: Image.Image, prompt: str = "", **changes: Any) -> Path:
    reading = camera.read(prompt)
    wanted: dict[str, Any] = {"seconds": 1, "size": SIZE} | changes
    animatic.render(target, first=first, last=last, moves=reading.moves, prompt_length=len(reading.prompt), **wanted)
    return target


def _plain(target: Path, color: str, **changes: Any) -> Path:
    picture = Image.new("RGB", SIZE, color)
    return _shot(target, picture, picture, **changes)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three shots of a second that share their pictures at the seams."""
    folder = tmp_path_factory.mktemp("clips")
    keys = _keyframes(4)
    return [_shot(folder / f"shot{at}.mp4", keys[at], keys[at + 1], PROMPTS[at]) for at in range(3)]


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three clips whose packets are not in the order of their pictures, with several keyframes each."""
    folder = tmp_path_factory.mktemp("reordered")
    return [_encoded(folder / f"{at}.mp4", [20 + at * 60 + frame * 2 for frame in range(29 + at)]) for at in range(3)]


def _encoded(target: Path, levels: list[int], *, rate: int = 24, hertz: float = 0, **options: Any) -> Path:
    """Plain gray frames of those levels; with `hertz`, two tones of that pitch, if wanted of other `channels`."""
    size = options.pop("size", (64, 36))
    tick = options.pop("tick", None)
    channels, sampled = options.pop("channels", "stereo"), options.pop("sampled", 44_100)
    flags = options.pop("movflags", "+faststart")
    with av.open(str(target), "w", format="mp4", options={"movflags": flags} | options.pop("muxer", {})) as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "12", "bf": "3", "threads": "1"} | options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if tick:
            stream.codec_context.time_base = tick
        sound = container.add_stream("aac", rate=sampled, layout=channels) if hertz else None
        for at, level in enumerate(levels):
            frame = av.VideoFrame(*size, "yuv420p")
            frame.pts, frame.time_base = (at, Fraction(1, rate)) if not tick else (round(at / rate / tick), tick)
            for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        if sound:
            _play(container, sound, hertz, sampled, round(len(levels) * sampled / rate))
        container.mux(stream.encode(None))
    return target


def _remuxed(clip: Path, target: Path, *, pts: int = 0, dts: int = 0, skip: int = 0) -> Path:
    """The same packets without the first ones, their stamps so many frames later."""
    with av.open(str(clip), format="mp4") as source, av.open(str(target), "w", format="mp4") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for at, packet in enumerate(source.demux(video=0)):
            if packet.size and at >= skip:
                assert packet.pts is not None
                assert packet.dts is not None
                packet.pts, packet.dts, packet.stream = packet.pts + 512 * pts, packet.dts + 512 * dts, stream
                container.mux(packet)
    return target


def _play(container: Any, sound: Any, hertz: float, sampled: int, samples: int) -> None:
    wave = array("f", (0.5 * math.sin(math.tau * hertz * at / sampled) for at in range(samples)))
    frame = av.AudioFrame(format="fltp", layout=sound.layout.name, samples=samples)
    for plane in frame.planes:
        plane.update(wave.tobytes().ljust(plane.buffer_size, b"\0"))
    frame.sample_rate, frame.pts, frame.time_base = sampled, 0, Fraction(1, sampled)
    container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def _pictures(path: Path) -> list[tuple[Fraction, bytes]]:
    """Each picture's second, and its pixels to the last bit."""
    with av.open(str(path), format="mp4") as container:
        return [
            (frame.pts * frame.time_base, b"".join(bytes(plane) for plane in frame.planes))
            for frame in container.decode(video=0)
        ]


def _pixels(path: Path) -> list[bytes]:
    return [pixels for _, pixels in _pictures(path)]


def _levels(path: Path) -> list[int]:
    """The brightness in each picture's middle."""
    with av.open(str(path), format="mp4") as container:
        return [bytes(frame.planes[0])[frame.planes[0].line_size * 18 + 32] for frame in container.decode(video=0)]


def _samples(path: Path) -> "array[float]":
    """The left channel."""
    heard = array("f")
    with av.open(str(path), format="mp4") as container:
        assert container.streams.audio[0].rate == 48_000
        for frame in container.decode(audio=0):
            heard.frombytes(bytes(frame.planes[0])[: frame.samples * 4])
    return heard


def _loudness(samples: "array[float]") -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def _stamps(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path), format="mp4") as container:
        return [(packet.pts, packet.dts) for packet in container.demux(video=0) if packet.size]  # type: ignore[misc]


def _difference(a: Image.Image, b: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(a, b)).mean)


@pytest.fixture
def handles() -> Iterator[None]:
    """No file stays open, where the system tells."""
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir())) if folder.exists() else 0
    yield
    assert before == (len(list(folder.iterdir())) if folder.exists() else 0)


@pytest.mark.parametrize("kind", ["clips", "reordered"])
def test_a_copied_film_keeps_every_pixel_of_every_clip(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clips = request.getfixturevalue(kind)
    film = joining.join(clips, tmp_path / "film.mp4")
    assert (film.re_encoded, film.reason) == (False, None)
    assert _pixels(tmp_path / "film.mp4") == [pixels for clip in clips for pixels in _pixels(clip)]


@pytest.mark.parametrize("kind", ["clips", "reordered"])
def test_the_doubled_picture_of_a_seam_takes_one_frames_time(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clips = request.getfixturevalue(kind)
    counts = [len(_stamps(clip)) for clip in clips]
    film = joining.join(clips, tmp_path / "film.mp4")
    starts = [second for second, _ in _pictures(tmp_path / "film.mp4")]
    gaps = [b - a for a, b in pairwise(starts)]
    seams = {counts[0] - 1, counts[0] + counts[1] - 1}
    assert all(gap < Fraction(1, 10_000) if at in seams else gap == Fraction(1, 24) for at, gap in enumerate(gaps))
    assert film.frames == sum(counts) == len(starts)
    assert film.seconds == pytest.approx((sum(counts) - 2) / 24, abs=2 / 10_000)
    facts = mp4.inspect(tmp_path / "film.mp4")
    assert (facts.frames, facts.fast_start, facts.has_audio) == (film.frames, True, False)
    assert facts.seconds == pytest.approx(film.seconds, abs=0.001)


def test_the_timestamps_of_a_copied_film_are_clean(reordered: list[Path], tmp_path: Path) -> None:
    joining.join(reordered, tmp_path / "film.mp4")
    stamps = _stamps(tmp_path / "film.mp4")
    assert all(a < b for (_, a), (_, b) in pairwise(stamps))
    assert all(dts <= pts for pts, dts in stamps)
    assert len({pts for pts, _ in stamps}) == len(stamps)
    assert min(stamps)[0] == 0


@pytest.mark.parametrize("exact", [False, True])
def test_a_film_is_tagged_as_bt709(clips: list[Path], tmp_path: Path, exact: bool) -> None:
    joining.join(clips, tmp_path / "film.mp4", exact=exact)
    with av.open(str(tmp_path / "film.mp4"), format="mp4") as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize("exact", [False, True])
def test_another_reader_finds_the_same_film(
    clips: list[Path], reordered: list[Path], tmp_path: Path, exact: bool
) -> None:
    if not shutil.which("ffprobe"):
        warnings.warn("ffprobe is not installed: no second reader looked at the film.", UserWarning, stacklevel=1)
        pytest.skip("ffprobe is not installed: no second reader looked at the film")
    for shots in (clips, reordered):
        film = joining.join(shots, tmp_path / "film.mp4", exact=exact)
        entries = "stream=nb_read_frames,duration,r_frame_rate,avg_frame_rate,color_space"
        command = ["ffprobe", "-v", "warning", "-count_frames", "-show_entries", entries, "-of", "json"]
        result = subprocess.run([*command, str(tmp_path / "film.mp4")], capture_output=True, text=True, check=True)
        assert result.stderr == ""
        (stream,) = json.loads(result.stdout)["streams"]
        assert int(stream["nb_read_frames"]) == film.frames
        assert float(stream["duration"]) == pytest.approx(film.seconds, abs=0.001)
        if exact:
            assert stream["avg_frame_rate"] == stream["r_frame_rate"] == "24/1"


@pytest.mark.parametrize("kind", ["clips", "reordered"])
def test_an_exact_film_has_the_sum_of_the_frames_less_the_seams(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clips = request.getfixturevalue(kind)
    film = joining.join(clips, tmp_path / "film.mp4", exact=True)
    starts = [second for second, _ in _pictures(tmp_path / "film.mp4")]
    assert film.re_encoded
    assert film.reason == "a constant frame rate was asked for"
    assert film.frames == sum(len(_stamps(clip)) for clip in clips) - 2
    assert starts == [Fraction(at, 24) for at in range(film.frames)]
    assert film.seconds == film.frames / 24
    facts = mp4.inspect(tmp_path / "film.mp4")
    assert (facts.frames, facts.fast_start) == (film.frames, True)
    assert facts.seconds == pytest.approx(film.seconds, abs=0.001)


def test_an_exact_film_shows_every_picture_in_its_place(reordered: list[Path], tmp_path: Path) -> None:
    joining.join(reordered, tmp_path / "film.mp4", exact=True)
    sources = [_levels(clip) for clip in reordered]
    wanted = [level for clip in sources[:-1] for level in clip[:-1]] + sources[-1]
    assert _levels(tmp_path / "film.mp4") == pytest.approx(wanted, abs=1)


def test_keyframes_of_the_clips_are_not_forced_upon_an_exact_film(reordered: list[Path], tmp_path: Path) -> None:
    joining.join(reordered, tmp_path / "film.mp4", exact=True)
    with av.open(str(tmp_path / "film.mp4"), format="mp4") as container:
        assert [packet.pts for packet in container.demux(video=0) if packet.is_keyframe] == [0]


def test_pictures_of_an_exact_film_look_as_in_the_clips(clips: list[Path], tmp_path: Path) -> None:
    joining.join(clips, tmp_path / "film.mp4", exact=True)
    for second, clip, within in ((0.5, 0, 0.5), (1.5, 1, 1.5 - 23 / 24), (2.5, 2, 2.5 - 46 / 24)):
        now = video.read_frame(tmp_path / "film.mp4", second + 0.01)
        assert _difference(now, video.read_frame(clips[clip], within + 0.01)) < 2


def test_one_clip_is_a_film_too(clips: list[Path], tmp_path: Path) -> None:
    for exact in (False, True):
        film = joining.join(clips[:1], tmp_path / "film.mp4", exact=exact)
        assert (film.frames, film.seconds, film.re_encoded) == (24, 1.0, exact)


def test_a_film_can_be_extended(clips: list[Path], tmp_path: Path) -> None:
    joining.join(clips[:2], tmp_path / "short.mp4")
    film = joining.join([tmp_path / "short.mp4", clips[2]], tmp_path / "film.mp4")
    assert not film.re_encoded
    assert _pixels(tmp_path / "film.mp4") == [pixels for clip in clips for pixels in _pixels(clip)]
    assert joining.join([tmp_path / "short.mp4", clips[2]], tmp_path / "film.mp4", exact=True).seconds == 70 / 24


def test_clips_of_a_single_picture_can_be_joined(tmp_path: Path) -> None:
    clips = [_plain(tmp_path / f"{at}.mp4", "#404040", seconds=0.01) for at in range(3)]
    for exact in (False, True):
        film = joining.join(clips, tmp_path / "film.mp4", exact=exact)
        assert film.seconds == pytest.approx(1 / 24, abs=0.001)
        assert len(_pixels(tmp_path / "film.mp4")) == film.frames


def test_a_coarse_clock_becomes_finer(tmp_path: Path) -> None:
    keeping: dict[str, Any] = {
        "movflags": "+faststart+frag_keyframe+empty_moov",
        "muxer": {"video_track_timescale": "24"},
    }
    clips = [_encoded(tmp_path / f"{at}.mp4", [50 + 100 * at] * 24, **keeping) for at in range(2)]
    with av.open(str(clips[0]), format="mp4") as container:
        assert container.streams.video[0].time_base == Fraction(1, 24)
    film = joining.join(clips, tmp_path / "film.mp4")
    assert not film.re_encoded
    assert film.seconds == pytest.approx(47 / 24, abs=1 / 10_000)
    assert mp4.inspect(tmp_path / "film.mp4").seconds == pytest.approx(film.seconds, abs=0.001)


def test_other_encoder_settings_are_encoded_anew_and_said_so(reordered: list[Path], tmp_path: Path) -> None:
    other = _encoded(tmp_path / "other.mp4", [100] * 24, bf="0")
    film = joining.join([reordered[0], other], tmp_path / "film.mp4")
    assert film.re_encoded
    assert film.reason == "other.mp4 and 0.mp4 differ in encoder settings"
    assert film.frames == 29 + 24 - 1
    assert _levels(tmp_path / "film.mp4")[-20:] == pytest.approx([100] * 20, abs=1)


def test_clips_with_hidden_pictures_are_encoded_anew_without_them(reordered: list[Path], tmp_path: Path) -> None:
    trimmed = _remuxed(reordered[0], tmp_path / "trimmed.mp4", pts=-6, dts=-6)
    film = joining.join([trimmed, reordered[1]], tmp_path / "film.mp4")
    assert film.reason == "trimmed.mp4 hides some of its pictures"
    assert _levels(tmp_path / "film.mp4")[:22] == pytest.approx(_levels(reordered[0])[6:28], abs=1)
    assert film.frames == 29 - 6 + 30 - 1


def test_a_clip_that_must_be_decoded_early_is_encoded_anew(reordered: list[Path], tmp_path: Path) -> None:
    early = _remuxed(reordered[1], tmp_path / "early.mp4", dts=-2)
    film = joining.join([reordered[0], early], tmp_path / "film.mp4")
    assert film.reason == "early.mp4 must be decoded before 0.mp4 ends"
    assert film.frames == 29 + 30 - 1


def test_a_clip_without_its_first_picture_is_named(reordered: list[Path], tmp_path: Path) -> None:
    headless = _remuxed(reordered[1], tmp_path / "headless.mp4", skip=1)
    with pytest.raises(video.Unreadable, match=r"headless\.mp4"):
        joining.join([reordered[0], headless], tmp_path / "film.mp4")


@pytest.mark.parametrize("other", [(144, 144), (100, 144), (256, 72), (512, 288), (144, 256)])
def test_clips_of_another_size_are_fitted_into_the_first_ones(tmp_path: Path, other: tuple[int, int]) -> None:
    first = _plain(tmp_path / "a.mp4", "#c83232", seconds=0.5)
    second = _plain(tmp_path / "b.mp4", "#3232c8", seconds=0.5, size=other)
    film = joining.join([first, second], tmp_path / "film.mp4")
    assert film.reason is not None
    assert film.reason.startswith("b.mp4 and a.mp4 differ in size")
    assert film.frames == 23
    assert _difference(video.read_frame(tmp_path / "film.mp4", "first"), Image.new("RGB", SIZE, "#c83232")) < 3
    scale = min(SIZE[0] / other[0], SIZE[1] / other[1])
    inner = Image.new("RGB", (round(other[0] * scale), round(other[1] * scale)), "#3232c8")
    wanted = Image.new("RGB", SIZE)
    wanted.paste(inner, ((SIZE[0] - inner.width) // 2, (SIZE[1] - inner.height) // 2))
    assert _difference(video.read_frame(tmp_path / "film.mp4", "last"), wanted) < 3


def test_an_odd_size_becomes_even(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "odd.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 65, 37, "yuv444p"
        for at in range(12):
            frame: Any = av.VideoFrame.from_image(Image.new("RGB", (65, 37), "#808080"))  # type: ignore[no-untyped-call]
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    joining.join([tmp_path / "odd.mp4"] * 2, tmp_path / "film.mp4", exact=True)
    facts = mp4.inspect(tmp_path / "film.mp4")
    assert (facts.width, facts.height, facts.frames) == (64, 36, 23)


def test_untagged_colours_survive_encoding_anew(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "untagged.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for at in range(12):
            frame: Any = av.VideoFrame.from_image(Image.new("RGB", SIZE, "#28c828"))  # type: ignore[no-untyped-call]
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    joining.join([tmp_path / "untagged.mp4"], tmp_path / "film.mp4", exact=True)
    assert _difference(video.read_frame(tmp_path / "film.mp4", "last"), Image.new("RGB", SIZE, "#28c828")) <= 3


def test_clips_of_another_rate_keep_their_pace(tmp_path: Path) -> None:
    clips = [_encoded(tmp_path / "a.mp4", [50] * 24), _encoded(tmp_path / "b.mp4", [100] * 15 + [200] * 15, rate=30)]
    film = joining.join(clips, tmp_path / "film.mp4")
    assert film.re_encoded
    assert film.seconds == pytest.approx(2 - 1 / 24)
    assert _levels(tmp_path / "film.mp4") == pytest.approx([50] * 23 + [100] * 12 + [200] * 12, abs=1)


def test_uneven_timestamps_become_even_without_losing_a_picture(tmp_path: Path) -> None:
    clip = _encoded(tmp_path / "a.mp4", [20 + 8 * at for at in range(24)], tick=Fraction(1, 1000), bf="0")
    film = joining.join([clip] * 2, tmp_path / "film.mp4", exact=True)
    assert film.frames == 47
    assert _levels(tmp_path / "film.mp4")[:24] == pytest.approx(_levels(clip)[:23] + _levels(clip)[:1], abs=1)


@pytest.mark.parametrize("exact", [False, True])
def test_audio_survives_and_stays_with_its_pictures(tmp_path: Path, exact: bool) -> None:
    clips = [_encoded(tmp_path / f"{at}.mp4", [50 * at + 50] * 24, hertz=hertz) for at, hertz in enumerate((400, 1600))]
    film = joining.join(clips, tmp_path / "film.mp4", exact=exact)
    assert film.re_encoded is exact
    heard = _samples(tmp_path / "film.mp4")
    assert len(heard) / 48_000 == pytest.approx(film.seconds, abs=0.03)
    seam = round(23 / 24 * 48_000)
    for part, hertz in ((heard[4_800 : seam - 480], 400), (heard[seam + 480 : seam + 40_000], 1600)):
        crossings = sum(a < 0 <= b for a, b in pairwise(part))
        assert crossings * 48_000 / len(part) == pytest.approx(hertz, rel=0.02)
        assert _loudness(part) == pytest.approx(0.5 / math.sqrt(2), rel=0.06)
    facts = mp4.inspect(tmp_path / "film.mp4")
    assert facts.has_audio
    assert facts.seconds == pytest.approx(film.seconds, abs=0.03)


def test_no_seam_clicks(tmp_path: Path) -> None:
    clips = [_encoded(tmp_path / f"{at}.mp4", [50] * 25, hertz=210.25) for at in range(3)]
    joining.join(clips, tmp_path / "film.mp4")
    steepest = max(abs(a - b) for a, b in pairwise(_samples(tmp_path / "film.mp4")))
    assert steepest < 3 * 0.5 * math.tau * 210.25 / 48_000  # the tone's own, thrice; a hard cut has 26 times that


@pytest.mark.parametrize("channels", ["mono", "stereo"])
def test_a_clip_without_audio_is_silent_in_a_film_that_has_some(tmp_path: Path, channels: str) -> None:
    clips = [
        _encoded(tmp_path / "a.mp4", [50] * 24),
        _encoded(tmp_path / "b.mp4", [50] * 24, hertz=400, channels=channels, sampled=32_000),
        _encoded(tmp_path / "c.mp4", [50] * 24),
    ]
    film = joining.join(clips, tmp_path / "film.mp4")
    assert not film.re_encoded
    heard = _samples(tmp_path / "film.mp4")
    silent, loud, still = heard[:45_000], heard[47_000:91_000], heard[93_000:]
    assert _loudness(silent) < 0.001
    assert _loudness(loud) == pytest.approx(0.5 / math.sqrt(2), rel=0.06)
    assert _loudness(still) < 0.001


def _overwritten(clip: Path, target: Path, share: float, content: bytes) -> Path:
    whole = clip.read_bytes()
    at = int(len(whole) * share)
    target.write_bytes(whole[:at] + content + whole[at + len(content) :])
    return target


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("exact", [False, True])
def test_a_damaged_clip_is_named(clips: list[Path], tmp_path: Path, exact: bool) -> None:
    whole = clips[1].read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clips[0]}'\n")
    for share in (0.1, 0.5, 0.99):
        (tmp_path / f"cut{share}.mp4").write_bytes(whole[: int(len(whole) * share)])
    _overwritten(clips[1], tmp_path / "hole.mp4", 0.4, bytes(9_000))
    damaged = sorted(tmp_path.iterdir())
    assert len(damaged) == 6
    for clip in damaged:
        with pytest.raises(ValueError, match=clip.name) as caught:
            joining.join([clips[0], clip, clips[2]], tmp_path / "film.mp4", exact=exact)
        assert isinstance(caught.value, video.Unreadable)


@pytest.mark.usefixtures("handles")
def test_damage_anywhere_ends_in_a_film_or_names_the_clip(clips: list[Path], tmp_path: Path) -> None:
    for step in range(30):
        clip = _overwritten(clips[1], tmp_path / "damaged.mp4", step / 30, bytes([step * 7 % 256]) * 20)
        named = ""
        try:
            film = joining.join([clips[0], clip], tmp_path / "film.mp4", exact=step % 2 == 0)
        except video.Unreadable as error:
            named = str(error)
        assert "damaged.mp4" in named or mp4.inspect(tmp_path / "film.mp4").frames == film.frames


@pytest.mark.usefixtures("handles")
def test_a_missing_clip_or_folder_is_an_os_error(clips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        joining.join([clips[0], tmp_path / "none.mp4"], tmp_path / "film.mp4")
    for exact in (False, True):
        with pytest.raises(OSError):
            joining.join(clips, tmp_path / "none" / "film.mp4", exact=exact)


@pytest.mark.usefixtures("handles")
@pytest.mark.skipif(sys.platform == "win32", reason="the size of a file can be limited on POSIX only")
@pytest.mark.parametrize("exact", [False, True])
def test_a_full_disk_is_an_os_error_that_blames_no_clip(clips: list[Path], tmp_path: Path, exact: bool) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            joining.join(clips, tmp_path / "film.mp4", exact=exact)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not isinstance(caught.value, ValueError)
    (tmp_path / "film.mp4").unlink()


def test_a_film_never_replaces_one_of_its_clips(clips: list[Path], tmp_path: Path) -> None:
    copy = Path(shutil.copy(clips[0], tmp_path / "clip.mp4"))
    with pytest.raises(ValueError, match=r"clip\.mp4 is one of the clips"):
        joining.join([copy, clips[1]], copy)
    assert copy.read_bytes() == clips[0].read_bytes()


def test_a_film_needs_a_clip(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        joining.join([], tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="at least one clip"):
        joining.film_sheet([])


def test_a_sheet_has_a_row_for_each_shot(clips: list[Path]) -> None:
    sheet = Image.open(io.BytesIO(joining.film_sheet(clips, per_clip=3)))
    assert (sheet.format, sheet.size) == ("JPEG", (3 * SIZE[0], 3 * SIZE[1]))
    for row, clip in enumerate(clips):
        for column, which in ((0, "first"), (2, "last")):
            left, top = column * SIZE[0], row * SIZE[1]
            tile = sheet.crop((left, top + 30, left + SIZE[0], top + SIZE[1]))
            wanted = video.read_frame(clip, which).crop((0, 30, *SIZE))  # type: ignore[arg-type]
            assert _difference(tile, wanted) < 4


@pytest.mark.parametrize(("count", "per_clip"), [(1, 4), (3, 9), (20, 4)])
def test_a_sheet_keeps_to_its_bounds(clips: list[Path], count: int, per_clip: int) -> None:
    sheet = joining.film_sheet((clips * 7)[:count], per_clip=per_clip, long_edge=500, max_bytes=15_000)
    assert len(sheet) <= 15_000
    assert max(Image.open(io.BytesIO(sheet)).size) <= 500


def test_a_sheet_takes_shots_of_any_shape_and_length(clips: list[Path], tmp_path: Path) -> None:
    tall = _plain(tmp_path / "tall.mp4", "#3232c8", size=(144, 256), seconds=0.01)
    assert Image.open(io.BytesIO(joining.film_sheet([clips[0], tall]))).size == (1024, 144 + 256)


def test_a_sheet_names_the_damaged_clip(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"{}")
    with pytest.raises(video.Unreadable, match=r"broken\.mp4"):
        joining.film_sheet([clips[0], tmp_path / "broken.mp4"])
