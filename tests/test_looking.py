"""The free tools that look, and the frames of finished videos, as a client uses them."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, CallToolResult, ImageContent, ResourceLink
from PIL import Image, ImageChops, ImageStat
from world import KEY, Time, World, play, text, world

from hailuo_mcp import video
from hailuo_mcp.media import mp4
from hailuo_mcp.simulator import Simulator


def pictures(result: CallToolResult) -> list[Image.Image]:
    """The pictures of a result, each as small as hosts want it."""
    found = []
    for block in result.content:
        if isinstance(block, ImageContent):
            data = base64.b64decode(block.data)
            assert block.mime_type == "image/jpeg"
            assert len(data) <= 200_000
            found.append(Image.open(io.BytesIO(data)))
            assert max(found[-1].size) <= 1568
    return found


def alike(a: Image.Image, b: Image.Image) -> bool:
    return max(ImageStat.Stat(ImageChops.difference(a.convert("RGB"), b.convert("RGB").resize(a.size))).mean) < 8


async def finished(w: World, **arguments: Any) -> str:
    """The task_id of a video that is done."""
    made = await w.do("generate_video", **{"prompt": "[Push in] a sun rises"} | arguments)
    assert (await w.finish(made["task_id"]))["status"] == "Success"
    return str(made["task_id"])


async def still(w: World, uri: str) -> bytes:
    (content,) = (await w.client.read_resource(uri)).contents
    assert isinstance(content, BlobResourceContents)
    assert content.mime_type == "image/png"
    return base64.b64decode(content.blob)


async def test_a_check_says_everything_at_once_and_costs_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        result = await w.call(
            "check_frames",
            first_frame_image=w.picture("first.jpg", (1600, 900)),
            last_frame_image=w.picture("last.gif", (900, 900), "teal"),
            prompt="[Push in] a sun rises [truck left, pedestal up]",
        )
        assert not result.is_error
        facts = dict(result.structured_content or {})
        assert (facts["ok"], facts["problems"]) == (True, [])
        assert facts["prompt"] == "[推进] a sun rises [左移,上升]"
        assert facts["camera"] == [
            {"sent": "[推进]", "commands": ["Push in"]},
            {"sent": "[左移,上升]", "commands": ["Truck left", "Pedestal up"]},
        ]
        first, last = facts["frames"]
        assert (first["format"], first["width"], first["height"], first["orientation"]) == (
            "JPEG",
            1600,
            900,
            "landscape",
        )
        assert (first["aspect"], first["sent"], first["mended"]) == (1.778, "JPEG 1600x900", False)
        assert (last["format"], last["orientation"], last["sent"], last["mended"]) == (
            "GIF",
            "square",
            "PNG 900x900",
            True,
        )
        assert (facts["crop_percent"], facts["crop_sides"]) == (44, "top and bottom")
        assert len(pictures(result)) == 1
        assert "44% of the last frame" in text(result)
        assert w.simulator.requests == []


async def test_the_picture_of_a_check_shows_both_frames_and_the_cut(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        result = await w.call(
            "check_frames",
            first_frame_image=w.picture("first.jpg", (1600, 900), "navy"),
            last_frame_image=w.picture("last.jpg", (900, 900), "teal"),
        )
        (board,) = pictures(result)
    colours = {name: Image.new("RGB", (1, 1), name).getpixel((0, 0)) for name in ("navy", "teal")}

    def near(place: tuple[int, int], colour: object) -> bool:
        return max(abs(a - b) for a, b in zip(board.getpixel(place), colour, strict=True)) < 24  # type: ignore[arg-type, call-overload]

    middle = board.height // 2
    assert near((40, middle), colours["navy"])
    assert near((board.width - 40, middle), colours["teal"])
    assert near((board.width - 40, 30), tuple(0.35 * level for level in colours["teal"]))  # type: ignore[union-attr, operator]
    reds = [y for y in range(middle) if near((board.width - 40, y), (255, 32, 32))]
    assert reds
    assert 98 < min(reds) <= max(reds) < 103


async def test_bad_frames_are_reported_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    async with world(tmp_path) as w:
        result = await w.call(
            "check_frames",
            first_frame_image=w.picture("small.jpg", (1000, 200)),
            last_frame_image=str(tmp_path / "text.jpg"),
            prompt="[Push inn] x" + "x" * 2000,
            duration=10,
            resolution="1080P",
        )
        assert not result.is_error
        facts = dict(result.structured_content or {})
        assert facts["ok"] is False
        for words in (
            "1080P allows 6",
            "2012 characters",
            "[Push in]",
            "short side",
            "aspect of 5.00",
            "not a picture",
        ):
            assert any(words in problem for problem in facts["problems"]), words
            assert words in text(result)
        assert len(pictures(result)) == 1
        assert w.simulator.requests == []


async def test_without_mending_a_check_tells_what_would_be_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = w.picture("last.gif", (900, 900))
        facts = await w.do("check_frames", last_frame_image=path, mend=False)
        assert facts["ok"] is False
        assert "is a GIF by content" in facts["problems"][0]
        said = await w.fail("generate_video", prompt="x", last_frame_image=path, mend=False)
        assert facts["problems"][0] in said
        assert w.simulator.requests == []


async def test_a_link_out_of_the_allowed_folders_is_not_followed(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret.png"
    allowed.mkdir()
    Image.new("RGB", (400, 400)).save(secret)
    (allowed / "link.png").symlink_to(secret)
    async with world(tmp_path, allowed_dirs=(allowed,)) as w:
        result = await w.call("check_frames", first_frame_image=str(allowed / "link.png"))
        facts = dict(result.structured_content or {})
        assert facts["ok"] is False
        assert "lies outside the allowed folders" in facts["problems"][0]
        assert "format" not in facts["frames"][0]


async def test_a_check_of_nothing_is_fine(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        result = await w.call("check_frames")
        assert (result.structured_content or {})["ok"] is True
        assert pictures(result) == []


@pytest.mark.parametrize("frames", [(), ("first_frame_image",), ("last_frame_image",)])
async def test_a_frame_that_was_checked_is_paid_for_without_surprise(tmp_path: Path, frames: tuple[str, ...]) -> None:
    async with world(tmp_path) as w:
        given = {name: w.picture(f"{name}.tiff", (700, 500)) for name in frames}
        checked = await w.do("check_frames", prompt="x", **given)
        made = await w.do("generate_video", prompt="x", **given)
        assert (checked["ok"], checked["warnings"]) == (True, made["warnings"])
        assert len(made["warnings"]) == len(frames)
        assert all("was converted from TIFF for sending" in warning for warning in made["warnings"])
        for name in frames:
            assert w.simulator.ledger[0].payload[name].startswith("data:image/png;base64,")


async def test_a_preview_is_a_video_of_the_shot_and_costs_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        arguments = {
            "prompt": "[Pan right] The sea, then [Zoom in] a boat",
            "first_frame_image": w.picture("first.jpg", (1600, 900)),
            "last_frame_image": w.picture("last.jpg", (1600, 900), "teal"),
            "duration": 10,
        }
        result = await w.call("preview_video", **arguments, take=2, aigc_watermark=True, prompt_optimizer=False)
        assert not result.is_error, text(result)
        facts = dict(result.structured_content or {})
        path = Path(facts["path"])
        assert path == w.settings.output_dir / "preview-the-sea-then-a-boat.mp4"
        found = mp4.inspect(path)
        assert (found.width, found.height, round(found.seconds, 1)) == (682, 384, 10.0)
        assert (facts["video_width"], facts["video_height"], facts["seconds"]) == (682, 384, 10.0)
        assert facts["prompt"] == "[右摇] The sea, then [变焦推近] a boat"
        assert len(pictures(result)) == 1
        (link,) = [block for block in result.content if isinstance(block, ResourceLink)]
        assert link.uri == path.as_uri()
        assert alike(video.read_frame(path, "first"), Image.open(str(arguments["first_frame_image"])))
        assert alike(video.read_frame(path, "last"), Image.open(str(arguments["last_frame_image"])))
        again = await w.do("preview_video", **arguments)
        assert Path(again["path"]).name == "preview-the-sea-then-a-boat-2.mp4"
        assert w.simulator.requests == []


async def test_a_preview_refuses_what_the_paid_call_refuses(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        wrong = {"prompt": "[Push inn] x", "first_frame_image": w.picture("small.jpg", (200, 200))}
        assert await w.fail("preview_video", **wrong) == await w.fail("generate_video", **wrong)
        assert not w.settings.output_dir.exists()


async def test_a_portrait_preview_without_words_is_portrait(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        facts = await w.do("preview_video", prompt="海", last_frame_image=w.picture("tall.png", (600, 900)))
        assert (facts["video_width"], facts["video_height"]) == (384, 576)
        assert Path(facts["path"]).name == "preview.mp4"


async def test_a_look_at_a_finished_video_brings_it_home_and_compares_its_ends(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = await finished(
            w, first_frame_image=w.picture("first.jpg"), last_frame_image=w.picture("last.png", colour="teal")
        )
        result = await w.call("view_video", task_id=task_id, frames=5)
        assert not result.is_error, text(result)
        facts = dict(result.structured_content or {})
        assert Path(facts["path"]).parent == w.settings.output_dir
        assert (facts["task_id"], facts["seconds"], facts["frames_per_second"]) == (task_id, 6.0, 24.0)
        assert (facts["video_width"], facts["video_height"], facts["has_audio"]) == (256, 144, False)
        assert (len(facts["shown_at"]), facts["shown_at"][0], round(facts["shown_at"][-1])) == (5, 0, 6)
        assert facts["first_frame_likeness"] > 0.9
        assert facts["last_frame_likeness"] > 0.9
        assert len(pictures(result)) == 1
        assert f"hailuo://videos/{task_id}/last-frame" in text(result)


async def test_a_frame_of_a_clip_can_be_saved_as_a_picture_of_its_own(tmp_path: Path) -> None:
    time = Time()
    large = Simulator(
        keys=(KEY,), generation_seconds=30, short_side=360, clock=time.clock, folder=tmp_path / "simulator"
    )
    async with large, play(tmp_path, large, time, allowed_dirs=(tmp_path / "elsewhere",)) as w:
        task_id = await finished(w)
        for moment, name in (
            ("last", "last-frame"),
            ("first-frame", "first-frame"),
            (2.5, "at-2.5s"),
            ("3 s", "at-3s"),
        ):
            result = await w.call("view_video", task_id=task_id, save_frame=moment)
            path = w.settings.output_dir / f"hailuo-{task_id}-{name}.png"
            assert (result.structured_content or {}).get("frame_path") == str(path), text(result)
            assert str(path) in text(result)
            links = [block for block in result.content if isinstance(block, ResourceLink)]
            assert (links[1].uri, links[1].mime_type) == (path.as_uri(), "image/png")
        last = w.settings.output_dir / f"hailuo-{task_id}-last-frame.png"
        assert last.read_bytes() == await still(w, f"hailuo://videos/{task_id}/last-frame")
        again = await w.do("view_video", task_id=task_id, save_frame="last")
        assert again["frame_path"] == str(last)
        assert (await w.do("view_video", task_id=task_id))["frame_path"] is None
        made = await w.do("generate_video", prompt="on", first_frame_image=str(last))
        assert made["warnings"] == []
        last.write_bytes(b"a picture of somebody else")
        other = await w.do("view_video", task_id=task_id, save_frame="last")
        assert Path(other["frame_path"]).name == f"hailuo-{task_id}-last-frame-2.png"
        assert "is no second of a video" in await w.fail("view_video", task_id=task_id, save_frame="middle")


async def test_what_was_asked_for_is_only_compared_while_it_is_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        first, last = w.picture("first.jpg"), w.picture("last.jpg", colour="teal")
        task_id = await finished(w, first_frame_image=first, last_frame_image=last)
        w.picture("first.jpg", colour="red")
        Path(last).unlink()
        facts = await w.do("view_video", task_id=task_id)
        assert (facts["first_frame_likeness"], facts["last_frame_likeness"]) == (None, None)
        assert "has changed since" in facts["notes"][0]
        assert "not at hand any more" in facts["notes"][1]


async def test_a_look_at_a_file_in_the_output_folder(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        path = (await w.do("preview_video", prompt="x", first_frame_image=w.picture()))["path"]
        for name in ("preview-x.mp4", path, Path(path).as_uri()):
            facts = await w.do("view_video", task_id=name, frames=1)
            assert (facts["path"], facts["task_id"], facts["shown_at"]) == (path, None, [0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.mp4", "does not exist"),
        ("../first.mp4", "lies outside"),
        ("/etc/hostname", "lies outside"),
        ("text.mp4", "is not a whole MP4 video"),
        ("", "must not be empty"),
        ("123456", "123456"),
    ],
)
async def test_what_is_no_video_cannot_be_looked_at(tmp_path: Path, name: str, words: str) -> None:
    async with world(tmp_path) as w:
        w.settings.output_dir.mkdir()
        (tmp_path / "first.mp4").write_bytes(b"x")
        (w.settings.output_dir / "text.mp4").write_text("ffconcat version 1.0\nfile 'other.mp4'\n")
        assert words in await w.fail("view_video", task_id=name)


async def test_what_only_has_the_name_of_a_video_is_never_shown_as_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = Path((await w.do("preview_video", prompt="x", first_frame_image=w.picture()))["path"])
        data = path.read_bytes()
        contents = [data[: len(data) * tenth // 10] for tenth in range(10)]
        contents += [b"<html>busy</html>", f"ffconcat version 1.0\nfile '{path}'\n".encode()]
        contents.append(Path(w.picture("a.png")).read_bytes())
        for content in contents:
            path.with_name("other.mp4").write_bytes(content)
            assert "is not a whole MP4 video" in await w.fail("view_video", task_id="other.mp4")
            with pytest.raises(MCPError):
                await still(w, "hailuo://videos/other.mp4/last-frame")


async def test_a_damaged_video_is_not_shown_as_if_it_were_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = Path((await w.do("preview_video", prompt="x", first_frame_image=w.picture()))["path"])
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 40] = b"\xa5" * 40
        path.write_bytes(data)
        assert "is not a whole MP4 video" in await w.fail("view_video", task_id=path.name)


async def test_an_unfinished_video_cannot_be_looked_at_yet(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        said = await w.fail("view_video", task_id=task_id)
        assert "still processing" in said
        assert task_id in said
        said = await w.fail("generate_video", prompt="y", first_frame_image=f"hailuo://videos/{task_id}/last-frame")
        assert "first_frame_image: " in said
        assert "still processing" in said
        assert w.calls("submit") == 1


async def test_frames_of_a_video_are_resources_at_full_quality(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = await finished(w, first_frame_image=w.picture("first.jpg"))
        first, last, middle = [
            await still(w, f"hailuo://videos/{task_id}/{which}") for which in ("first-frame", "last-frame", "frame/2.5")
        ]
        path = Path((await w.do("download_video", task_id=task_id))["path"])
        for data, which in ((first, "first"), (last, "last"), (middle, 2.5)):
            assert data == video.extract_png(path, which)  # type: ignore[arg-type]
        for uri in (f"{task_id}/frame/soon", f"{task_id}/frame/-1", "123456/last-frame"):
            with pytest.raises(MCPError):
                await still(w, f"hailuo://videos/{uri}")


async def test_the_next_video_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    time = Time()
    large = Simulator(
        keys=(KEY,), generation_seconds=30, short_side=360, clock=time.clock, folder=tmp_path / "simulator"
    )
    async with large, play(tmp_path, large, time) as w:
        task_id = await finished(w, first_frame_image=w.picture("first.jpg"))
        end = f"hailuo://videos/{task_id}/last-frame"
        checked = await w.do(
            "check_frames", first_frame_image=end, last_frame_image=f"hailuo://videos/{task_id}/frame/1"
        )
        assert checked["ok"], checked["problems"]
        assert checked["frames"][0]["format"] == "PNG"
        assert not (await w.call("preview_video", prompt="x", first_frame_image=end)).is_error
        made = await w.do("generate_video", prompt="on", first_frame_image=end)
        sent = base64.b64decode(w.simulator.ledger[-1].payload["first_frame_image"].partition(",")[2])
        assert sent == await still(w, end)
        await w.finish(made["task_id"])
        viewed = await w.do("view_video", task_id=made["task_id"])
        assert viewed["first_frame_likeness"] > 0.9


async def test_a_video_in_the_output_folder_can_be_gone_on_from_by_its_name(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = Path((await w.do("preview_video", prompt="x", first_frame_image=w.picture()))["path"])
        path = path.rename(path.with_name("my clip.mp4"))
        result = await w.call("view_video", task_id="my clip.mp4")
        uri = "hailuo://videos/my%20clip.mp4/last-frame"
        assert uri in text(result)
        assert (await w.do("check_frames", first_frame_image=uri))["ok"]
        assert await still(w, uri) == video.extract_png(path, "last")
        path.rename(tmp_path / "other.mp4")
        for name in ("..%2Fother.mp4", "%2Fetc%2Fhostname"):
            uri = f"hailuo://videos/{name}/last-frame"
            with pytest.raises(MCPError):
                await still(w, uri)
            assert "lies outside" in await w.fail("generate_video", prompt="x", first_frame_image=uri)


@pytest.mark.parametrize("uri", ["hailuo://videos/1", "hailuo://videos/1/middle-frame", "hailuo://limits"])
async def test_another_reference_is_no_frame(tmp_path: Path, uri: str) -> None:
    async with world(tmp_path) as w:
        assert "is no frame of a video; write hailuo://" in await w.fail(
            "generate_video", prompt="x", first_frame_image=uri
        )
