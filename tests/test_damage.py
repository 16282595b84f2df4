"""Damage that the boxes of an MP4 do not show, put where it hurts."""

import math
import random
from array import array
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from hailuo_mcp import camera, video
from hailuo_mcp.media import animatic, damage, mp4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which every picture differs from the one before."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ramps = (
        Image.linear_gradient("L"),
        Image.linear_gradient("L").rotate(90),
        Image.effect_mandelbrot((256, 256), (-2, -1.5, 1, 1.5), 100),
    )
    scene = Image.merge("RGB", ramps)
    moves = camera.read("[Push in, Shake]").moves
    animatic.render(path, first=scene, last=None, moves=moves, prompt_length=9, seconds=2, size=(426, 240))
    return path


def pictures(path: Path) -> list[tuple[int, int]]:
    """Where each coded picture lies in the file, and how long it is."""
    with video.opened(path) as (container, stream):
        return [(int(packet.pos or 0), packet.size) for packet in container.demux(stream) if packet.size]


def spoiled(clip: Path, target: Path, at: int, new: bytes) -> Path:
    """A copy with other bytes at that place; its boxes do not tell."""
    data = clip.read_bytes()
    target.write_bytes(data[:at] + new + data[at + len(new) :])
    mp4.inspect(target)
    return target


def coded(path: Path, codec: str, *, sound: bool) -> Path:
    """A second of noise in that codec."""
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=24, options=quiet)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        voice = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for at in range(24):
            frame = av.VideoFrame.from_image(Image.effect_noise((128, 128), 40 + at).convert("RGB"))
            frame.pts, frame.time_base = at, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for at in range(8 if voice else 0):
            tone = av.AudioFrame("fltp", "mono", 1024)
            tone.sample_rate, tone.pts, tone.time_base = 8000, at * 1024, Fraction(1, 8000)
            tone.planes[0].update(array("f", (math.sin(at * step) for step in range(1024))).tobytes())
            container.mux(voice.encode(tone))
        if voice:
            container.mux(voice.encode(None))
    return path


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "mpeg4"])
def test_a_whole_video_of_any_codec_passes(tmp_path: Path, codec: str, sound: bool) -> None:
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"no {codec} in these libraries")
    path = coded(tmp_path / "clip.mp4", codec, sound=sound)
    assert damage.check(path) == mp4.inspect(path)


@pytest.mark.parametrize("decoded_pixels", [damage._DECODED_PIXELS_MAX, 1])
@pytest.mark.parametrize("length", [3, 16, 4096])
def test_zeros_are_found_in_any_picture_also_where_nothing_is_decoded(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, decoded_pixels: int
) -> None:
    monkeypatch.setattr(damage, "_DECODED_PIXELS_MAX", decoded_pixels)
    assert damage.check(clip) == mp4.inspect(clip)
    for at, size in pictures(clip)[::7]:
        damaged = spoiled(clip, tmp_path / "damaged.mp4", at + size // 8, bytes(min(length, size // 8)))
        with pytest.raises(mp4.NotAVideo, match=r"^The MP4 file is damaged: .*decoded\.$"):
            damage.check(damaged)


@pytest.mark.parametrize("length", [8, 64, 4096])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_garbage_in_a_picture_is_found_by_decoding_it(clip: Path, tmp_path: Path, length: int, share: float) -> None:
    at, size = max(pictures(clip), key=lambda picture: picture[1])
    noise = random.Random(1).randbytes(length)
    with pytest.raises(mp4.NotAVideo, match="damaged"):
        damage.check(spoiled(clip, tmp_path / "damaged.mp4", at + int(share * size), noise))


def test_garbage_in_the_sound_is_found(tmp_path: Path) -> None:
    clip = coded(tmp_path / "clip.mp4", "libx264", sound=True)
    with av.open(str(clip), format="mp4") as container:
        places = [int(packet.pos or 0) for packet in container.demux(audio=0) if packet.size]
    with pytest.raises(mp4.NotAVideo, match="its sound cannot be decoded"):
        damage.check(spoiled(clip, tmp_path / "damaged.mp4", places[1], b"\xff" * 4))


def test_pictures_of_nothing_but_zeros_are_no_video(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    start = data.index(b"mdat") + 4
    (tmp_path / "empty.mp4").write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(mp4.NotAVideo, match="damaged"):
        damage.check(tmp_path / "empty.mp4")


@pytest.mark.parametrize("tenth", range(10))
def test_a_video_cut_at_any_tenth_is_none(clip: Path, tmp_path: Path, tenth: int) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * tenth // 10])
    with pytest.raises(mp4.NotAVideo):
        damage.check(tmp_path / "cut.mp4")


def test_other_content_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "other.mp4"
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    Image.new("RGB", (400, 400)).save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    for content in (b"", b"<html>busy</html>", b"ffconcat version 1.0\nfile 'secret.mp4'\n", b"{}", png):
        path.write_bytes(content)
        with pytest.raises(mp4.NotAVideo):
            damage.check(path)
