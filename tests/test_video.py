import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageStat

from hailuo_mcp import camera, video
from hailuo_mcp.media import animatic, motion, mp4

SIZE = (256, 144)


def _scene(size: tuple[int, int] = SIZE, *, ground: str = "#305030", ball: str = "white") -> Image.Image:
    """A ball in the middle of a plain ground: where it goes shows how the camera moves."""
    width, height = size
    picture = Image.new("RGB", size, ground)
    reach = height / 8
    ImageDraw.Draw(picture).ellipse(
        (width / 2 - reach, height / 2 - reach, width / 2 + reach, height / 2 + reach), fill=ball
    )
    return picture


def _busy(size: tuple[int, int] = SIZE) -> Image.Image:
    ramps = Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), Image.radial_gradient("L")
    return Image.merge("RGB", ramps).resize(size)


def _render(target: Path, prompt: str = "", **changes: Any) -> Path:
    reading = camera.read(prompt)
    wanted: dict[str, Any] = {"first": _scene(), "last": None, "seconds": 1, "size": SIZE} | changes
    animatic.render(target, moves=reading.moves, prompt_length=len(reading.prompt), **wanted)
    return target


def _ball(frame: Image.Image) -> tuple[float, float, int]:
    """Centre and width of the ball."""
    box = frame.convert("L").point(lambda level: 255 * (level > 160)).getbbox()
    assert box
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0]


