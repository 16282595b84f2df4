"""Whatever the API or a proxy answers: a tool error in plain words that names the task, or a result as published."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from world import KEY, World, text, world

from hailuo_mcp.simulator import Fault

OK = {"status_code": 0, "status_msg": "success"}


def says(answer: object, status: int = 200) -> Fault:
    """A JSON answer, or whatever bytes pretend to be one."""
    body = answer if isinstance(answer, (str, bytes)) else json.dumps(answer)
    return Fault(status=status, body=body, content_type="application/json")


# The three dresses of an error, and answers that are none: these make every call fail.
REFUSALS = {
    "code": Fault(code=1008, message="no money"),
    "code as text": says({"base_resp": {"status_code": "1008", "status_msg": "no money"}}),
    "wrapped code": says({"code": "ok", "data": {"base_resp": {"status_code": 1008, "status_msg": "no money"}}}),
    "gateway": Fault(gateway=True, status=403, message="no quota"),
    "gateway in text": says({"error": "no quota"}, 403),
    "redirect": Fault(redirect="/elsewhere", status=307),
    "page of a proxy": Fault(status=404),
}
NO_ANSWERS = {
    "page of a failing proxy": Fault(status=502),
    "page that calls itself fine": says("<html>sorry</html>"),
    "nothing": says(""),
    "cut short": says('{"task_id": "3358124'),
    "list": says([]),
    "not text": says(b"\xff\xfe\x00"),
    "nested to break parsers": says("[" * 100_000),
    "dropped": Fault(drop="after"),
}
MISSING = {
    "no field": says({"base_resp": OK}),
    "wrong types": says({"task_id": [1], "status": {"a": 1}, "file": "x", "base_resp": OK}),
    "error that calls itself fine": says({"error": {"message": "no quota", "code": "insufficient_quota"}}),
    "null": says({"task_id": None, "status": None, "file": None, "base_resp": None}),
}
ODD_STATUSES = {
    "a word nobody knows": ("Dreaming", "Processing"),
    "a number": (5, "Processing"),
    "two lines": ("Pro\ncessing", "Processing"),
    "capitals": ("SUCCESS", "Success"),
    "a longer failure": ("FAILURE", "Failed"),
}
LINKS = ["/x", "ftp://x/y", "javascript:1", "http://a:99999999/x", "http://[::1", "https://a/b c", 5]


async def schemas(w: World) -> dict[str, Any]:
    return {tool.name: tool.output_schema for tool in (await w.client.list_tools()).tools}


def plain(words: str) -> None:
    """Words that a colleague would write: no dump, no secret, no advice cut in half."""
    assert not [part for part in ("{", "}", "..", "Traceback", "Error executing", KEY) if part in words]
    words.encode()


@pytest.mark.parametrize("fault", [*REFUSALS.values()], ids=[*REFUSALS])
async def test_a_refused_submit_says_that_nothing_was_paid(tmp_path: Path, fault: Fault) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(fault)
        said = await w.fail("generate_video", prompt="x")
        plain(said)
        assert "Nothing was paid" in said
        assert w.simulator.ledger == []


@pytest.mark.parametrize("fault", [*(NO_ANSWERS | MISSING).values()], ids=[*(NO_ANSWERS | MISSING)])
async def test_a_submit_without_a_clear_answer_is_told_as_such_and_sent_once(tmp_path: Path, fault: Fault) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(fault)
        said = await w.fail("generate_video", prompt="x")
        plain(said)
        assert "outcome is not known" in said
        assert "ask again in a minute" not in said, "that would pay twice"
        assert w.calls("submit") == 1


async def test_an_unclear_submit_tells_what_the_answer_named(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit += [
            says({"task_id": "900", "base_resp": {"status_code": 1000, "status_msg": "oh"}}),
            says({"error": {"message": "no quota left"}}),
        ]
        assert "it named task 900" in await w.fail("generate_video", prompt="x")
        assert "no quota left" in await w.fail("generate_video", prompt="y")


@pytest.mark.parametrize(
    "fault", [*(REFUSALS | NO_ANSWERS | MISSING).values()], ids=[*(REFUSALS | NO_ANSWERS | MISSING)]
)
@pytest.mark.parametrize("tool", ["check_status", "get_download_url", "download_video", "view_video"])
async def test_a_failed_query_names_the_paid_task(tmp_path: Path, tool: str, fault: Fault) -> None:
    async with world(tmp_path, request_timeout=0.4) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        w.simulator.faults.query += [fault] * 9
        said = await w.fail(tool, task_id=task_id)
        plain(said)
        assert task_id in said
        assert "submit again" not in said, "the task is paid for"


@pytest.mark.parametrize("fault", [*(REFUSALS | MISSING).values()], ids=[*(REFUSALS | MISSING)])
async def test_a_failed_retrieve_names_the_paid_task(tmp_path: Path, fault: Fault) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        for tool in ("get_download_url", "download_video"):
            w.simulator.faults.retrieve[:] = [fault] * 9
            said = await w.fail(tool, task_id=task_id)
            plain(said)
            assert task_id in said


async def test_an_answer_that_is_nonsense_is_not_called_silence(tmp_path: Path) -> None:
    async with world(tmp_path, request_timeout=0.4) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        w.simulator.faults.query += [says("<html>sorry</html>")] * 9
        assert "is not the JSON it should be" in await w.fail("check_status", task_id=task_id)


@pytest.mark.parametrize(("word", "status"), [*ODD_STATUSES.values()], ids=[*ODD_STATUSES])
async def test_an_odd_status_is_read_and_told_as_published(tmp_path: Path, word: object, status: str) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        w.simulator.faults.query.append(says({"code": "success", "data": {"status": word, "video_width": "wide"}}))
        result = await w.call("check_status", task_id=task_id)
        assert result.structured_content is not None
        jsonschema.validate(result.structured_content, (await schemas(w))["check_status"])
        assert result.structured_content["status"] == status
        assert "\n" not in result.structured_content["upstream_status"]
        plain(text(result))


@pytest.mark.parametrize("link", LINKS)
async def test_what_is_no_link_is_not_handed_on(tmp_path: Path, link: object) -> None:
    async with world(tmp_path) as w:
        task_id = (await w.do("generate_video", prompt="x"))["task_id"]
        await w.finish(task_id)
        w.simulator.faults.retrieve.append(says({"file": {"file_id": 1, "download_url": link}, "base_resp": OK}))
        said = await w.fail("get_download_url", task_id=task_id)
        assert "holds no download link" in said
        assert task_id in said


async def test_half_a_surrogate_pair_in_an_answer_does_not_end_the_conversation(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit.append(says('{"base_resp": {"status_code": 1008, "status_msg": "no \\ud800 money"}}'))
        (await w.fail("generate_video", prompt="x")).encode()


async def test_every_result_is_as_its_schema_says(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        published = await schemas(w)
        picture = w.picture()
        task_id = (await w.do("generate_video", prompt="[Push in] x", first_frame_image=picture))["task_id"]
        calls: list[tuple[str, dict[str, Any]]] = [
            ("check_status", {"task_id": task_id}),
            ("check_status", {}),
            ("list_videos", {}),
            ("check_frames", {"first_frame_image": picture, "prompt": "[Push inn] x"}),
            ("check_status", {"task_id": task_id, "wait_seconds": 50}),
            ("get_download_url", {"task_id": task_id}),
            ("download_video", {"task_id": task_id}),
            ("view_video", {"task_id": task_id}),
            ("generate_video", {"prompt": "[Push in] x", "first_frame_image": picture, "take": 2}),
            ("generate_video", {"prompt": "[Push in] x", "first_frame_image": picture, "take": 2}),
        ]
        for tool, arguments in calls:
            result = await w.call(tool, **arguments)
            assert not result.is_error, text(result)
            jsonschema.validate(result.structured_content, published[tool])
            plain(text(result))
