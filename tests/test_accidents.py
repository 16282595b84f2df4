"""Every accident that the simulated API can have, on each of its calls: how it ends, what is said, what it costs.

A submit ends in a record that is true of what was billed; a read and a download end in an answer or in a sentence,
and the next one works.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from world import KEY, Time, World, play, text, world

from hailuo_mcp import api, downloads, rules
from hailuo_mcp.media import mp4
from hailuo_mcp.simulator import Fault, Simulator
from hailuo_mcp.surface import tools

JSON = "application/json"
GUARD_SECONDS = 60  # a call that hangs fails the test instead of stopping all
AGAIN, ONCE = api.READ_ATTEMPTS, 1  # how often a read that keeps failing is asked
NO_JSON = "The API's answer (HTTP 200) is not the JSON it should be"
CUT = "no answer came back"
UNREACHED = "could not be reached"
NO_LINK = "holds no download link"
NO_STATUS = "holds no status"
NO_VIDEO = "The file is not an MP4 video"
EXPIRED = "The download link is no longer valid"
BROKEN = "The download broke off"


@dataclass(frozen=True)
class Accident:
    """What goes wrong; the state that a submit is left in, and what is said; how often a read is asked while it goes
    on, and what is said at last, by query and retrieve; what a download that keeps failing says, "" where it works."""

    name: str
    fault: Fault
    submit: tuple[str, str]
    asked: int
    query: str
    retrieve: str
    download: str


def accident(
    name: str, submit: tuple[str, str], read: tuple[int, str] | tuple[int, str, str], download: str, **fault: Any
) -> Accident:
    return Accident(name, Fault(**fault), submit, read[0], read[1], read[-1], download)


def unknown(words: str) -> tuple[str, str]:
    return "Unconfirmed", f"but its outcome is not known: {words}"


def refused(words: str) -> tuple[str, str]:
    return "Refused", words


MADE = ("Processing", "")
ANSWERED = (0, "")

CONNECTIONS = [
    accident("closed early", unknown(CUT), (AGAIN, UNREACHED), BROKEN, drop="before"),
    accident("closed late", unknown(CUT), (AGAIN, UNREACHED), BROKEN, drop="after"),
    accident("reset early", unknown(CUT), (AGAIN, UNREACHED), BROKEN, drop="before", reset=True),
    accident("reset late", unknown(CUT), (AGAIN, UNREACHED), BROKEN, drop="after", reset=True),
    accident("cut", unknown(CUT), (AGAIN, UNREACHED), BROKEN, cut_at=9),
    accident("cut with a reset", unknown(CUT), (AGAIN, UNREACHED), BROKEN, cut_at=9, reset=True),
    accident("cut while chunked", unknown(CUT), (AGAIN, UNREACHED), BROKEN, cut_at=9, chunk=True),
    accident("length too small", unknown(NO_JSON), (AGAIN, NO_JSON), NO_VIDEO, length=5),
    # A file that is whole is kept, whatever length was told.
    accident("length too large", unknown(CUT), (AGAIN, UNREACHED), "", length=9_000_000),
    accident("wrongly compressed", unknown(CUT), (AGAIN, UNREACHED), "", headers={"Content-Encoding": "gzip"}),
    accident("chunked", MADE, ANSWERED, "", chunk=True),
]
SILENCE = [
    accident("hangs", unknown(f"{CUT} (timed out)"), (ONCE, "did not answer within 1.5 s"), BROKEN, hang=True),
    accident(
        "works, and hangs",
        unknown(f"{CUT} (timed out)"),
        (ONCE, "did not answer within 1.5 s"),
        BROKEN,
        hang=True,
        billed=True,
    ),
    accident("drips", unknown(f"{CUT} (timed out)"), (ONCE, "did not answer within 1.5 s"), "took longer", drip=10),
]


def said(name: str, body: bytes | str, kind: str = JSON, words: str = NO_JSON) -> Accident:
    """An answer of success whose body is wrong; the submit was billed."""
    reads = (AGAIN, words) if words == NO_JSON else (ONCE, NO_STATUS, NO_LINK)
    downloads = "is missing" if not body else NO_VIDEO
    return accident(
        name,
        unknown(words if words == NO_JSON else "the answer holds no task_id"),
        reads,
        downloads,
        body=body,
        content_type=kind,
        billed=True,
    )


BODIES = [
    said("nothing", ""),
    said("HTML", "<html>sorry</html>", "text/html"),
    said("half of JSON", '{"task_id": "1234'),
    said("a list", "[1]"),
    said("null", "null"),
    said("a number", "1e999"),
    said("nested deeply", "[" * 100_000),
    said("no text", b'{"task_id": "\xff\xfe"}'),
    said("a huge body", b" " * 3_000_000 + b'{"task_id": "1"}'),
    said("an unknown charset", "{}", "application/json; charset=none", words="empty"),
    said("other types", '{"task_id": {}, "status": 7.5, "file": "x", "base_resp": []}', words="empty"),
    said(
        "more types",
        '{"task_id": true, "status": ["Success"], "file": {"download_url": 7}, "base_resp": {"status_code": "x"}}',
        words="empty",
    ),
    said(
        "ids that are none",
        '{"task_id": "a b", "status": {}, "file": {"download_url": "javascript:alert(1)"}}',
        words="empty",
    ),
]


LONG = ("60", "3600", "99999999999", "9" * 400, "Wed, 21 Oct 2099 07:28:00 GMT")


def answered(status: int, headers: dict[str, str] | None = None) -> Accident:
    """An error of HTTP, with a page of a proxy."""
    remedies = {
        401: "Check DMXAPI_API_KEY",
        402: "Top up the account",
        403: "no quota left",
        413: "pictures are too large",
        429: "Wait a minute",
    }
    words = remedies.get(status, f"HTTP {status}")
    paid = refused(words) if status < 500 and status != 408 else unknown("The API answered")
    again = AGAIN if status in (408, 429) or status >= 500 else ONCE
    again = ONCE if (headers or {}).get("Retry-After") in LONG else again  # a long wait is told instead
    gone = EXPIRED if status in (401, 403, 404, 410) else f"refused for now (HTTP {status})"
    return accident(f"HTTP {status} {headers or ''}", paid, (again, words), gone, status=status, headers=headers or {})


STATUSES = [
    *(answered(status) for status in (400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 422, 429)),
    *(answered(status) for status in (500, 501, 502, 503, 504, 520, 529, 599)),
    *(answered(status, {"Retry-After": "3"}) for status in (400, 401, 429, 500, 503)),
    *(answered(429, {"Retry-After": wait}) for wait in LONG[:1] + LONG[2:4]),
    *(answered(503, {"Retry-After": wait}) for wait in (LONG[1], LONG[-1], "soon", "-1", "", "Wed, 21 Oct 1999")),
    *(answered(503, {"Retry-After": wait}) for wait in (f"Wed, 21 Oct {'9' * 30} 07:28:00 GMT", "3\x1d")),
]


def coded(number: int, *, gateway: bool = False) -> Accident:
    """An error code of the API, plain or as a gateway words it."""
    code = rules.API_CODES.get(number, rules.UNKNOWN_CODE)
    words = f"The API answered {number}, {code.meaning}"
    paid = unknown(words) if code.kind == "unclear" else refused(code.remedy)
    remedy = "knows no such task or file" if number == 2013 else code.remedy
    return accident(f"code {number}", paid, (ONCE if code.kind == "refused" else AGAIN, remedy), NO_VIDEO, code=number)


CODES = [coded(number) for number in (*rules.API_CODES, 9999, -1)]
GATEWAY = [
    accident(
        "a gateway's 1002", refused("Wait a minute"), (AGAIN, "Wait a minute"), "HTTP 429", gateway=True, code=1002
    ),
    accident("a gateway's 1008", refused("no quota"), (ONCE, "no quota"), EXPIRED, gateway=True, code=1008),
    accident("a gateway's 2049", refused("DMXAPI_API_KEY"), (ONCE, "DMXAPI_API_KEY"), EXPIRED, gateway=True, code=2049),
    accident(
        "a gateway's 1000",
        unknown("The API answered with HTTP 500"),
        (AGAIN, "HTTP 500"),
        "HTTP 500",
        gateway=True,
        code=1000,
    ),
]
FAMILIES = {
    "connections": CONNECTIONS,
    "silence": SILENCE,
    "bodies": BODIES,
    "statuses": STATUSES,
    "codes": CODES,
    "gateway": GATEWAY,
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Accident]]:
    monkeypatch.setattr(api, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(downloads, "TOTAL_SECONDS", 1.2)
    return FAMILIES[request.param]


@asynccontextmanager
async def troubled(folder: Path, family: list[Accident]) -> AsyncIterator[World]:
    """A world with limits that are short where they are reached, and otherwise out of the way."""
    limits = {"request_timeout": 1.5, "submit_timeout": 2} if family is SILENCE else {"request_timeout": 20}
    async with asyncio.timeout(GUARD_SECONDS), world(folder, **{"submit_timeout": 20} | limits) as w:
        yield w


async def test_a_submit_ends_in_a_record_that_is_true_of_the_bill(tmp_path: Path, family: list[Accident]) -> None:
    async with troubled(tmp_path, family) as w:
        for number, case in enumerate(family):
            billed, sent = len(w.simulator.ledger), w.calls("submit")
            request = {"prompt": f"accident {number}: {case.name}"}
            w.simulator.faults.submit.append(case.fault)
            result = await w.call("generate_video", **request)
            state, words = case.submit
            (record,) = (await w.do("list_videos", limit=1))["videos"]
            assert record["state"] == state, case.name
            assert words in text(result), case.name
            assert result.is_error == (state != "Processing"), case.name
            assert len(w.simulator.ledger) - billed == case.fault.processes, case.name
            assert w.calls("submit") - sent == 1, case.name
            if state == "Refused":
                assert not case.fault.processes, f"{case.name}: what was billed is not refused"
                assert not (await w.do("generate_video", **request))["already_submitted"]
            elif state == "Unconfirmed":
                assert record["record"] in text(result), case.name
                assert "ask again" not in record["failure"], case.name
                assert "was not sent again" in await w.fail("generate_video", **request)
                assert w.calls("submit") - sent == 1, f"{case.name}: sent again"
                await w.do("generate_video", **request, take=2)
            else:
                assert (await w.do("generate_video", **request))["already_submitted"]
        assert len(w.simulator.ledger) == len({bill.task_id for bill in w.simulator.ledger})


async def finished(w: World) -> str:
    task = (await w.do("generate_video", prompt="a sea"))["task_id"]
    await w.finish(task)
    return str(task)


async def asked_after(w: World, call: str) -> str:
    """A task about which that call is made: what has ended is not queried any more."""
    if call != "query":
        return await finished(w)
    w.simulator.script(["Processing"])
    return str((await w.do("generate_video", prompt="a sea"))["task_id"])


@pytest.mark.parametrize(("call", "tool"), [("query", "check_status"), ("retrieve", "get_download_url")])
async def test_a_read_heals_or_says_why_and_costs_nothing(
    tmp_path: Path, family: list[Accident], call: str, tool: str
) -> None:
    async with troubled(tmp_path, family) as w:
        task = await asked_after(w, call)
        faults = getattr(w.simulator.faults, call)
        for case in family:
            await w.time.advance(20)  # sooner the API would not be asked again
            words, heals = getattr(case, call), case.asked != ONCE
            asked = w.calls(call)
            faults += [case.fault] * max(case.asked, 1)
            result = await w.call(tool, task_id=task)
            assert result.is_error == bool(case.asked), case.name
            assert words in text(result), case.name
            assert not case.asked or task in text(result), case.name
            assert w.calls(call) - asked == max(case.asked, 1), case.name
            assert faults == [], case.name
            faults.append(case.fault)
            await w.time.advance(20)
            assert (await w.call(tool, task_id=task)).is_error != heals, case.name
            assert faults == [], case.name
            assert (await w.do(tool, task_id=task))["task_id"] == task
        assert len(w.simulator.ledger) == 1


async def test_a_download_heals_or_says_why_and_what_is_saved_is_whole(tmp_path: Path, family: list[Accident]) -> None:
    if family is CODES:
        pytest.skip("the codes are those of the API; a download comes from a store")
    async with troubled(tmp_path, family) as w:
        task = await finished(w)
        faults = w.simulator.faults.download
        home = w.settings.output_dir / f"hailuo-{task}.mp4"
        for case in family:
            # More than one download's: one that fails between two calls is begun anew by the second.
            faults += [case.fault] * 20 * downloads.ATTEMPTS
            said = await downloaded(w, task)
            faults.clear()
            if case.download:
                assert case.download in said, f"{case.name}: {said}"
                assert "It is still on the server" in said, case.name
                assert list(w.settings.output_dir.glob("*.mp4")) == [], case.name
                faults.append(case.fault)
                assert str(home) in await downloaded(w, task), case.name
            assert mp4.inspect(home).bytes == home.stat().st_size
            assert [path.name for path in w.settings.output_dir.iterdir()] == [home.name], case.name
            home.unlink()
        assert len(w.simulator.ledger) == 1


async def downloaded(w: World, task: str) -> str:
    """What is said when a download has ended, however long it takes."""
    result = await w.call("download_video", task_id=task)
    while "still being downloaded" in text(result):
        result = await w.call("download_video", task_id=task)
    return text(result)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", ["submit", "query", "retrieve", "download"])
async def test_the_key_follows_no_redirect(tmp_path: Path, call: str, status: int) -> None:
    async with Simulator(folder=tmp_path / "elsewhere") as elsewhere, world(tmp_path) as w:
        fault = Fault(redirect=f"{elsewhere.base_url}/v1/video_generation", status=status)
        if call == "submit":
            w.simulator.faults.submit.append(fault)
            assert f"HTTP {status}" in await w.fail("generate_video", prompt="a sea")
            (record,) = (await w.do("list_videos"))["videos"]
            # 302 and 303 may mean "done, look there".
            assert record["state"] == ("Unconfirmed" if status in (302, 303) else "Refused")
        else:
            task = await asked_after(w, call)
            getattr(w.simulator.faults, call).extend([fault] * downloads.ATTEMPTS)
            tool = {"query": "check_status", "retrieve": "get_download_url", "download": "download_video"}[call]
            await w.fail(tool, task_id=task)
        assert bool(elsewhere.requests) == (call == "download")
        assert elsewhere.ledger == []
        for request in elsewhere.requests:
            assert KEY not in str((request.headers, request.path, request.query))


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "//", "http://[", "/loop", ""])
async def test_a_download_that_is_sent_nowhere_ends_and_works_again(tmp_path: Path, place: str) -> None:
    async with world(tmp_path) as w:
        task = await finished(w)
        w.simulator.faults.download += [Fault(redirect=place)] * 400 * downloads.ATTEMPTS
        assert "It is still on the server" in await downloaded(w, task)
        w.simulator.faults.download.clear()
        await w.do("download_video", task_id=task)


async def test_a_file_without_an_end_is_not_followed_to_the_end_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "VIDEO_BYTES_MAX", 1_000_000)
    video = b"\0\0\0\x18ftypisom" + b"\0" * 6_000_000
    async with world(tmp_path) as w:
        task = await finished(w)
        for fault in (Fault(body=video), Fault(body=video, chunk=True)):
            w.simulator.faults.download += [fault] * downloads.ATTEMPTS
            assert "too large for a video" in await w.fail("download_video", task_id=task)
        assert list(w.settings.output_dir.iterdir()) == []


async def test_a_submit_that_takes_long_goes_on_and_is_not_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "SUBMIT_WAIT_SECONDS", 0.2)
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(Fault(delay=1.5))
        said = await w.fail("generate_video", prompt="a sea")
        assert "still being sent" in said
        (record,) = (await w.do("check_status"))["under_way"]
        assert record["state"] == "Submitting"
        monkeypatch.setattr(tools, "SUBMIT_WAIT_SECONDS", 30)
        made = await w.do("generate_video", prompt="a sea")
        assert made["already_submitted"]
        assert [bill.task_id for bill in w.simulator.ledger] == [made["task_id"]]


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)


JUMPS = [-10 * 365 * 86_400, -3600, -1, 3600, 3 * 86_400]


@pytest.mark.parametrize("jump", JUMPS)
async def test_no_wait_is_longer_for_a_clock_that_jumps(tmp_path: Path, jump: int) -> None:
    async with world(tmp_path) as w:
        w.simulator.script(["Processing"])
        task = (await w.do("generate_video", prompt="a sea"))["task_id"]
        waiting = asyncio.create_task(w.call("check_status", task_id=task, wait_seconds=50))
        await until(lambda: bool(w.progress))
        began = w.time.passed
        w.time.now += jump
        assert not (await waiting).is_error
        assert w.time.passed - began <= 60, "a step that the clock spoilt counts as ten seconds"
        asked = w.calls("query")
        await w.do("check_status", task_id=task, wait_seconds=50)
        assert w.calls("query") - asked >= 3, "it is looked at as often as before"


@pytest.mark.parametrize("jump", JUMPS)
async def test_no_download_keeps_its_caller_longer_for_a_clock_that_jumps(tmp_path: Path, jump: int) -> None:
    async with world(tmp_path) as w:
        task = await finished(w)
        w.simulator.faults.download.append(Fault(hang=True))
        waiting = asyncio.create_task(w.call("download_video", task_id=task))
        await until(lambda: w.calls("download") > 0)
        began = w.time.passed
        w.time.now += jump
        assert "still being downloaded" in text(await waiting)
        assert w.time.passed - began <= 50


@pytest.mark.parametrize("jump", JUMPS)
async def test_the_watch_brings_the_video_home_when_the_clock_jumps(tmp_path: Path, jump: int) -> None:
    async with world(tmp_path, collect=True) as w:
        w.simulator.script(["Processing", "Processing", "Success"])
        task = (await w.do("generate_video", prompt="a sea"))["task_id"]
        await w.time.advance(13)
        w.time.now += jump
        assert mp4.inspect(await w.comes_home(task, within=3700 if jump > 48 * 3600 else 120)).frames
        assert len(w.simulator.ledger) == 1


async def test_the_api_may_not_send_the_watch_away_for_long(tmp_path: Path) -> None:
    async with world(tmp_path, collect=True) as w:
        task = (await w.do("generate_video", prompt="a sea"))["task_id"]
        w.simulator.faults.query.append(Fault(status=429, headers={"Retry-After": "9" * 300}))
        assert await w.comes_home(task, within=3700)


async def test_a_paid_video_comes_home_after_a_restart(tmp_path: Path) -> None:
    time = Time()
    simulator = Simulator(keys=(KEY,), short_side=144, clock=time.clock, folder=tmp_path / "simulator")
    async with simulator:
        async with play(tmp_path, simulator, time) as before:
            task = (await before.do("generate_video", prompt="a sea"))["task_id"]
        async with play(tmp_path, simulator, time, collect=True) as after:
            assert mp4.inspect(await after.comes_home(task, within=120)).frames
        assert len(simulator.ledger) == 1


async def test_another_key_loses_nothing_of_the_first_ones_videos(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task = (await w.do("generate_video", prompt="a sea"))["task_id"]
        w.simulator.keys = (KEY, "sk-another")
        async with play(tmp_path, w.simulator, w.time, api_key="sk-another") as other:
            said = await other.fail("check_status", task_id=task)
            assert "a task belongs to the key and the host that submitted it" in said
            assert (await other.do("list_videos"))["videos"][0]["state"] == "Processing"
        await w.finish(task)
        assert (await w.do("download_video", task_id=task))["path"]


async def test_an_output_folder_that_is_gone_is_made_again_and_one_that_cannot_be_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task = await finished(w)
        folder = w.settings.output_dir
        await w.do("download_video", task_id=task)
        shutil.rmtree(folder)
        assert mp4.inspect(Path((await w.do("download_video", task_id=task))["path"])).frames
        shutil.rmtree(folder)
        folder.write_text("in the way")
        said = await downloaded(w, task)
        assert f"The output folder {folder} cannot be made" in said
        assert "HAILUO_OUTPUT_DIR" in said
        folder.unlink()
        assert mp4.inspect(Path((await w.do("download_video", task_id=task))["path"])).frames
        assert len(w.simulator.ledger) == 1
