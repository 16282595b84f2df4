"""A film that cannot be saved: nothing half made stays, and the sentence says what to do."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from hailuo_mcp.errors import DownloadFailed
from hailuo_mcp.films.cutting import Cutter, Damaged
from hailuo_mcp.media import animatic


def film_of(*clips: Path) -> Any:
    shots = [SimpleNamespace(path=str(clip)) for clip in clips]
    return SimpleNamespace(shots=shots, script=SimpleNamespace(exact=False), record=SimpleNamespace(id="film-1"))


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.mp4" for name in ("one", "two")]
    for path in paths:
        noise = Image.effect_noise((256, 144), 80).convert("RGB")
        animatic.render(path, first=noise, last=None, moves=(), prompt_length=1, seconds=1, size=(256, 144))
    return paths


@pytest.mark.skipif(sys.platform == "win32", reason="the size of a file can be limited on POSIX only")
async def test_a_full_disk_leaves_nothing_behind_and_is_told(clips: list[Path], tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DownloadFailed, match=r"All 2 shots are at home, but the film could not be saved in .*: "):
            await Cutter(tmp_path / "out").cut(film_of(*clips))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [*(tmp_path / "out").iterdir()] == []
    assert (await Cutter(tmp_path / "out").cut(film_of(*clips))).path.is_file()


async def test_what_a_killed_process_left_is_swept_away(clips: list[Path], tmp_path: Path) -> None:
    left, other = (tmp_path / "out" / f".{name}.part" for name in ("film-1-00ff", "film-2-00ff"))
    left.parent.mkdir()
    for path in (left, other):
        path.write_bytes(b"half")
    cut = await Cutter(tmp_path / "out").cut(film_of(*clips))
    assert {*(tmp_path / "out").iterdir()} == {cut.path, other}


async def test_a_film_that_nobody_waits_for_any_more_gets_no_file(clips: list[Path], tmp_path: Path) -> None:
    cutting = asyncio.create_task(Cutter(tmp_path / "out").cut(film_of(*clips)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cutting.cancel()
    await asyncio.gather(cutting, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert [*(tmp_path / "out").glob("*")] == []


async def test_a_damaged_shot_is_named_by_its_number(clips: list[Path], tmp_path: Path) -> None:
    clips[1].write_bytes(clips[1].read_bytes()[:5_000])
    with pytest.raises(Damaged) as caught:
        await Cutter(tmp_path / "out").cut(film_of(*clips))
    assert caught.value.number == 2
    assert [*(tmp_path / "out").iterdir()] == []
