"""The player as a host sees it: who is shown what, and that the page's tools tell no more than the others."""

import asyncio
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client import advertise
from mcp_types import BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent, TextResourceContents
from PIL import Image
from world import World, text, world

from hailuo_mcp.media import mp4
from hailuo_mcp.server import build_server
from hailuo_mcp.settings import load_settings
from hailuo_mcp.setup.bundle import manifest
from hailuo_mcp.surface.player import PLAYER, SHOWN_BY

PAGE = Path(__file__).parents[1] / "hailuo_mcp" / "surface" / "player.html"
PAGE_BYTES_BELOW = 30_000
TOOLS_BYTES_MAX = 16_000  # with the page's own tools, which models do not see
HARNESS = Path(__file__).parent / "player"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ERAS = ("auto", "legacy")
APPS = [advertise("io.modelcontextprotocol/ui", {"mimeTypes": ["text/html;profile=mcp-app"]})]
OWN = {"player_card", "player_clip"}


def frames(result: CallToolResult) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(block.data)))
        for block in result.content
        if isinstance(block, ImageContent)
    ]


async def finished(w: World, **arguments: Any) -> str:
    """The task_id of a video that is done."""
    made = await w.do("generate_video", **{"prompt": "[Push in] a sun rises"} | arguments)
    assert (await w.finish(made["task_id"]))["status"] == "Success"
    return str(made["task_id"])


def host(era: str, **settings: Any) -> Client:
    return Client(build_server(load_settings(collect=False, **settings)), mode=era, extensions=APPS)


@pytest.mark.parametrize("era", ERAS)
async def test_who_does_not_know_such_pages_notices_nothing(era: str) -> None:
    async with Client(build_server(load_settings(collect=False)), mode=era) as client:
        assert not OWN & {tool.name for tool in (await client.list_tools()).tools}
        assert PLAYER not in {str(resource.uri) for resource in (await client.list_resources()).resources}


@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_does_finds_the_page_from_each_tool_that_it_shows(era: str) -> None:
    async with host(era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        resources = {str(resource.uri): resource for resource in (await client.list_resources()).resources}
        (page,) = (await client.read_resource(PLAYER)).contents
    for name, tool in tools.items():
        meta = tool.meta or {}
        if name in OWN:
            assert meta["ui"] == {"resourceUri": PLAYER, "visibility": ["app"]}
        elif name in SHOWN_BY:
            assert (meta["ui"], meta["ui/resourceUri"]) == ({"resourceUri": PLAYER}, PLAYER)
        else:
            assert "ui" not in meta
    assert tools.keys() >= OWN | {"generate_video", "check_status", "preview_video"}
    assert resources[PLAYER].mime_type == "text/html;profile=mcp-app"
    assert isinstance(page, TextResourceContents)
    assert page.text == PAGE.read_text(encoding="utf-8")
    assert page.meta == {"ui": {"csp": {"resourceDomains": ["https://*.aliyuncs.com"]}, "prefersBorder": True}}
    listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools.values()]
    assert len(json.dumps(listed, ensure_ascii=False).encode()) <= TOOLS_BYTES_MAX


async def test_a_simulated_api_may_be_played_from() -> None:
    async with host("auto", base_url="http://127.0.0.1:8123") as client:
        (page,) = (await client.read_resource(PLAYER)).contents
    assert (page.meta or {})["ui"]["csp"]["resourceDomains"] == ["https://*.aliyuncs.com", "http://127.0.0.1:8123"]


