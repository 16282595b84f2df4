"""The command line, as a person and a script meet it: words, streams, exit codes, and what Ctrl-C leaves behind."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from world import KEY

from hailuo_mcp import cli
from hailuo_mcp.errors import (
    ApiRefused,
    DownloadFailed,
    HailuoError,
    NotConfigured,
    NotFound,
    NotReady,
    RequestRejected,
    Unconfirmed,
)
from hailuo_mcp.media.mp4 import inspect
from hailuo_mcp.server import VERSION
from hailuo_mcp.simulator import Bill, Fault, Simulator
from hailuo_mcp.terminal import arguments
from hailuo_mcp.terminal.console import Console, Progress, fit
from hailuo_mcp.terminal.exits import EXITS, code_of

PROGRAM = (sys.executable, "-m", "hailuo_mcp")
START_SECONDS = 30


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


@dataclass
class Terminal:
    """A person at a terminal, in a folder with two pictures, and the simulated API."""

    folder: Path
    simulator: Simulator

    async def type(self, *words: str, live: bool = False) -> Ran:
        out, err = io.StringIO(), Screen() if live else io.StringIO()
        code = await cli.run(arguments.read(words), Console(out, err, {}))
        return Ran(code, out.getvalue(), err.getvalue())

    def bill(self, number: int = -1) -> Bill:
        return self.simulator.ledger[number]

    def frames(self) -> list[str]:
        return [name for name in self.bill().payload if name.endswith("_frame_image")]


@pytest.fixture
async def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Terminal]:
    desk = tmp_path / "desk"
    desk.mkdir()
    Image.new("RGB", (640, 360), "navy").save(desk / "first.jpg")
    Image.new("RGB", (640, 360), "orange").save(desk / "last.jpg")
    monkeypatch.chdir(desk)
    async with Simulator(keys=(KEY,), generation_seconds=0.2, short_side=144) as simulator:
        settings = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_OUTPUT_DIR": str(tmp_path / "videos"),
            "HAILUO_DATA_DIR": str(tmp_path / "data"),
            "HAILUO_ALLOWED_DIRS": str(tmp_path / "elsewhere"),
            "HAILUO_POLL_INTERVAL": "0.05",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield Terminal(desk, simulator)


async def test_generate_does_the_whole_job_and_ends_with_the_path(terminal: Terminal) -> None:
    ran = await terminal.type("generate", "first.jpg", "last.jpg", "--prompt", "[Push in] dawn", "--output", "dawn")
    path = terminal.folder.parent / "videos" / "dawn.mp4"
    assert (ran.code, ran.out) == (0, f"{path}\n")
    assert inspect(path).frames
    assert "Submitted and paid for: task " in ran.err
    assert "The prompt was sent as: [推进] dawn" in ran.err
    assert "\r" not in ran.err, "no line is redrawn where there is no terminal"
    assert terminal.frames() == ["first_frame_image", "last_frame_image"]


async def test_a_frame_may_be_left_out(terminal: Terminal) -> None:
    for words in (["-", "last.jpg"], ["--last", "last.jpg"]):
        assert (await terminal.type("generate", *words, "--prompt", f"x {words}")).code == 0
        assert terminal.frames() == ["last_frame_image"]
    assert (await terminal.type("generate", "--prompt", "no frame")).code == 0
    assert terminal.frames() == []


async def test_every_option_reaches_the_api(terminal: Terminal) -> None:
    words = ["--duration", "10", "--resolution", "768p", "--no-prompt-optimizer", "--watermark"]
    assert (await terminal.type("generate", "first.jpg", "--prompt", "x", *words)).code == 0
    expected = {"duration": 10, "resolution": "768P", "prompt_optimizer": False, "aigc_watermark": True}
    assert expected.items() <= terminal.bill().payload.items()


async def test_json_is_one_document_on_stdout(terminal: Terminal) -> None:
    ran = await terminal.type("generate", "first.jpg", "--prompt", "蒲公英", "--json")
    assert (ran.code, ran.document["status"], ran.document["prompt"]) == (0, "Success", "蒲公英")
    assert ran.out.isascii(), "no console's encoding can break it"
    assert Path(ran.document["path"]).stat().st_size == ran.document["bytes"]
    listed = (await terminal.type("list", "--json")).document["videos"]
    assert [video["task_id"] for video in listed] == [ran.document["task_id"]]


async def test_everything_wrong_is_said_at_once_and_nothing_is_sent(terminal: Terminal) -> None:
    words = ["generate", "nowhere.jpg", "also-nowhere.jpg", "--prompt", "[Puhs in]", "--duration", "7", "--json"]
    ran = await terminal.type(*words)
    assert ran.code == 1
    for problem in ("FIRST: ", "LAST: ", "nowhere.jpg does not exist", "did you mean [Push in]", "6 or 10 seconds"):
        assert problem in ran.err
    assert ran.document["error"] in ran.err
    assert (ran.document["exit_code"], terminal.simulator.requests) == (1, [])


async def test_check_tells_everything_before_paying(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMXAPI_API_KEY")
    Image.new("RGB", (640, 640), "red").save("square.png")
    ran = await terminal.type("check", "first.jpg", "square.png", "--prompt", "[Push in] dawn", "-o", "frames")
    assert ran.code == 0
    for words in (
        "FIRST: JPEG, 640x360",
        "LAST: PNG, 640x640",
        "44% is cut",
        "sent as: [推进] dawn",
        "Nothing was sent",
    ):
        assert words in ran.out
    with Image.open(terminal.folder / "frames.jpg") as board:
        assert board.format == "JPEG"
    Image.new("RGB", (200, 200), "red").save("tiny.png")
    bad = await terminal.type("check", "tiny.png", "--prompt", "[Puhs in]", "--json")
    assert (bad.code, bad.document["ok"], len(bad.document["problems"])) == (1, False, 2)
    assert (await terminal.type("check", "tiny.png", "--prompt", "x")).code == 1
    assert terminal.simulator.requests == []


async def test_preview_draws_the_move_without_the_api(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMXAPI_API_KEY")
    ran = await terminal.type("preview", "first.jpg", "last.jpg", "--prompt", "[Push in] dawn", "-o", "./sketch.mp4")
    assert (ran.code, ran.out) == (0, f"{terminal.folder / 'sketch.mp4'}\n")
    assert inspect(terminal.folder / "sketch.mp4").seconds == pytest.approx(6, abs=0.2)
    assert (await terminal.type("preview", "nowhere.jpg", "--prompt", "x")).code == 1
    assert terminal.simulator.requests == []


async def test_a_frame_of_an_earlier_video_is_a_picture_too(terminal: Terminal) -> None:
    await terminal.type("generate", "first.jpg", "--prompt", "x")
    frame = f"hailuo://videos/{terminal.bill().task_id}/last-frame"
    ran = await terminal.type("check", frame, "--prompt", "and on")
    assert ran.out.startswith("FIRST: PNG, 256x144"), "the simulator's small frame was found"


@pytest.mark.parametrize("name", ["con.mp4", "clip.mov", "a:b"])
async def test_a_name_that_no_file_may_have_is_refused_before_paying(terminal: Terminal, name: str) -> None:
    ran = await terminal.type("generate", "--prompt", "x", "--output", name)
    assert (ran.code, ran.out, terminal.simulator.requests) == (1, "", [])
    assert ran.err.startswith("hailuo-mcp: filename: ")


async def test_a_missing_key_is_a_matter_of_settings(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMXAPI_API_KEY")
    ran = await terminal.type("generate", "--prompt", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "hailuo-mcp: No API key is set, so nothing was sent. Put the key into the environment variable "
        "DMXAPI_API_KEY.\n"
    )
    assert (await terminal.type("list")).code == 0, "what is known already needs no key"


async def test_a_lost_reply_has_a_code_of_its_own_and_is_never_resent(terminal: Terminal) -> None:
    terminal.simulator.faults.submit.append(Fault(drop="after"))
    for _ in range(2):
        ran = await terminal.type("generate", "first.jpg", "--prompt", "x")
        assert (ran.code, ran.out) == (3, "")
        assert "may have been paid for" in ran.err
        assert "`hailuo-mcp status` with its task_id and --record " in ran.err
        assert "`hailuo-mcp generate` with --take 2 sends the request again" in ran.err
    assert len(terminal.simulator.ledger) == 1
    assert "Unconfirmed" in (await terminal.type("list")).out
    (record,) = (video["record"] for video in (await terminal.type("list", "--json")).document["videos"])
    found = await terminal.type("status", terminal.bill().task_id, "--record", record, "--wait", "--json")
    assert (found.code, found.document["status"]) == (0, "Success")
    (video,) = (await terminal.type("list", "--json")).document["videos"]
    assert (video["task_id"], video["prompt"]) == (terminal.bill().task_id, "x")


async def test_the_same_request_is_watched_not_paid_again(terminal: Terminal) -> None:
    terminal.simulator.generation_seconds = 600
    words = ("generate", "first.jpg", "--prompt", "x")
    first = asyncio.create_task(terminal.type(*words))
    while not terminal.simulator.ledger:
        await asyncio.wait({first}, timeout=0.02)
    second = asyncio.create_task(terminal.type(*words))
    while len([request for request in terminal.simulator.requests if request.call == "query"]) < 2:
        await asyncio.wait({first, second}, timeout=0.02)
    terminal.simulator.generation_seconds = 0
    assert [(await first).code, (await second).code] == [0, 0]
    assert "already under way" in (await second).err
    assert len(terminal.simulator.ledger) == 1


async def test_a_video_that_failed_says_why(terminal: Terminal) -> None:
    terminal.simulator.script(["Processing", ("Failed", 1027)])
    ran = await terminal.type("generate", "first.jpg", "--prompt", "x")
    assert (ran.code, ran.out) == (1, "")
    assert "failed: the generated video was judged sensitive" in ran.err
    assert (await terminal.type("status", terminal.bill().task_id)).code == 1


async def test_an_api_that_is_away_for_a_while_is_waited_for(terminal: Terminal) -> None:
    terminal.simulator.faults.query += [Fault(status=502)] * 9
    ran = await terminal.type("generate", "first.jpg", "--prompt", "x")
    assert ran.code == 0
    assert "cannot be reached for now" in ran.err


async def test_ctrl_c_while_the_request_is_sent_still_names_the_paid_task(terminal: Terminal) -> None:
    terminal.simulator.faults.submit.append(Fault(delay=0.3))
    out, err = io.StringIO(), io.StringIO()
    options = arguments.read(["generate", "first.jpg", "--prompt", "x", "--json"])
    running = asyncio.create_task(cli.run(options, Console(out, err, {})))
    while not any(request.call == "submit" for request in terminal.simulator.requests):
        await asyncio.wait({running}, timeout=0.02)
    running.cancel()
    assert await running == 130
    task_id = terminal.bill().task_id
    assert json.loads(out.getvalue()) == {"error": "Stopped.", "exit_code": 130, "task_id": task_id}
    assert f"Pick it up with: hailuo-mcp download {task_id}" in err.getvalue()
    ran = await terminal.type("status", task_id, "--wait", "--json")
    assert (ran.code, ran.document["prompt"]) == (0, "x")


@pytest.mark.skipif(os.name == "nt", reason="there the signal needs a console of its own")
async def test_ctrl_c_leaves_a_paid_video_that_download_picks_up(terminal: Terminal) -> None:
    terminal.simulator.generation_seconds = 600
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "generate", "first.jpg", "--prompt", "x"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background has them, and all that they start, ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    said = b""
    while b"Queueing" not in said:
        said += await asyncio.wait_for(process.stderr.readline(), START_SECONDS)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), START_SECONDS)
    task_id = terminal.bill().task_id
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines() == [
        f"Task {task_id} is in the journal, and nothing is lost by stopping here. Pick it up with: "
        f"hailuo-mcp download {task_id}"
    ]
    waiting = await terminal.type("download", task_id)
    assert (waiting.code, waiting.out) == (4, "")
    assert "still processing" in waiting.err
    terminal.simulator.generation_seconds = 0
    assert inspect(Path((await terminal.type("download", task_id)).out.strip())).frames


async def test_status_tells_by_its_code_how_a_video_stands(terminal: Terminal) -> None:
    nothing = await terminal.type("status")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "No video is under way.\n")
    await terminal.type("generate", "first.jpg", "--prompt", "x")
    task_id = terminal.bill().task_id
    done = await terminal.type("status", task_id)
    assert (done.code, done.out.startswith(f"Task {task_id} is finished: ")) == (0, True)
    unknown = await terminal.type("status", "123")
    assert (unknown.code, unknown.out) == (1, "")
    assert "knows no such task" in unknown.err


async def test_a_video_goes_where_the_person_wants_it(terminal: Terminal) -> None:
    made = await terminal.type("generate", "first.jpg", "--prompt", "x", "--output", "./here/dawn.mp4")
    assert made.out == f"{terminal.folder / 'here' / 'dawn.mp4'}\n"
    task_id = terminal.bill().task_id
    for _ in range(2):
        again = await terminal.type("download", task_id, "--output", "there/")
        assert again.out == f"{terminal.folder / 'there' / 'dawn.mp4'}\n"
    assert len([*(terminal.folder / "there").iterdir()]) == 1


async def test_a_list_has_pages(terminal: Terminal) -> None:
    for take in ("1", "2", "3"):
        await terminal.type("generate", "--prompt", "x", "--take", take)
    page = await terminal.type("list", "--limit", "2", "--state", "Success")
    assert len(page.out.splitlines()) == 2
    cursor = page.err.split("--cursor ")[1].strip()
    rest = await terminal.type("list", "--limit", "2", "--cursor", cursor)
    (line,) = rest.out.splitlines()
    assert terminal.bill(0).task_id in line


async def test_a_terminal_sees_one_line_that_fits_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = await terminal.type("generate", "first.jpg", "--prompt", "[推进] 蒲公英", live=True)
    drawn = [part for part in ran.err.split("\r") if part.startswith("0:0")]
    assert any("Task " in line for line in drawn)
    assert max(map(len, drawn)) < 40
    assert "\x1b" not in ran.err


def test_the_bar_fills_and_never_says_done_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    seconds = iter([0.0, 0.0, 30.0, 90.0])
    screen = Screen()
    progress = Progress(Console(Screen(), screen, {}), "Waiting", 60.0, lambda: next(seconds))
    for _ in range(3):
        progress.tell("Waiting")
    bars = [part.split()[0].count("█") for part in screen.getvalue().split("\r")[1:]]
    assert bars == [0, 10, 19]


def test_a_console_that_knows_few_letters_still_shows_everything() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252", write_through=True)
    stream.isatty = lambda: True  # type: ignore[method-assign]
    console = Console(stream, stream, {})
    console.draw("Task 1: 蒲公英", 0.5)
    console.result("ü 蒲公英")
    shown = raw.getvalue().decode("cp1252")
    assert "[##########..........]" in shown
    assert "ü \\u84b2\\u516c\\u82f1" in shown


def test_words_from_outside_do_not_steer_the_terminal() -> None:
    screen = Screen()
    console = Console(screen, screen, {"NO_COLOR": "1"})
    console.say("a\x1b]0;owned\x07b\x9b31mc")
    console.listed("ok  ", "green", ["\x1b[2J", "more"])
    assert screen.getvalue() == "a?]0;owned?b?31mc\nok  ?[2J\n    more\n"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_only_where_they_are_welcome(environment: dict[str, str]) -> None:
    screens = Screen(), Screen()
    for screen, given in zip(screens, (environment, {"TERM": "xterm", "WT_SESSION": "1"}), strict=True):
        Console(screen, screen, given).listed("ok", "green", ["fine"])
    assert [screen.getvalue() for screen in screens] == ["okfine\n", "\x1b[32mok\x1b[0mfine\n"]


@pytest.mark.parametrize(
    ("text", "columns", "shown"), [("short", 5, "short"), ("abcdefgh", 6, "abc..."), ("蒲公英英英", 8, "蒲公...")]
)
def test_a_text_is_cut_to_columns_not_to_characters(text: str, columns: int, shown: str) -> None:
    assert fit(text, columns) == shown


async def test_simulate_needs_no_key_and_no_api(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMXAPI_API_KEY")
    monkeypatch.delenv("HAILUO_BASE_URL")
    ran = await terminal.type("generate", "first.jpg", "last.jpg", "--prompt", "x", "--simulate", "--seconds", "0.1")
    assert ran.code == 0
    assert inspect(Path(ran.out.strip())).height == 768
    assert (await terminal.type("list")).out == "", "simulated videos stay out of the real journal"


async def test_the_version_can_be_asked_for(terminal: Terminal) -> None:
    assert (await terminal.type("--version")).out == f"hailuo-mcp {VERSION}\n"


def test_usage_errors_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["generate"],
        ["list", "--limit", "0"],
        ["generate", "a.jpg", "--first", "b.jpg", "--prompt", "x"],
        ["nonsense"],
    ):
        with pytest.raises(SystemExit) as ended:
            arguments.read(words)
        assert ended.value.code == 2
    assert "given twice" in capsys.readouterr().err


def test_every_failure_has_a_documented_code(capsys: pytest.CaptureFixture[str]) -> None:
    codes: dict[type[HailuoError], int] = {
        RequestRejected: 1,
        ApiRefused: 1,
        NotFound: 1,
        DownloadFailed: 1,
        NotConfigured: 2,
        Unconfirmed: 3,
        NotReady: 4,
    }
    assert {kind: code_of(kind("x")) for kind in codes} == codes
    with pytest.raises(SystemExit):
        arguments.read(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {code:<4}{meaning}" in shown for code, meaning in EXITS.items())


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently there")
async def test_a_reader_that_has_had_enough_is_no_disaster(terminal: Terminal) -> None:
    await terminal.type("generate", "--prompt", "x")
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(*PROGRAM, "list", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, err = await asyncio.wait_for(process.communicate(), START_SECONDS)
    assert (process.returncode, err) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
async def test_a_full_disk_under_stdout_is_a_sentence(terminal: Terminal) -> None:
    for words in (["list", "--json"], ["--version"]):
        full = os.open("/dev/full", os.O_WRONLY)
        process = await asyncio.create_subprocess_exec(*PROGRAM, *words, stdout=full, stderr=subprocess.PIPE)
        os.close(full)
        _, err = await asyncio.wait_for(process.communicate(), START_SECONDS)
        assert process.returncode == 1
        assert err.decode() == (
            "hailuo-mcp: What was asked for could not be written to stdout: No space left on device.\n"
        )


async def test_a_folder_that_takes_no_file_costs_no_paid_video(terminal: Terminal) -> None:
    terminal.simulator.generation_seconds = 600
    running = asyncio.create_task(terminal.type("generate", "first.jpg", "--prompt", "x"))
    while not terminal.simulator.ledger:
        await asyncio.wait({running}, timeout=0.02)
    task_id = terminal.bill().task_id
    in_the_way = terminal.folder.parent / "videos" / f".hailuo-{task_id}.part"
    in_the_way.mkdir(parents=True)
    terminal.simulator.generation_seconds = 0
    ran = await running
    assert (ran.code, ran.out) == (1, "")
    assert "is finished but could not be saved in" in ran.err
    assert f"Pick it up with: hailuo-mcp download {task_id}" in ran.err
    in_the_way.rmdir()
    assert (await terminal.type("download", task_id)).code == 0


def test_a_start_loads_no_command_but_its_own() -> None:
    heavy = {"mcp", "httpx", "sqlalchemy", "av", "PIL", "pydantic", "asyncpg"}
    script = f"import sys, hailuo_mcp.cli; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
