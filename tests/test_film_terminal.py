"""`film` and `retake` at a terminal: the plan is free, --pay makes the film, what came to nothing is retaken."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from world import KEY

from hailuo_mcp import cli
from hailuo_mcp.media.mp4 import inspect
from hailuo_mcp.simulator import Simulator
from hailuo_mcp.terminal import arguments
from hailuo_mcp.terminal.console import Console

PROMPTS = ("--prompt", "[Push in] to the gate", "--prompt", "over the roofs")


@pytest.fixture
async def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    for at, colour in enumerate(("navy", "teal", "gold")):
        Image.new("RGB", (640, 360), colour).save(tmp_path / f"{at}.jpg")
    monkeypatch.chdir(tmp_path)
    async with Simulator(keys=(KEY,), generation_seconds=0.2, short_side=144) as simulator:
        settings = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_DATA_DIR": str(tmp_path / "data"),
            "HAILUO_OUTPUT_DIR": str(tmp_path / "videos"),
            "HAILUO_POLL_INTERVAL": "0.05",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield simulator


async def typed(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = await cli.run(arguments.read(words), Console(out, err, {}))
    return code, out.getvalue(), err.getvalue()


async def test_a_plan_is_free_and_pay_makes_the_film(simulator: Simulator, tmp_path: Path) -> None:
    pictures = ("0.jpg", "1.jpg", "2.jpg")
    code, out, _ = await typed("film", *pictures, *PROMPTS, "--storyboard", "board.jpg")
    assert (code, simulator.ledger) == (0, [])
    assert "It pays for 2 videos at 768P" in out
    assert "the same with --pay" in out
    with Image.open(tmp_path / "board.jpg") as board:
        assert board.size == (3 * 384, 216)
    code, out, err = await typed("film", *pictures, *PROMPTS, "--pay")
    assert code == 0, err
    assert inspect(Path(out.strip())).frames == 2 * 144
    assert len(simulator.ledger) == 2
    code, out, _ = await typed("status", Path(out.strip()).stem)
    assert code == 0
    assert "joined without encoding" in out


async def test_a_sketch_of_the_film_is_free(simulator: Simulator) -> None:
    code, out, _ = await typed("film", "0.jpg", "-", *PROMPTS, "--preview")
    assert code == 0
    assert round(inspect(Path(out.strip())).seconds) == 12
    assert simulator.requests == []


async def test_problems_are_told_before_anything_is_paid(simulator: Simulator) -> None:
    code, out, err = await typed("film", "0.jpg", "none.jpg", "--prompt", "x", "--pay")
    assert (code, out) == (1, "")
    assert "keyframe 2: " in err
    assert "does not exist" in err
    code, _, err = await typed("film", "0.jpg", *PROMPTS, *("--duration", "6") * 3)
    assert code == 2
    assert "--duration: give it once for all 2 shots, or once for each" in err
    assert simulator.requests == []


async def test_what_came_to_nothing_is_retaken_alone(simulator: Simulator) -> None:
    simulator.script([("Failed", 1027)])
    code, out, err = await typed("film", "0.jpg", "1.jpg", "--prompt", "to the gate", "--pay")
    assert (code, out) == (1, "")
    (command,) = [line for line in err.split("`") if line.startswith("hailuo-mcp retake ")]
    code, out, err = await typed(*command.split()[1:], "--prompt", "a calmer way to the gate")
    assert code == 0, err
    assert inspect(Path(out.strip())).frames == 144
    assert [bill.prompt for bill in simulator.ledger] == ["to the gate", "a calmer way to the gate"]