def _difference(a: Image.Image, b: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(a, b)).mean)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 24 frames a second, a keyframe every 12, frame n with brightness 20 + 4n."""
    path = tmp_path_factory.mktemp("counted") / "counted.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "12", "bf": "3", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for at in range(48):
            frame = av.VideoFrame(64, 36, "yuv420p")
            frame.pts, frame.time_base = at, Fraction(1, 24)
            for plane, level in zip(frame.planes, (20 + 4 * at, 128, 128), strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _number(frame: Image.Image) -> int:
    gray = ImageStat.Stat(frame.convert("L")).mean[0]
    return round((gray * 219 / 255 + 16 - 20) / 4)


@pytest.mark.parametrize(
    ("first", "short", "expected"),
    [
        (None, 768, (1364, 768)),
        ((1920, 1080), 1080, (1920, 1080)),
        ((1920, 1080), 768, (1364, 768)),
        ((1080, 1920), 768, (768, 1364)),
        ((500, 500), 145, (144, 144)),
        ((1000, 400), 144, (360, 144)),
    ],
)
def test_the_output_has_the_first_frames_aspect(
    first: tuple[int, int] | None, short: int, expected: tuple[int, int]
) -> None:
    assert video.output_size(first, short) == expected


@pytest.mark.parametrize(("seconds", "fps"), [(1, 24), (2, 10), (0.5, 20)])
def test_an_animatic_has_exactly_the_frames_asked_for(tmp_path: Path, seconds: float, fps: int) -> None:
    facts = mp4.inspect(_render(tmp_path / "a.mp4", "[推进]", seconds=seconds, fps=fps))
    assert (facts.width, facts.height, facts.frames) == (*SIZE, round(seconds * fps))
    assert facts.fast_start
    assert facts.seconds == pytest.approx(seconds, abs=0.002)


def test_one_frame_is_a_video_too(tmp_path: Path) -> None:
    assert mp4.inspect(_render(tmp_path / "a.mp4", "[推进]", seconds=0.01)).frames == 1


def test_colours_are_tagged_as_bt709(tmp_path: Path) -> None:
    with av.open(str(_render(tmp_path / "a.mp4")), format="mp4") as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"


@pytest.mark.parametrize(
    "prompt", ["", "[推进]", "[Pan right, Tilt up] and then [Zoom out]", "[晃动]", "[跟随] x [左移]"]
)
def test_the_ends_are_the_given_pictures(tmp_path: Path, prompt: str) -> None:
    first, last = _busy(), ImageOps.mirror(ImageOps.invert(_busy()))
    path = _render(tmp_path / "a.mp4", prompt, first=first, last=last, caption="A caption")
    assert _difference(video.read_frame(path, "first"), first) < 3
    assert _difference(video.read_frame(path, "last"), last) < 3


@pytest.mark.parametrize("color", ["#c82828", "#28c828", "#2828c8", "#ffff00", "white", "black"])
def test_colours_survive(tmp_path: Path, color: str) -> None:
    plain = Image.new("RGB", SIZE, color)
    assert _difference(video.read_frame(_render(tmp_path / "a.mp4", first=plain, seconds=0.1), "last"), plain) <= 3


def test_pictures_of_another_shape_are_cropped_in_the_middle(tmp_path: Path) -> None:
    tall = Image.new("RGB", (90, 160), "red")
    tall.paste("blue", (0, 50, 90, 110))
    frame = video.read_frame(_render(tmp_path / "a.mp4", first=tall, seconds=0.1), "first")
    assert _difference(frame, Image.new("RGB", SIZE, "blue")) < 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_pictures_of_every_mode_are_drawn(tmp_path: Path, mode: str) -> None:
    gray = Image.new("L", SIZE, 255).convert(mode)
    frame = video.read_frame(_render(tmp_path / "a.mp4", first=gray, seconds=0.1), "first")
    assert _difference(frame, Image.new("RGB", SIZE, "white")) < 3


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    hidden = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    frame = video.read_frame(_render(tmp_path / "a.mp4", first=hidden, seconds=0.1), "first")
    assert _difference(frame, Image.new("RGB", SIZE, "white")) < 3


@pytest.mark.parametrize(
    ("command", "across", "down", "growth"),
    [
        ("Truck left", 1, 0, 0),
        ("Truck right", -1, 0, 0),
        ("Pan left", 1, 0, 0),
        ("Pan right", -1, 0, 0),
        ("Push in", 0, 0, 1),
        ("Pull out", 0, 0, -1),
        ("Pedestal up", 0, 1, 0),
        ("Pedestal down", 0, -1, 0),
        ("Tilt up", 0, 1, 0),
        ("Tilt down", 0, -1, 0),
        ("Zoom in", 0, 0, 1),
        ("Zoom out", 0, 0, -1),
        ("Tracking shot", -1, 0, 1),
        ("Static shot", 0, 0, 0),
    ],
)
def test_the_picture_goes_where_the_camera_makes_it_go(
    tmp_path: Path, command: str, across: int, down: int, growth: int
) -> None:
    path = _render(tmp_path / "a.mp4", f"[{command}]")
    x, y, width = _ball(video.read_frame(path, "first"))
    x2, y2, width2 = _ball(video.read_frame(path, "last"))
    for moved, sign, least in ((x2 - x, across, 15), (y2 - y, down, 15), (width2 - width, growth, 3)):
        assert moved * sign >= least if sign else abs(moved) <= 2


def test_a_lone_last_picture_comes_to_rest_at_the_end(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "[Pan right]", first=None, last=_scene())
    start, end = _ball(video.read_frame(path, "first")), _ball(video.read_frame(path, "last"))
    assert start[0] - end[0] > 40
    assert end == _ball(_scene())


def test_shaking_moves_the_picture_and_leaves_the_ends_alone(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "[Shake]", first=_busy((512, 288)), size=(512, 288))
    first = video.read_frame(path, "first")
    assert _difference(video.read_frame(path, "last"), first) < 2
    views = motion.journey([(0, ["Shake"])], 24, 1)
    assert max(abs(view.x) for view in views) > 0.004
    assert (views[0].x, views[-1].x) == (0, 0)


def test_without_a_command_nothing_moves(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "A ball", last=_scene(ground="#503030"))
    assert [_ball(video.read_frame(path, second))[:2] for second in (0, 0.5, 1)] == [_ball(_scene())[:2]] * 3


def test_the_dissolve_is_in_the_middle(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", first=Image.new("RGB", SIZE), last=Image.new("RGB", SIZE, "white"))
    levels = [ImageStat.Stat(video.read_frame(path, at).convert("L")).mean[0] for at in (0.25, 0.5, 0.8)]
    assert levels[0] < 3
    assert 90 < levels[1] < 165
    assert levels[2] > 252


def test_a_command_late_in_the_prompt_acts_late(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "A ball lies on the lawn and waits for somebody to come. [Pan right] It rolls.")
    x, still, moved = (_ball(video.read_frame(path, at))[0] for at in ("first", 0.55, "last"))  # type: ignore[arg-type]
    assert abs(still - x) <= 1
    assert x - moved > 40


def test_commands_act_in_their_order(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "[Pan right] one two three, then [Tilt up] four five six.")
    (x, y, _), (x2, y2, _), (x3, y3, _) = (_ball(video.read_frame(path, at)) for at in ("first", 0.5, "last"))  # type: ignore[arg-type]
    assert x - x2 > 30
    assert abs(y2 - y) < 8
    assert y3 - y2 > 15
    assert abs(x3 - x2) < 8


def test_commands_in_one_bracket_act_together(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "[Pan right, Tilt up]")
    (x, y, _), (x2, y2, _) = (_ball(video.read_frame(path, at)) for at in ("first", 0.5))  # type: ignore[arg-type]
    assert x - x2 > 10
    assert y2 - y > 5


def test_many_commands_never_look_past_the_margin() -> None:
    for names in (["Pan right"] * 40, ["Zoom out", "Pull out", "Truck left"], ["Zoom in"] * 300, ["Zoom out"] * 300):
        for cues in ([(0.0, names)], [(at / len(names), [name]) for at, name in enumerate(names)]):
            path = motion.reined_in(motion.journey(cues, 48, 2), [(0, range(48)), (47, range(14, 48))])
            assert max(view.excess() for view in path) <= motion.MARGIN
            assert max(view.seen_from(path[47]).excess() for view in path[14:]) <= motion.MARGIN
            assert max(view.depth for view in path) <= 1


def test_every_command_has_a_way_and_they_all_differ() -> None:
    ways = {command.english: tuple(motion.journey([(0, [command.english])], 25, 1)) for command in camera.COMMANDS}
    assert len(set(ways.values())) == 15


def test_every_command_gets_some_time_wherever_it_stands() -> None:
    assert motion.starts([0.0]) == [0.0]
    assert motion.starts([0.99]) == [0.75]
    assert motion.starts([0.0, 0.5]) == [0.0, 0.5]
    assert motion.starts([0.0, 0.01, 0.02]) == pytest.approx([0, 0.25, 0.5])
    assert motion.starts([0.9] * 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_a_shot_without_pictures_is_a_moving_card(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "[Push in]", first=None)
    assert _difference(video.read_frame(path, "first"), video.read_frame(path, "last")) > 3


@pytest.mark.parametrize("caption", ["Push in", "[推进] 蒲公英 🌼 \ud83c é\n\tnew line", "𝕏" * 50, "word " * 900])
def test_a_caption_stays_off_the_first_and_the_last_frame(tmp_path: Path, caption: str) -> None:
    plain = Image.new("RGB", SIZE, "#808080")
    path = _render(tmp_path / "a.mp4", first=plain, caption=caption, seconds=0.5)
    bottom = (0, SIZE[1] - 10, *SIZE)
    inside, *ends = (video.read_frame(path, at).crop(bottom) for at in (0.25, "first", "last"))  # type: ignore[arg-type]
    assert all(_difference(end, plain.crop(bottom)) < 3 for end in ends)
    if not caption.startswith("𝕏"):  # nothing of it can be drawn, so there is no strip
        assert _difference(inside, plain.crop(bottom)) > 20


def test_the_caption_names_what_the_camera_does_at_that_moment(tmp_path: Path) -> None:
    plain = Image.new("RGB", SIZE, "#808080")
    path = _render(
        tmp_path / "a.mp4", "A lawn. [Truck left, Tilt up] and [Static shot]", first=plain, caption="preview"
    )
    none, both, both_later, static = (
        video.read_frame(path, second).crop((0, SIZE[1] - 14, *SIZE))  # type: ignore[arg-type]
        for second in (0.15, 0.45, 0.6, 0.9)
    )
    assert _difference(both, both_later) < 1
    assert all(_difference(both, other) > 4 for other in (none, static))
    assert motion.acting([(0.2, ["Truck left", "Tilt up"]), (0.5, ["Shake"])], 5) == [
        (),
        ("Truck left", "Tilt up"),
        ("Shake",),
        ("Shake",),
        ("Shake",),
    ]


def test_a_portrait_video_stays_portrait(tmp_path: Path) -> None:
    path = _render(tmp_path / "a.mp4", "[Tilt up]", size=(144, 256), seconds=0.5, caption="x")
    assert video.read_frame(path, "last").size == (144, 256)
    sheet, _ = video.contact_sheet(path)
    width, height = Image.open(io.BytesIO(sheet)).size
    assert height > width


def test_animatics_can_be_drawn_at_the_same_time(tmp_path: Path) -> None:
    first = _busy()
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda i: _render(tmp_path / f"{i}.mp4", "[Pan right]", first=first), range(3)))
    ends = [video.read_frame(path, "last") for path in paths]
    assert max(_difference(end, ends[0]) for end in ends) < 1


def test_a_folder_that_does_not_exist_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        _render(tmp_path / "none" / "a.mp4")


def test_each_frame_is_found_by_its_second(counted: Path) -> None:
    numbers = [_number(video.read_frame(counted, (at + 0.5) / 24)) for at in range(48)]
    assert numbers == list(range(48))


def test_first_and_last_are_exact(counted: Path) -> None:
    assert _number(video.read_frame(counted, "first")) == 0
    assert _number(video.read_frame(counted, "last")) == 47


def test_an_extracted_frame_is_lossless(counted: Path) -> None:
    picture = Image.open(io.BytesIO(video.extract_png(counted, "last")))
    assert picture.format == "PNG"
    assert _difference(picture, video.read_frame(counted, "last")) == 0


@pytest.mark.parametrize(("second", "number"), [(-5, 0), (0, 0), (2.0, 47), (1e12, 47), (float("inf"), 47)])
def test_seconds_outside_the_video_are_clamped(counted: Path, second: float, number: int) -> None:
    assert _number(video.read_frame(counted, second)) == number


def test_a_contact_sheet_spans_the_video(counted: Path) -> None:
    sheet, seconds = video.contact_sheet(counted, 5)
    assert seconds == pytest.approx([at / 24 for at in (0, 12, 24, 35, 47)], abs=0.001)
    picture = Image.open(io.BytesIO(sheet))
    assert (picture.format, picture.size) == ("JPEG", (64 * 3, 36 * 2))
    middles = [picture.crop((x * 64 + 40, y * 36 + 20, x * 64 + 60, y * 36 + 34)) for y in (0, 1) for x in (0, 1, 2)]
    assert [_number(tile) for tile in middles[:5]] == pytest.approx([0, 12, 24, 35, 47], abs=1)


def test_in_a_long_clip_the_frames_are_sought_and_are_the_same(counted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (1, 5, 9, 25, 48):
        sheet, seconds = video.contact_sheet(counted, wanted)
        with monkeypatch.context() as patched:
            patched.setattr(video, "_DECODED_PIXELS_MAX", 0)
            assert video.contact_sheet(counted, wanted) == (sheet, seconds)


def test_a_contact_sheet_keeps_to_its_bounds(tmp_path: Path) -> None:
    noise = Image.merge("RGB", [Image.effect_noise((320, 180), 120)] * 3)
    path = _render(tmp_path / "a.mp4", first=noise, size=(320, 180), seconds=0.5)
    sheet, seconds = video.contact_sheet(path, 4, long_edge=400, max_bytes=6000)
    assert len(sheet) <= 6000
    assert len(seconds) == 4
    assert max(Image.open(io.BytesIO(sheet)).size) <= 400


@pytest.mark.parametrize(("wanted", "got"), [(1, 1), (2, 2), (100, 48), (0, 1)])
def test_a_contact_sheet_has_no_more_tiles_than_frames(counted: Path, wanted: int, got: int) -> None:
    assert len(video.contact_sheet(counted, wanted)[1]) == got


@pytest.mark.parametrize("content", [b"", b"{}", b"ffconcat version 1.0\nfile 'other.mp4'\n", b"\0\0\0\x08ftyp"])
def test_other_content_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.mp4"
    path.write_bytes(content)
    for read in (lambda: video.read_frame(path, "last"), lambda: video.contact_sheet(path)):
        with pytest.raises(video.Unreadable, match=r"other\.mp4 cannot be read as a video"):
            read()


def test_a_picture_is_not_opened_as_a_video(tmp_path: Path) -> None:
    _busy().save(tmp_path / "a.png")
    with pytest.raises(video.Unreadable):
        video.read_frame(tmp_path / "a.png", "first")


def test_a_damaged_video_gives_a_picture_or_is_unreadable(counted: Path, tmp_path: Path) -> None:
    content = counted.read_bytes()
    path = tmp_path / "damaged.mp4"
    for place in range(0, len(content), len(content) // 25):
        flipped = content[:place] + bytes(byte ^ 0xFF for byte in content[place : place + 6]) + content[place + 6 :]
        for damaged in (content[:place], flipped):
            path.write_bytes(damaged)
            with suppress(video.Unreadable):
                assert video.read_frame(path, "last").size[0] > 0
                assert video.contact_sheet(path, 4)[1]


def test_a_missing_video_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        video.read_frame(tmp_path / "none.mp4", "first")


def test_likeness_is_one_for_the_same_and_falls_with_difference() -> None:
    scene = _busy()
    assert video.likeness(scene, scene) == 1
    slightly = ImageChops.offset(scene, 3, 0)
    assert 0.9 < video.likeness(scene, slightly) < 1
    assert video.likeness(scene, ImageOps.mirror(scene)) < video.likeness(scene, slightly)
    assert video.likeness(Image.new("RGB", SIZE), Image.new("RGB", SIZE, "white")) == 0


def test_likeness_crops_before_it_compares() -> None:
    wide = Image.new("RGB", (320, 80), "red")
    wide.paste("blue", (120, 0, 200, 80))
    assert video.likeness(Image.new("RGB", (64, 64), "blue"), wide) > 0.95
