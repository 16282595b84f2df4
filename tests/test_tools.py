"""The tools as a client uses them, against the simulated API."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from mcp_types import ResourceLink
from world import KEY, World, text, world

from hailuo_mcp import camera
from hailuo_mcp.media import mp4
from hailuo_mcp.simulator import Fault


async def test_two_pictures_become_a_checked_video_on_disk(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        made = await w.do(
            "generate_video",
            prompt="[Push in] a sun rises",
            first_frame_image=w.picture("first.jpg"),
            last_frame_image=w.picture("last.png", colour="teal"),
        )
        assert made == {
            "task_id": made["task_id"],
            "status": "Processing",
            "prompt": "[推进] a sun rises",
            "already_submitted": False,
            "warnings": [],
        }
        status = await w.finish(made["task_id"])
        assert (status["status"], status["video_width"], status["video_height"]) == ("Success", 256, 144)
        result = await w.call("download_video", task_id=made["task_id"], filename="sunrise")
        path = w.settings.output_dir / "sunrise.mp4"
        facts = mp4.inspect(path)
        assert (facts.width, facts.height, round(facts.seconds)) == (256, 144, 6)
        assert result.structured_content == {
            "task_id": made["task_id"],
            "path": str(path),
            "bytes": path.stat().st_size,
            "video_width": 256,
            "video_height": 144,
        }
        (link,) = [block for block in result.content if isinstance(block, ResourceLink)]
        assert (link.uri, link.mime_type, link.size) == (path.as_uri(), "video/mp4", path.stat().st_size)


@pytest.mark.parametrize(
    "frames", [(), ("first_frame_image",), ("last_frame_image",), ("first_frame_image", "last_frame_image")]
)
async def test_either_frame_both_or_none(tmp_path: Path, frames: tuple[str, ...]) -> None:
    async with world(tmp_path) as w:
        made = await w.do("generate_video", prompt="a sea", **{name: w.picture(f"{name}.jpg") for name in frames})
        assert (await w.finish(made["task_id"]))["status"] == "Success"


async def test_what_is_sent_is_what_the_document_says(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.do(
            "generate_video",
            prompt="a sea",
            first_frame_image="https://example.com/a.jpg",
            duration=10,
            resolution="768P",
            prompt_optimizer=False,
            aigc_watermark=True,
        )
        (request,) = w.simulator.requests
        assert (request.method, request.path) == ("POST", "/v1/video_generation")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["content-length"] == str(request.size)
        (bill,) = w.simulator.ledger
        assert bill.payload == {
            "model": "MiniMax-Hailuo-02",
            "prompt": "a sea",
            "duration": 10,
            "resolution": "768P",
            "prompt_optimizer": False,
            "aigc_watermark": True,
            "first_frame_image": "https://example.com/a.jpg",
        }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": "  \n"}, "prompt: must say what happens"),
        ({"prompt": "x" * 2001}, "prompt: has 2001 characters; at most 2000"),
        ({"prompt": "x", "duration": 8}, "duration: must be 6 or 10 (got 8)"),
        ({"prompt": "x", "duration": 10, "resolution": "1080P"}, "duration: 1080P allows 6 seconds only (got 10)"),
        ({"prompt": "x", "resolution": "512P"}, "resolution: must be 768P or 1080P (got '512P')"),
        ({"prompt": "x", "last_frame": "a.jpg"}, "last_frame: no such argument; did you mean last_frame_image?"),
        ({"prompt": "x", "model": "other"}, "model: no such argument"),
        ({"prompt": "x", "take": True}, "take: must be a whole number (got True)"),
        ({"prompt": "x", "take": "9" * 5000}, "take: must be a whole number (got '9999"),
        ({"prompt": "x", "duration": "²"}, "duration: must be 6 or 10 (got '²')"),
        ({"prompt": "x", "aigc_watermark": "perhaps"}, "aigc_watermark: must be true or false"),
        ({"prompt": "[Push inn] x"}, "did you mean [Push in] ([推进])?"),
        ({"prompt": "x", "first_frame_image": "relative.jpg"}, "first_frame_image: 'relative.jpg' is not a full path"),
        ({"prompt": "x", "last_frame_image": "/etc/hostname"}, "last_frame_image: /etc/hostname lies outside"),
        ({}, "prompt: is required"),
    ],
)
async def test_a_wrong_request_is_refused_before_anything_is_sent(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    async with world(tmp_path) as w:
        assert words in await w.fail("generate_video", **arguments)
        assert w.simulator.requests == []


async def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        said = await w.fail(
            "generate_video",
            prompt="[Dolly in] x",
            duration=10,
            resolution="1080P",
            first_frame_image=w.picture("small.jpg", (300, 300)),
            last_frame_image=str(tmp_path / "none.jpg"),
        )
    for words in ("1080P allows 6", "[Push in]", "first_frame_image: ", "300x300", "last_frame_image: ", "not exist"):
        assert words in said


async def test_numbers_and_cases_as_models_write_them_are_understood(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.do("generate_video", prompt="x", duration="6", resolution="1080p", first_frame_image=None)
        assert w.simulator.ledger[0].payload["resolution"] == "1080P"


async def test_frames_of_different_shape_warn_of_the_crop(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        made = await w.do(
            "generate_video",
            prompt="x",
            first_frame_image=w.picture("wide.jpg", (1600, 900)),
            last_frame_image=w.picture("square.jpg", (900, 900)),
        )
        assert "44% of the last frame, at its top and bottom" in made["warnings"][0]


async def test_without_a_key_everything_lists_and_paid_tools_name_the_variable(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        assert len((await w.client.list_tools()).tools) >= 4
        for tool, arguments in (
            ("generate_video", {"prompt": "x"}),
            ("check_status", {"task_id": "1"}),
            ("get_download_url", {"task_id": "1"}),
            ("download_video", {"task_id": "1"}),
        ):
            assert "DMXAPI_API_KEY" in await w.fail(tool, **arguments)
        assert (await w.do("list_videos"))["videos"] == []


async def test_waiting_tells_progress_and_ends_before_the_host_gives_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.script(["Preparing", *["Queueing"] * 20])
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        start = w.time.now
        status = await w.do("check_status", task_id=task_id, wait_seconds=50)
        assert (status["status"], status["upstream_status"]) == ("Processing", "Queueing")
        assert 50 <= w.time.now - start < 55
        times = [done for done, _, _ in w.progress]
        assert times == sorted(set(times))
        assert max(later - earlier for earlier, later in zip(times, [*times[1:], 50.0], strict=True)) <= 10


async def test_waiting_ends_as_soon_as_the_task_does(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.script(["Processing", ("Failed", 1027)])
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        start = w.time.now
        result = await w.call("check_status", task_id=task_id, wait_seconds=50)
        assert result.structured_content is not None
        assert result.structured_content["status"] == "Failed"
        assert "sensitive" in result.structured_content["failure"]
        assert w.time.now - start < 15


@pytest.mark.parametrize("word", ["Fail", "Failed", "fail"])
async def test_failure_is_failure_however_it_is_spelled(tmp_path: Path, word: str) -> None:
    async with world(tmp_path) as w:
        w.simulator.script([word])
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        status = await w.do("check_status", task_id=task_id)
        assert (status["status"], status["upstream_status"]) == ("Failed", word)
        assert task_id in await w.fail("get_download_url", task_id=task_id)
        assert task_id in await w.fail("download_video", task_id=task_id)


async def test_a_task_submitted_elsewhere_can_be_followed(tmp_path: Path) -> None:
    async with world(tmp_path / "here") as here:
        made = await here.do("generate_video", prompt="x")
        data = tmp_path / "there"
        from world import play

        async with play(data, here.simulator, here.time) as there:
            assert (await there.finish(made["task_id"]))["status"] == "Success"
            saved = await there.do("download_video", task_id=made["task_id"])
            assert Path(saved["path"]).parent == data / "videos"


async def test_an_unknown_task_is_a_clear_error(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        said = await w.fail("check_status", task_id="123456789012345")
        assert "2013" in said
        assert "123456789012345" in said


async def test_a_link_tells_when_it_ends(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        said = await w.fail("get_download_url", task_id=task_id)
        assert "still processing" in said
        assert "check_status" in said
        status = await w.finish(task_id)
        for arguments in ({}, {"file_id": status["file_id"]}):
            link = await w.do("get_download_url", task_id=task_id, **arguments)
            (epoch,) = parse_qs(urlsplit(link["download_url"]).query)["Expires"]
            assert link["file_id"] == status["file_id"]
            assert link["filename"] == "output_aigc.mp4"
            from datetime import datetime

            assert datetime.fromisoformat(link["expires_at"]).timestamp() == int(epoch)


async def test_a_download_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        w.settings.output_dir.mkdir()
        (w.settings.output_dir / "mine.mp4").write_bytes(b"mine")
        saved = await w.do("download_video", task_id=task_id, filename="mine.mp4")
        assert Path(saved["path"]).name == "mine-2.mp4"
        assert (w.settings.output_dir / "mine.mp4").read_bytes() == b"mine"
        again = await w.do("download_video", task_id=task_id)
        assert again["path"] == saved["path"]
        assert w.calls("download") == 1
        copy = await w.do("download_video", task_id=task_id, filename="copy")
        assert Path(copy["path"]).read_bytes() == Path(saved["path"]).read_bytes()
        assert w.calls("download") == 1


@pytest.mark.parametrize("name", ["../out.mp4", "/tmp/out.mp4", "a\\b.mp4", "clip.mov"])
async def test_a_download_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    async with world(tmp_path) as w:
        assert "filename: " in await w.fail("download_video", task_id="1", filename=name)


async def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        w.simulator.faults.download += [Fault(cut_at=5_000), Fault(status=503)]
        saved = await w.do("download_video", task_id=task_id)
        mp4.inspect(Path(saved["path"]))
        ranges = [r.headers.get("range") for r in w.simulator.requests if r.call == "download"]
        assert ranges == [None, "bytes=5000-", "bytes=5000-"]
        assert [path.name for path in w.settings.output_dir.iterdir()] == [Path(saved["path"]).name]


async def test_an_expired_link_is_asked_for_anew(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        await w.do("get_download_url", task_id=task_id)
        w.time.now += 10 * 3600
        await w.do("download_video", task_id=task_id)
        assert w.calls("retrieve") == 2


async def test_a_cut_video_is_not_saved_wherever_it_is_cut(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        path = Path((await w.do("download_video", task_id=task_id))["path"])
        whole = path.read_bytes()
        path.unlink()
        for tenth in range(10):
            cut = Fault(status=200, body=whole[: len(whole) * tenth // 10], content_type="video/mp4")
            w.simulator.faults.download += [cut] * 5
            assert "could not be downloaded" in await w.fail("download_video", task_id=task_id)
            assert list(w.settings.output_dir.iterdir()) == []


@pytest.mark.parametrize("body", ["<html>sorry</html>", "", "ftyp" * 100, "ffconcat version 1.0\nfile 'a.mp4'\n"])
async def test_what_is_no_video_is_not_saved(tmp_path: Path, body: str) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        w.simulator.faults.download += [Fault(status=200, body=body, content_type="video/mp4")] * 5
        said = await w.fail("download_video", task_id=task_id)
        assert task_id in said
        assert "still on the server" in said
        assert list(w.settings.output_dir.iterdir()) == []
        await w.do("download_video", task_id=task_id)


async def damaged_bytes(w: World, task_id: str) -> bytes:
    """The finished video with zeros in a picture, as a failing disk leaves them: its boxes are whole."""
    path = Path((await w.do("download_video", task_id=task_id))["path"])
    data = path.read_bytes()
    path.unlink()
    at = data.index(b"mdat") + 4000
    return data[:at] + bytes(64) + data[at + 64 :]


async def test_a_download_that_was_damaged_on_the_way_is_fetched_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        body = await damaged_bytes(w, task_id)
        w.simulator.faults.download.append(Fault(status=200, body=body, content_type="video/mp4"))
        saved = await w.do("download_video", task_id=task_id)
        assert Path(saved["path"]).read_bytes() != body
        assert w.calls("download") == 3


async def test_a_download_that_stays_damaged_is_never_called_a_success(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        body = await damaged_bytes(w, task_id)
        w.simulator.faults.download += [Fault(status=200, body=body, content_type="video/mp4")] * 5
        said = await w.fail("download_video", task_id=task_id)
        assert "The MP4 file is damaged: not all of its pictures can be decoded." in said
        assert "still on the server" in said
        assert list(w.settings.output_dir.iterdir()) == []


async def test_a_file_that_a_crash_cut_off_is_fetched_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        path = Path((await w.do("download_video", task_id=task_id))["path"])
        os.truncate(path, 5000)
        saved = await w.do("download_video", task_id=task_id)
        assert mp4.inspect(Path(saved["path"])).frames == 144
        assert path.stat().st_size == 5000


async def test_a_finished_video_tells_what_it_is_wherever_it_is_listed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        before = await w.finish(task_id)
        assert (before["video_width"], before["file"]) == (256, None)
        path = Path((await w.do("download_video", task_id=task_id))["path"])
        facts = {
            "bytes": path.stat().st_size,
            "seconds": 6.0,
            "frames_per_second": 24.0,
            "codec": "h264",
            "has_audio": False,
        }
        status = await w.call("check_status", task_id=task_id)
        listed = await w.call("list_videos")
        read = await w.client.read_resource(f"hailuo://videos/{task_id}")
        (row,) = (listed.structured_content or {})["videos"]
        for found in ((status.structured_content or {})["file"], row, json.loads(read.contents[0].text)):  # type: ignore[union-attr]
            assert facts.items() <= dict(found or {}).items()
        for result in (status, listed):
            assert "256x144, 6.0 s, 24 frames/s, h264, without sound" in text(result)


async def test_a_slow_download_goes_on_after_the_call_has_ended(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        w.simulator.faults.download.append(Fault(delay=0.6))
        first = await w.call("download_video", task_id=task_id)
        assert not first.is_error
        assert "still being downloaded" in text(first)
        saved = await w.do("download_video", task_id=task_id)
        while saved["path"] is None:
            saved = await w.do("download_video", task_id=task_id)
        assert w.calls("download") == 1


async def test_the_resources_are_the_documents_tables(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        read = json.loads((await w.client.read_resource("hailuo://camera-commands")).contents[0].text)  # type: ignore[union-attr]
        assert [item["command"] for item in read["commands"]] == [f"[{command.text}]" for command in camera.COMMANDS]
        assert (len(read["commands"]), len(read["rules"])) == (15, 3)
        limits = json.loads((await w.client.read_resource("hailuo://limits")).contents[0].text)  # type: ignore[union-attr]
        assert limits["seconds_by_resolution"] == {"768P": [6, 10], "1080P": [6]}


async def test_nothing_that_a_client_sees_holds_the_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with world(tmp_path, log_level="DEBUG") as w:
        seen = []
        for fault in (Fault(status=401, body=f"bad token {KEY}"), Fault(code=2049, message=f"invalid api key {KEY}")):
            w.simulator.faults.submit.append(fault)
            seen.append(await w.fail("generate_video", prompt=f"x{len(seen)}"))
        made = await w.call("generate_video", prompt="y")
        seen += [made.model_dump_json(), (await w.call("list_videos")).model_dump_json()]
    everything = "".join(seen) + caplog.text
    assert KEY not in everything
    for path in (tmp_path / "data").iterdir():
        assert KEY.encode() not in path.read_bytes()
