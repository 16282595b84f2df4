"""What a hostile API, or somebody who writes into the journal or the output folder, cannot reach with it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from world import KEY, World, world

from hailuo_mcp.media import mp4
from hailuo_mcp.simulator import Fault


def said(**fields: object) -> Fault:
    body = {"base_resp": {"status_code": 0, "status_msg": "success"}} | fields
    return Fault(body=json.dumps(body), content_type="application/json")


async def finished(w: World, prompt: str = "a sea") -> str:
    task = (await w.do("generate_video", prompt=prompt))["task_id"]
    await w.finish(task)
    return str(task)


@pytest.mark.parametrize("id", ["a/../../../x", "..\\..\\x", "/etc/x", "C:\\x", "a:stream", "x/", ".."])
async def test_an_id_of_the_api_leads_to_no_other_folder_and_its_video_comes_home(tmp_path: Path, id: str) -> None:
    async with world(tmp_path) as w:
        url = (await w.do("get_download_url", task_id=await finished(w)))["download_url"]
        before = set(tmp_path.rglob("*"))
        faults = w.simulator.faults
        faults.submit.append(said(task_id=id))
        faults.query.append(said(task_id=id, status="Success", file_id="9"))
        faults.retrieve.append(said(file={"file_id": 9, "download_url": url, "filename": "../../x.mp4"}))
        assert (await w.do("generate_video", prompt="another sea"))["task_id"] == id
        await w.time.advance(20)
        saved = Path((await w.do("download_video", task_id=id))["path"])
        assert mp4.inspect(saved).frames
        assert saved.parent == w.settings.output_dir
        new = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
        assert {path.parent for path in new} <= {w.settings.output_dir, w.settings.data_dir}


@pytest.mark.parametrize("elsewhere", ["secret.txt", "secret.mp4", "link.mp4"])
async def test_a_path_in_the_journal_shows_and_copies_nothing_but_videos(tmp_path: Path, elsewhere: str) -> None:
    async with world(tmp_path) as w:
        task = await finished(w)
        await w.do("download_video", task_id=task)
        secret = b"a secret that is long enough" * 9
        (tmp_path / "target").write_bytes(secret)
        place = tmp_path / elsewhere
        place.symlink_to(tmp_path / "target") if elsewhere == "link.mp4" else place.write_bytes(secret)
        with closing(sqlite3.connect(w.settings.data_dir / "journal.db")) as journal, journal:
            journal.execute("UPDATE hailuo_videos SET path = ?, bytes = ?", (str(place), len(secret)))
        assert "long enough" not in await w.fail("view_video", task_id=task)
        copy = Path((await w.do("download_video", task_id=task, filename="copy"))["path"])
        assert mp4.inspect(copy).frames, "fetched again"
        for made in w.settings.output_dir.iterdir():
            assert secret not in made.read_bytes()


async def test_the_key_is_sent_to_the_api_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.do("download_video", task_id=await finished(w))
        for request in w.simulator.requests:
            assert (KEY in str(request.headers)) == (request.call != "download"), request.call
