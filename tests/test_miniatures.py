"""Copies of videos that are small enough for a message."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from hailuo_mcp import camera, video
from hailuo_mcp.media import animatic, miniatures, mp4


def clip(path: Path, size: tuple[int, int], seconds: float, fps: int = 24) -> Path:
    """A lively clip: noise that the camera shakes over."""
    noise = Image.effect_noise(size, 90).convert("RGB")
    moves = camera.read("[Shake] x").moves
    animatic.render(path, first=noise, last=None, moves=moves, prompt_length=1, seconds=seconds, size=size, fps=fps)
    return path


@pytest.mark.parametrize(
    ("size", "seconds", "small"),
    [
        ((1366, 768), 6, (640, 360)),
        ((432, 768), 6, (360, 640)),
        ((320, 180), 2, (320, 180)),
        ((640, 360), 20, (426, 240)),
    ],
)
def test_a_copy_is_small_and_whole(
    tmp_path: Path, size: tuple[int, int], seconds: float, small: tuple[int, int]
) -> None:
    made = miniatures.miniature(clip(tmp_path / "a.mp4", size, seconds))
    assert len(made.clip) <= miniatures.CLIP_BYTES_MAX
    (tmp_path / "small.mp4").write_bytes(made.clip)
    facts = mp4.inspect(tmp_path / "small.mp4")
    assert (facts.width, facts.height, facts.codec, facts.has_audio) == (*small, "h264", False)
    assert facts.seconds == pytest.approx(seconds, abs=0.1)
    assert made.seconds == pytest.approx(seconds, abs=0.1)
    assert made.is_whole
    poster = Image.open(io.BytesIO(made.poster))
    assert max(poster.size) <= 640
    assert len(made.poster) < 150_000


def test_a_copy_shows_what_the_video_shows(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.mp4", (640, 360), 2)
    (tmp_path / "small.mp4").write_bytes(miniatures.miniature(whole).clip)
    for moment in ("first", 1.0, "last"):
        pair = (video.read_frame(path, moment) for path in (whole, tmp_path / "small.mp4"))  # type: ignore[arg-type]
        a, b = (picture.resize((64, 36), Image.Resampling.BOX) for picture in pair)
        assert max(ImageStat.Stat(ImageChops.difference(a, b)).mean) < 8


def test_a_fast_video_is_thinned_out(tmp_path: Path) -> None:
    (tmp_path / "small.mp4").write_bytes(miniatures.miniature(clip(tmp_path / "a.mp4", (320, 180), 1, 60)).clip)
    assert mp4.inspect(tmp_path / "small.mp4").frames == pytest.approx(24, abs=1)


def test_of_a_long_film_the_beginning_is_shown(tmp_path: Path) -> None:
    made = miniatures.miniature(clip(tmp_path / "a.mp4", (320, 180), 3), max_bytes=20_000)
    assert not made.is_whole
    assert len(made.clip) <= 20_000
    (tmp_path / "small.mp4").write_bytes(made.clip)
    assert mp4.inspect(tmp_path / "small.mp4").seconds == pytest.approx(made.seconds, abs=0.1)
    assert 1.5 < made.seconds < 2


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("<html>")
    with pytest.raises(video.Unreadable):
        miniatures.miniature(tmp_path / "a.mp4")