def test_the_page_is_one_small_file_that_loads_nothing() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(page.encode()) < PAGE_BYTES_BELOW
    assert not re.findall(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket|<link|@import|\bsrc=|innerHTML|\beval\(", page)


async def test_a_bundle_offers_models_no_tool_of_the_page() -> None:
    assert not OWN & {tool["name"] for tool in (await manifest())["tools"]}


async def test_a_card_shows_the_frames_and_moves_of_a_request(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        result = await w.call(
            "player_card",
            prompt="[Push in, Shake] a sun rises",
            first_frame_image=w.picture("first.jpg", (1600, 900), "navy"),
            last_frame_image=w.picture("last.png", (900, 900), "teal"),
        )
        facts = dict(result.structured_content or {})
        assert (facts["prompt"], facts["request"], facts["age_seconds"]) == ("[推进,晃动] a sun rises", None, None)
        assert facts["camera"] == [{"sent": "[推进,晃动]", "commands": ["Push in", "Shake"]}]
        assert facts["pictures"] == ["first_frame_image", "last_frame_image"]
        assert [frame.size for frame in frames(result)] == [(640, 360), (360, 360)]
        assert w.simulator.requests == []


async def test_a_card_tells_everything_that_was_asked_of_a_video(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        first = w.picture("first.jpg")
        made = await w.do("generate_video", prompt="[Push in] a sun rises", first_frame_image=first, take=2)
        await w.time.advance(42)
        result = await w.call("player_card", task_id=made["task_id"])
        facts = dict(result.structured_content or {})
        assert facts["request"] == {
            "prompt": "[推进] a sun rises",
            "first_frame_image": first,
            "last_frame_image": "",
            "duration": 6,
            "resolution": "768P",
            "prompt_optimizer": True,
            "aigc_watermark": False,
            "take": 2,
        }
        assert (facts["age_seconds"], facts["poll_seconds"], facts["pictures"]) == (42, 10, ["first_frame_image"])


async def test_a_frame_that_has_changed_since_is_not_shown(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        made = await w.do("generate_video", prompt="a sun rises", first_frame_image=w.picture("first.jpg"))
        w.picture("first.jpg", colour="red")
        assert frames(await w.call("player_card", task_id=made["task_id"])) == []


async def test_a_card_shows_no_file_that_a_frame_could_not_be(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        Image.new("RGB", (640, 360)).save(folder / "a.jpg")
    (inside / "secret.txt").write_text("secret")
    async with world(tmp_path, allowed_dirs=(inside,)) as w:
        for source in (outside / "a.jpg", inside / "secret.txt", inside / "nothing.jpg"):
            result = await w.call("player_card", first_frame_image=str(source))
            assert frames(result) == []
            assert "secret" not in str(result.content)
        assert len(frames(await w.call("player_card", first_frame_image=str(inside / "a.jpg")))) == 1


async def test_a_clip_is_small_enough_for_every_host(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        result = await w.call("player_clip", task_id=await finished(w))
        assert len(result.model_dump_json().encode()) < 1_000_000
        (clip,) = [block.resource for block in result.content if isinstance(block, EmbeddedResource)]
        assert isinstance(clip, BlobResourceContents)
        (tmp_path / "small.mp4").write_bytes(base64.b64decode(clip.blob))
        assert mp4.inspect(tmp_path / "small.mp4").seconds == pytest.approx(6, abs=0.1)
        assert [max(frame.size) <= 640 for frame in frames(result)] == [True]


async def test_a_sketch_has_a_clip_by_its_path(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        sketch = await w.do("preview_video", prompt="[Push in] a sun rises")
        assert not (await w.call("player_clip", task_id=sketch["path"])).is_error


async def test_there_is_no_clip_of_what_is_not_finished_or_elsewhere(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        made = await w.do("generate_video", prompt="a sun rises")
        shutil.copy(w.picture(), tmp_path / "other.mp4")
        for clip, words in ((made["task_id"], "still processing"), (str(tmp_path / "other.mp4"), "outside")):
            result = await w.call("player_clip", task_id=clip)
            assert result.is_error
            assert words in text(result)


async def test_the_player_works_in_a_real_browser() -> None:
    node, browser = shutil.which("node"), next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not node or not browser or not (HARNESS / "node_modules" / "playwright-core").is_dir():
        pytest.skip("NOT RUN: needs Node.js 20, Chromium, and `npm ci` in tests/player")
    process = await asyncio.create_subprocess_exec(
        *(node, "--test", "--test-reporter=spec", "--test-concurrency=1"),
        cwd=HARNESS,
        env=os.environ | {"CHROMIUM": browser, "HAILUO_TEST_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, said.decode()
    assert re.search(r"^ℹ pass [1-9]", said.decode(), re.MULTILINE)
