"""The simulated API, spoken to in plain HTTP and held against its document."""

import asyncio
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import httpx
import pytest
from PIL import Image

from hailuo_mcp.simulator import Fault, Simulator

KEY = "sk-simulated"
OTHER_KEY = "sk-another"
OK = {"status_code": 0, "status_msg": "success"}
SUBMIT, QUERY, RETRIEVE = "/v1/video_generation", "/v1/query/video_generation", "/v1/files/retrieve"
# The document's own payload, word for word.
PAYLOAD: dict[str, Any] = {
    "model": "MiniMax-Hailuo-02",
    "prompt": "A little girl grow up.",
    "first_frame_image": "https://filecdn.minimax.chat/public/fe9d04da-f60e-444d-a2e0-18ae743add33.jpeg",
    "last_frame_image": "https://filecdn.minimax.chat/public/97b7cd08-764e-4b8b-a7bf-87a0bd898575.jpeg",
    "duration": 6,
    "resolution": "768P",
}


@dataclass
class Clock:
    """Time that moves when a test says so; every sleep is over at once and written down."""

    now: float = 1_763_538_787.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Caller:
    """A client with a key, and what a user of the API does with it."""

    http: httpx.AsyncClient

    async def submit(self, **changes: Any) -> dict[str, Any]:
        payload = {name: value for name, value in (PAYLOAD | changes).items() if value is not ...}
        return dict((await self.http.post(SUBMIT, json=payload)).json())

    async def task(self, **changes: Any) -> str:
        answer = await self.submit(**changes)
        assert answer["base_resp"] == OK, answer
        return str(answer["task_id"])

    async def refusal(self, **changes: Any) -> tuple[int, str]:
        return code(await self.submit(**changes))

    async def query(self, task_id: str) -> dict[str, Any]:
        return dict((await self.http.get(QUERY, params={"task_id": task_id})).json())

    async def link(self, task_id: str) -> str:
        while not (file_id := (await self.query(task_id))["file_id"]):
            pass  # a busy machine takes longer to render it than a query waits
        answer = (await self.http.get(RETRIEVE, params={"file_id": file_id, "task_id": task_id})).json()
        return str(answer["file"]["download_url"])

    async def video(self, **changes: Any) -> bytes:
        simulated_link = await self.link(await self.task(**changes))
        return (await fetch(simulated_link)).content


async def fetch(link: str, method: str = "GET", **headers: str) -> httpx.Response:
    """What anyone gets who has the link and no key."""
    async with httpx.AsyncClient(verify=False) as http:  # plain http: loading certificates takes longer than the call
        return await http.request(
            method, link, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )


def code(answer: dict[str, Any]) -> tuple[int, str]:
    return answer["base_resp"]["status_code"], answer["base_resp"]["status_msg"]


def caller(simulator: Simulator, key: str = KEY) -> Caller:
    headers = {"Authorization": f"Bearer {key}"}
    return Caller(httpx.AsyncClient(base_url=simulator.base_url, headers=headers, timeout=20, verify=False))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def simulator(clock: Clock) -> AsyncIterator[Simulator]:
    """Keys for two, a video ready as soon as it is rendered, and small."""
    made = Simulator(keys=(KEY, OTHER_KEY), generation_seconds=0, short_side=32, clock=clock, sleep=clock.sleep)
    async with made:
        yield made


@pytest.fixture
async def me(simulator: Simulator) -> AsyncIterator[Caller]:
    made = caller(simulator)
    async with made.http:
        yield made


def picture(size: tuple[int, int] = (640, 360), kind: str = "JPEG", colour: str = "red", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind, **options)
    return buffer.getvalue()


def data_url(data: bytes, mime: str = "image/jpeg") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def look(video: bytes) -> tuple[float, Image.Image, Image.Image]:
    """Seconds, first and last picture of a video."""
    with av.open(io.BytesIO(video), "r") as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]
        rate = container.streams.video[0].average_rate
    assert rate
    return len(frames) / float(rate), frames[0], frames[-1]


def near(image: Image.Image, at: tuple[float, float], colour: tuple[int, int, int]) -> bool:
    pixel = image.convert("RGB").getpixel((int(at[0] * image.width), int(at[1] * image.height)))
    assert isinstance(pixel, tuple)
    return max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) < 40


# The document's three examples, with httpx in the place of requests.


async def test_the_first_example_of_the_document_gives_a_task(simulator: Simulator) -> None:
    url = f"{simulator.base_url}/v1/video_generation"
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-simulated"}
    async with httpx.AsyncClient() as requests:
        response = await requests.post(url, json=PAYLOAD, headers=headers)
    answer = response.json()
    assert response.status_code == 200
    assert answer == {"task_id": answer["task_id"], "base_resp": OK}
    assert re.fullmatch(r"[0-9]{15}", answer["task_id"])


async def test_the_second_example_of_the_document_gives_the_size_and_the_file(clock: Clock) -> None:
    async with Simulator(clock=clock, generation_seconds=60) as simulator:  # at the real size
        async with caller(simulator).http as http:
            task_id = (await http.post(SUBMIT, json=PAYLOAD)).json()["task_id"]
        await simulator.rendered()
        clock.now += 60
        url = f"{simulator.base_url}/v1/query/video_generation?task_id={task_id}"
        async with httpx.AsyncClient() as requests:
            response = await requests.get(url, headers={"Authorization": f"Bearer {KEY}"})
        answer = response.json()
        assert answer == {
            "status": "Success",
            "file_id": answer["file_id"],
            "task_id": task_id,
            "base_resp": OK,
            "video_width": 1364,
            "video_height": 768,
        }
        assert re.fullmatch(r"[0-9]{15}", answer["file_id"])


async def test_the_third_example_of_the_document_gives_a_link(simulator: Simulator, me: Caller, clock: Clock) -> None:
    task_id = await me.task()
    file_id = (await me.query(task_id))["file_id"]
    url = f"{simulator.base_url}/v1/files/retrieve"
    params = {"file_id": file_id, "task_id": task_id}
    async with httpx.AsyncClient() as requests:
        response = await requests.get(url, params=params, headers={"Authorization": f"Bearer {KEY}"})
    answer = response.json()
    link = answer["file"]["download_url"]
    assert answer == {
        "file": {
            "file_id": int(file_id),
            "bytes": 0,
            "created_at": int(clock.now),
            "filename": "output_aigc.mp4",
            "purpose": "video_generation",
            "download_url": link,
        },
        "base_resp": OK,
    }
    assert type(answer["file"]["created_at"]) is int
    assert re.search(r"%2Foutput_aigc\.mp4\?Expires=1763571187&OSSAccessKeyId=\w+&Signature=[\w%]+$", link)
    assert look((await fetch(link)).content)[0] == 6


# Keys.


@pytest.mark.parametrize("path", [SUBMIT, QUERY, RETRIEVE])
@pytest.mark.parametrize(
    ("authorization", "expected"),
    [(None, 1004), ("Bearer", 1004), (KEY, 1004), (f"Basic {KEY}", 1004), ("Bearer sk-wrong", 2049)],
)
async def test_a_call_without_a_good_key_is_refused_with_http_200(
    simulator: Simulator, path: str, authorization: str | None, expected: int
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with httpx.AsyncClient(base_url=simulator.base_url, headers=headers) as http:
        response = await (http.post(path, json=PAYLOAD) if path == SUBMIT else http.get(path))
    assert (response.status_code, code(response.json())[0]) == (200, expected)
    assert simulator.ledger == []


async def test_another_key_sees_the_same_as_for_a_task_that_never_was(simulator: Simulator, me: Caller) -> None:
    task_id = await me.task()
    file_id = (await me.query(task_id))["file_id"]
    stranger = caller(simulator, OTHER_KEY)
    async with stranger.http as http:
        assert await stranger.query(task_id) == await stranger.query("100000000000000") == await me.query("1")
        assert code(await stranger.query(task_id)) == (2013, "invalid params, task not found")
        taken = (await http.get(RETRIEVE, params={"file_id": file_id, "task_id": task_id})).json()
        assert code(taken) == (2013, "invalid params, task not found")
        own = await stranger.task()
        assert (await stranger.query(own))["status"] == "Success"
    assert [bill.key for bill in simulator.ledger] == [KEY, OTHER_KEY]


# What a submit may say.


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "x" * 2000},
        {"prompt": "汉" * 2000},
        {"duration": 10},
        {"duration": ..., "resolution": ...},
        {"resolution": "1080P"},
        {"prompt_optimizer": False, "aigc_watermark": True},
        {"first_frame_image": ...},
        {"last_frame_image": ...},
        {"first_frame_image": ..., "last_frame_image": ...},
        {"first_frame_image": "http://example.com/a.webp"},
    ],
)
async def test_what_the_document_allows_is_accepted(me: Caller, changes: dict[str, Any]) -> None:
    await me.task(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ...}, "model"),
        ({"model": "MiniMax-Hailuo-2.3"}, "model"),
        ({"prompt": ...}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": "x" * 2001}, "2001"),
        ({"duration": 8}, "duration"),
        ({"duration": "6"}, "duration"),
        ({"duration": 6.0}, "duration"),
        ({"duration": True}, "duration"),
        ({"duration": None}, "duration"),
        ({"duration": 10, "resolution": "1080P"}, "duration"),
        ({"resolution": "512P"}, "resolution"),
        ({"resolution": "768p"}, "resolution"),
        ({"resolution": 768}, "resolution"),
        ({"prompt_optimizer": "true"}, "prompt_optimizer"),
        ({"prompt_optimizer": 1}, "prompt_optimizer"),
        ({"aigc_watermark": 0}, "aigc_watermark"),
        ({"last_frame": "https://example.com/a.jpg"}, "last_frame"),
        ({"seed": 1}, "seed"),
    ],
)
async def test_what_the_document_does_not_allow_is_refused_by_name(
    simulator: Simulator, me: Caller, changes: dict[str, Any], words: str
) -> None:
    answer = await me.submit(**changes)
    status, message = code(answer)
    assert (status, answer["task_id"]) == (2013, "")
    assert message.startswith("invalid params, ")
    assert words in message
    assert simulator.ledger == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff\xfe{}", "application/json"),
        (b"[" * 100_000, "application/json"),
        (json.dumps(PAYLOAD).encode(), "text/plain"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(me: Caller, body: bytes, content_type: str) -> None:
    response = await me.http.post(SUBMIT, content=body, headers={"Content-Type": content_type})
    assert code(response.json())[0] == 2013


async def test_half_of_a_surrogate_pair_is_no_prompt(me: Caller) -> None:
    body = json.dumps(PAYLOAD | {"prompt": "\ud800"})
    response = await me.http.post(SUBMIT, content=body, headers={"Content-Type": "application/json"})
    assert code(response.json())[0] == 2013


async def test_a_sensitive_prompt_is_refused_and_not_billed(simulator: Simulator, me: Caller) -> None:
    assert await me.refusal(prompt="a [sensitive] thing") == (1026, "input new_sensitive")
    assert simulator.ledger == []


async def test_an_empty_account_is_refused_until_it_is_topped_up(me: Caller, simulator: Simulator) -> None:
    simulator.balance = 1
    await me.task()
    assert await me.refusal() == (1008, "insufficient balance")
    assert len(simulator.ledger) == 1
    simulator.balance += 1
    await me.task()
    assert len(simulator.ledger) == 2


# Frames.


@pytest.mark.parametrize(
    ("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("MPO", "image/jpeg")]
)
async def test_the_documents_picture_formats_are_accepted(me: Caller, kind: str, mime: str) -> None:
    more: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (640, 360))]} if kind == "MPO" else {}
    await me.task(first_frame_image=data_url(picture(kind=kind, **more), mime))


@pytest.mark.parametrize("size", [(301, 301), (752, 301), (301, 752), (1000, 400), (400, 1000)])
async def test_the_limits_of_a_picture_are_accepted(me: Caller, size: tuple[int, int]) -> None:
    await me.task(last_frame_image=data_url(picture(size)))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("", "non-empty"),
        (5, "must be str"),
        (None, "must be str"),
        (base64.b64encode(picture()).decode(), "bare base64"),
        ("C:\\pictures\\a.jpg", "URL"),
        ("/home/me/a.jpg", "URL"),
        ("file:///home/me/a.jpg", "URL"),
        ("ftp://example.com/a.jpg", "URL"),
        ("https://", "URL"),
        ("https://[broken/a.jpg", "URL"),
        ("https://example.com/a b.jpg", "URL"),
        ("data:image/jpeg,hello", "not a base64 data URL"),
        ("data:image/jpeg;charset=utf-8;base64,AAAA", "not a base64 data URL"),
        (data_url(picture(), "image/jpg"), "declares image/jpg"),
        (data_url(picture(), ""), "declares no media type"),
        (data_url(picture(kind="GIF"), "image/gif"), "declares image/gif"),
        (data_url(picture(kind="GIF"), "image/png"), "not a JPEG, PNG or WebP"),
        (data_url(picture(kind="PNG")), "declares image/jpeg but holds image/png"),
        ("data:image/jpeg;base64,", "not a JPEG, PNG or WebP"),
        ("data:image/jpeg;base64,*", "not valid base64"),
        (data_url(picture())[:-1], "not valid base64"),
        (data_url(picture())[:-8] + "\n" + data_url(picture())[-8:], "not valid base64"),
        (data_url(picture()[:-200]), "cannot be decoded"),
        (data_url(picture(kind="PNG")[:-60], "image/png"), "cannot be decoded"),
        (data_url(picture(kind="WEBP")[:-60], "image/webp"), "cannot be decoded"),
        (data_url(picture()[:20]), "cannot be decoded"),
        (data_url(picture((300, 300))), "more than 300"),
        (data_url(picture((700, 300))), "more than 300"),
        (data_url(picture((1001, 400))), "aspect"),
        (data_url(picture((400, 1001))), "aspect"),
    ],
)
@pytest.mark.parametrize("name", ["first_frame_image", "last_frame_image"])
async def test_a_frame_that_breaks_a_limit_is_refused_by_name(me: Caller, name: str, frame: object, words: str) -> None:
    status, message = await me.refusal(**{name: frame})
    assert status == 2013
    assert name in message
    assert words in message


async def test_a_frame_has_less_than_twenty_million_bytes(me: Caller) -> None:
    frame = picture()
    full = frame + bytes(20_000_000 - len(frame))
    assert "20000000 bytes" in (await me.refusal(first_frame_image=data_url(full)))[1]
    await me.task(first_frame_image=data_url(full[:-1]))


# The bill.


async def test_a_bill_tells_what_was_bought(simulator: Simulator, me: Caller, clock: Clock) -> None:
    task_id = await me.task()
    canonical = json.dumps(PAYLOAD, sort_keys=True, separators=(",", ":")).encode()
    (bill,) = simulator.ledger
    assert (bill.task_id, bill.key, bill.at, bill.prompt) == (task_id, KEY, clock.now, PAYLOAD["prompt"])
    assert (bill.payload, bill.fingerprint) == (PAYLOAD, hashlib.sha256(canonical).hexdigest())


async def test_requests_are_written_down_with_their_headers_and_sizes(simulator: Simulator, me: Caller) -> None:
    task_id = await me.task()
    await fetch(await me.link(task_id))
    seen = simulator.requests
    assert [request.call for request in seen] == ["submit", "query", "retrieve", "download"]
    assert [request.method for request in seen] == ["POST", "GET", "GET", "GET"]
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert seen[0].size == int(seen[0].headers["content-length"]) > 0
    assert (seen[1].path, seen[1].query, seen[1].size) == (QUERY, {"task_id": task_id}, 0)
    assert "authorization" not in seen[3].headers
    assert KEY not in repr(seen)


# How a task gets on.


async def test_a_task_gets_on_by_the_clock(simulator: Simulator, me: Caller, clock: Clock) -> None:
    simulator.generation_seconds = 100
    task_id = await me.task()
    await simulator.rendered()
    words = []
    for seconds in (0, 9, 2, 88, 1, 1000):
        clock.now += seconds
        words.append((await me.query(task_id))["status"])
    assert words == ["Queueing", "Queueing", "Processing", "Processing", "Success", "Success"]


async def test_before_success_there_is_no_file_and_no_size(simulator: Simulator, me: Caller) -> None:
    simulator.generation_seconds = 100
    task_id = await me.task()
    answer = await me.query(task_id)
    assert answer == {"status": "Queueing", "file_id": "", "task_id": task_id, "base_resp": OK}


async def test_a_script_advances_one_word_for_each_query_and_its_last_word_stays(
    simulator: Simulator, me: Caller
) -> None:
    simulator.script(["Preparing", "Queueing", "Processing", "Success"])
    task_id = await me.task()
    words = [(await me.query(task_id))["status"] for _ in range(6)]
    assert words == ["Preparing", "Queueing", "Processing", "Success", "Success", "Success"]
    assert (await me.query(await me.task()))["status"] == "Success"  # by the clock again


async def test_a_task_can_fail_with_and_without_a_code(simulator: Simulator, me: Caller) -> None:
    simulator.script(["Processing", ("Failed", 1027), "Success"])
    simulator.script(["Fail"])
    coded, plain = await me.task(), await me.task()
    answers = [await me.query(coded) for _ in range(3)]
    assert [(answer["status"], code(answer)[0]) for answer in answers] == [
        ("Processing", 0),
        ("Failed", 1027),
        ("Failed", 1027),
    ]
    assert code(answers[1])[1] == "output new_sensitive"
    assert await me.query(plain) == {"status": "Fail", "file_id": "", "task_id": plain, "base_resp": OK}
    assert len(simulator.ledger) == 2


async def test_a_file_cannot_be_had_before_success_nor_under_another_number(simulator: Simulator, me: Caller) -> None:
    simulator.generation_seconds = 100
    early = await me.task()
    simulator.script(["Success"])
    done, another = await me.task(), "100000000000000"
    file_id = (await me.query(done))["file_id"]
    for pair in ((file_id, early), (another, done), (file_id, another), ("", done)):
        answer = (await me.http.get(RETRIEVE, params=dict(zip(("file_id", "task_id"), pair, strict=True)))).json()
        assert code(answer)[0] == 2013
        assert "file" not in answer


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (QUERY, ""),
        (QUERY, "task_id="),
        (QUERY, "task_id=1&task_id=1"),
        (QUERY, "task_id=1&x=1"),
        (RETRIEVE, "file_id=1"),
    ],
)
async def test_a_query_string_that_the_document_does_not_know_is_refused(me: Caller, path: str, query: str) -> None:
    status, message = code((await me.http.get(f"{path}?{query}")).json())
    assert status == 2013
    assert "not found" not in message


# The video.


@pytest.fixture
async def wide(clock: Clock) -> AsyncIterator[Caller]:
    """A caller of a simulator whose pictures are large enough to look at."""
    async with Simulator(generation_seconds=0, short_side=144, clock=clock) as simulator:
        made = caller(simulator)
        async with made.http:
            yield made


async def test_the_video_goes_from_the_first_picture_to_the_last(wide: Caller) -> None:
    frames = {"first_frame_image": data_url(picture()), "last_frame_image": data_url(picture(colour="blue"))}
    seconds, first, last = look(await wide.video(prompt="[推进] x", **frames))
    assert (seconds, first.size) == (6, (256, 144))
    assert near(first, (0.5, 0.3), (255, 0, 0))
    assert near(last, (0.5, 0.3), (0, 0, 255))


@pytest.mark.parametrize(
    ("frames", "size"),
    [
        ({"first_frame_image": data_url(picture((400, 800)))}, (144, 288)),
        ({"first_frame_image": ..., "last_frame_image": data_url(picture((600, 400)))}, (216, 144)),
        ({"first_frame_image": data_url(picture((400, 400))), "last_frame_image": data_url(picture())}, (144, 144)),
        ({"first_frame_image": ..., "last_frame_image": ...}, (256, 144)),
    ],
)
async def test_the_video_follows_the_first_frame_else_the_last_else_it_is_wide(
    wide: Caller, frames: dict[str, Any], size: tuple[int, int]
) -> None:
    task_id = await wide.task(**frames, duration=10, aigc_watermark=True)
    answer = await wide.query(task_id)
    seconds, first, _ = look((await fetch(await wide.link(task_id))).content)
    assert (answer["video_width"], answer["video_height"]) == first.size == size
    assert seconds == 10


async def test_a_photograph_that_was_turned_is_judged_and_shown_as_displayed(wide: Caller) -> None:
    image = Image.new("RGB", (800, 400), "blue")
    image.paste("red", (0, 0, 400, 400))  # the left half, which is the upper one as displayed
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    _, first, _ = look(await wide.video(first_frame_image=data_url(buffer.getvalue()), last_frame_image=...))
    assert first.size == (144, 288)
    assert near(first, (0.5, 0.2), (255, 0, 0))
    assert near(first, (0.5, 0.7), (0, 0, 255))


async def test_a_video_that_is_due_and_not_rendered_is_still_processing(clock: Clock, tmp_path: Path) -> None:
    async with Simulator(
        generation_seconds=0, clock=clock, folder=tmp_path
    ) as simulator:  # the real size takes a while
        me = caller(simulator)
        async with me.http:
            tasks = [await me.task(resolution="1080P") for _ in range(8)]
            assert (await me.query(tasks[-1]))["status"] == "Processing"
            assert not (tmp_path / f"{tasks[-1]}.mp4").exists()


# The link.


async def test_a_link_ends_when_its_time_is_over_and_a_new_one_can_be_had(me: Caller, clock: Clock) -> None:
    task_id = await me.task()
    link = await me.link(task_id)
    (expires,) = parse_qs(urlsplit(link).query)["Expires"]
    assert int(expires) == int(clock.now) + 32400
    clock.now = int(expires) - 1
    assert (await fetch(link)).status_code == 200
    clock.now = int(expires)
    late = await fetch(link)
    assert (late.status_code, late.headers["content-type"]) == (403, "application/xml")
    assert "<Code>AccessDenied</Code>" in late.text
    assert "<Message>Request has expired.</Message>" in late.text
    fresh = await me.link(task_id)
    assert fresh != link
    assert (await fetch(fresh)).status_code == 200


async def test_a_link_that_was_changed_is_worth_nothing(me: Caller) -> None:
    link = await me.link(await me.task())
    changed = {
        re.sub(r"Expires=\d+", "Expires=1999999999", link): (403, "SignatureDoesNotMatch"),
        re.sub(r"Signature=.*", "Signature=AAAA", link): (403, "SignatureDoesNotMatch"),
        link.replace("output_aigc", "other"): (403, "SignatureDoesNotMatch"),
        link.split("?")[0]: (403, "AccessDenied"),
        re.sub(r"Expires=\d+", "Expires=soon", link): (403, "AccessDenied"),
    }
    for other, (status, word) in changed.items():
        response = await fetch(other)
        assert (response.status_code, word in response.text) == (status, True), other


async def test_a_link_is_honoured_with_its_slashes_written_out(me: Caller) -> None:
    link = await me.link(await me.task())
    address, query = link.split("?")
    assert (await fetch(address.replace("%2F", "/") + "?" + query)).status_code == 200


async def test_the_key_must_not_be_sent_to_the_object_store(me: Caller) -> None:
    response = await me.http.get(await me.link(await me.task()))
    assert response.status_code == 400
    assert "Only one auth mechanism" in response.text


@pytest.mark.parametrize(
    ("wanted", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=100-", 100, None),
        ("bytes=100-99999999", 100, None),
        ("bytes=-10", -10, None),
        ("bytes=-99999999", 0, None),
    ],
)
async def test_a_part_of_the_video_can_be_had(me: Caller, wanted: str, first: int, stop: int | None) -> None:
    link = await me.link(await me.task())
    whole = (await fetch(link)).content
    part = await fetch(link, range=wanted)
    begin, end, _ = slice(first, stop).indices(len(whole))
    assert (part.status_code, part.content) == (206, whole[first:stop])
    assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(whole)}"
    assert part.headers["content-length"] == str(end - begin)


@pytest.mark.parametrize("wanted", ["bytes=5-1", "bytes=0-1,5-6", "items=0-1", "bytes=-", "bytes=a-b"])
async def test_a_range_that_is_not_understood_gives_the_whole(me: Caller, wanted: str) -> None:
    response = await fetch(await me.link(await me.task()), range=wanted)
    assert (response.status_code, "content-range" in response.headers) == (200, False)
    assert len(response.content) == int(response.headers["content-length"])


async def test_a_range_beyond_the_end_is_416(me: Caller) -> None:
    link = await me.link(await me.task())
    length = len((await fetch(link)).content)
    for wanted in (f"bytes={length}-", "bytes=-0"):
        response = await fetch(link, range=wanted)
        assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{length}")


async def test_a_part_is_given_only_of_the_file_that_was_begun(me: Caller, clock: Clock) -> None:
    link = await me.link(await me.task())
    head = await fetch(link)
    tag, modified = head.headers["etag"], head.headers["last-modified"]
    assert tag == f'"{hashlib.md5(head.content).hexdigest().upper()}"'
    assert modified == formatdate(clock.now, usegmt=True)
    for begun, status in ((tag, 206), (modified, 206), ('"other"', 200), (formatdate(0, usegmt=True), 200)):
        assert (await fetch(link, range="bytes=10-", if_range=begun)).status_code == status


async def test_head_tells_the_length_and_sends_nothing(me: Caller) -> None:
    link = await me.link(await me.task())
    head, whole = await fetch(link, "HEAD"), await fetch(link)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["accept-ranges"] == "bytes"
    assert (await fetch(link, "HEAD", range="bytes=0-9")).headers["content-length"] == "10"


# HTTP.


async def test_one_connection_serves_many_calls(simulator: Simulator) -> None:
    address = urlsplit(simulator.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for _ in range(2):
        writer.write(b"GET /v1/query/video_generation?task_id=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        assert b"1004" in await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


async def test_what_is_no_http_is_answered_with_400(simulator: Simulator) -> None:
    address = urlsplit(simulator.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_asks_first_is_told_to_continue(simulator: Simulator) -> None:
    body = json.dumps(PAYLOAD).encode()
    address = urlsplit(simulator.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(body)
    assert b'"status_code": 0' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_submit_whose_body_breaks_off_is_not_billed(simulator: Simulator) -> None:
    address = urlsplit(simulator.base_url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 9\r\n\r\n{{".encode()
    )
    writer.close()
    await writer.wait_closed()
    me = caller(simulator)
    async with me.http:
        await me.task(prompt="the next one")
    assert [bill.prompt for bill in simulator.ledger] == ["the next one"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/video_generation/", "/v1/v1/video_generation"])
async def test_an_unknown_path_is_a_404_page(me: Caller, path: str) -> None:
    response = await me.http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", SUBMIT, "POST"), ("POST", QUERY, "GET"), ("DELETE", RETRIEVE, "GET"), ("PUT", "/files/a", "GET, HEAD")],
)
async def test_a_wrong_method_is_405(me: Caller, method: str, path: str, allowed: str) -> None:
    response = await me.http.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_a_body_over_64_megabytes_is_413(simulator: Simulator, me: Caller) -> None:
    response = await me.http.post(SUBMIT, content=bytes(64_000_001))
    assert response.status_code == 413
    assert (simulator.requests[0].size, simulator.ledger) == (64_000_001, [])


# Faults.


async def test_faults_are_consumed_one_by_one_by_their_own_call(simulator: Simulator, me: Caller) -> None:
    simulator.faults.query += [Fault(code=1002), Fault(code=1013)]
    task_id = await me.task()
    assert [code(await me.query(task_id))[0] for _ in range(3)] == [1002, 1013, 0]
    assert simulator.faults.query == []


async def test_a_coded_refusal_looks_like_the_apis_own(simulator: Simulator, me: Caller) -> None:
    simulator.faults.submit += [Fault(code=1008), Fault(code=4711, message="so there")]
    empty = {"task_id": "", "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
    assert await me.submit() == empty
    assert await me.refusal() == (4711, "so there")
    assert simulator.ledger == []


@pytest.mark.parametrize(
    ("fault", "status", "number"),
    [
        (Fault(gateway=True, code=2049), 401, 2049),
        (Fault(gateway=True, code=1008), 403, 1008),
        (Fault(gateway=True, code=1002, status=503), 503, 1002),
        (Fault(gateway=True, status=429, headers={"Retry-After": "7"}), 429, ""),
    ],
)
async def test_a_gateway_dresses_errors_in_its_own_way(
    simulator: Simulator, me: Caller, fault: Fault, status: int, number: object
) -> None:
    simulator.faults.query.append(fault)
    response = await me.http.get(QUERY)
    assert response.status_code == status
    assert response.headers.get("retry-after") == fault.headers.get("Retry-After")
    error = response.json()["error"]
    assert (set(error), error["code"]) == ({"message", "type", "code"}, number)


@pytest.mark.parametrize("status", [500, 502, 524])
async def test_a_proxy_answers_in_html(simulator: Simulator, me: Caller, status: int) -> None:
    simulator.faults.query.append(Fault(status=status))
    response = await me.http.get(QUERY)
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert f"<h1>{status}" in response.text


async def test_a_body_can_be_anything(simulator: Simulator, me: Caller) -> None:
    simulator.faults.query += [
        Fault(body='{"task_id": "1', content_type="application/json"),
        Fault(body=b"", status=504),
    ]
    cut, empty = await me.http.get(QUERY), await me.http.get(QUERY)
    assert (cut.status_code, cut.text, cut.headers["content-type"]) == (200, '{"task_id": "1', "application/json")
    assert (empty.status_code, empty.content) == (504, b"")


async def test_a_redirect_leads_elsewhere(simulator: Simulator, me: Caller) -> None:
    simulator.faults.submit += [Fault(redirect="http://other/"), Fault(redirect="/x", status=307)]
    first, second = await me.http.post(SUBMIT, json=PAYLOAD), await me.http.post(SUBMIT, json=PAYLOAD)
    assert (first.status_code, first.headers["location"]) == (302, "http://other/")
    assert (second.status_code, second.headers["location"]) == (307, "/x")
    assert simulator.ledger == []


@pytest.mark.parametrize(("drop", "billed"), [("before", 0), ("after", 1)])
async def test_a_dropped_connection_bills_only_after_processing(
    simulator: Simulator, me: Caller, drop: Any, billed: int
) -> None:
    simulator.faults.submit.append(Fault(drop=drop))
    with pytest.raises(httpx.TransportError):
        await me.submit()
    assert len(simulator.ledger) == billed
    assert len(simulator.requests) == 1


@pytest.mark.parametrize("fault", [Fault(status=502), Fault(body="<html>"), Fault(code=1000), Fault(gateway=True)])
@pytest.mark.parametrize("billed", [False, True])
async def test_an_error_bills_if_the_fault_says_so(
    simulator: Simulator, me: Caller, fault: Fault, billed: bool
) -> None:
    simulator.faults.submit.append(replace(fault, billed=billed))
    response = await me.http.post(SUBMIT, json=PAYLOAD)
    assert "success" not in response.text
    assert len(simulator.ledger) == billed


async def test_a_query_that_a_fault_answers_does_not_advance_the_script(simulator: Simulator, me: Caller) -> None:
    simulator.script(["Preparing", "Success"])
    task_id = await me.task()
    simulator.faults.query.append(Fault(status=500))
    await me.http.get(QUERY, params={"task_id": task_id})
    assert [(await me.query(task_id))["status"] for _ in range(2)] == ["Preparing", "Success"]


async def test_a_delay_uses_the_injected_sleep(simulator: Simulator, me: Caller, clock: Clock) -> None:
    simulator.faults.submit.append(Fault(delay=90))
    await me.task()
    assert clock.slept == [90]


async def test_a_client_that_leaves_during_a_delay_is_billed_all_the_same(clock: Clock) -> None:
    release, arrived = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        arrived.set()
        await release.wait()

    async with Simulator(short_side=32, clock=clock, sleep=sleep) as simulator:
        simulator.faults.submit.append(Fault(delay=90))
        me = caller(simulator)
        async with me.http:
            call = asyncio.create_task(me.submit())
            await arrived.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        release.set()
        async with caller(simulator).http as http:
            while not simulator.ledger:
                await http.get(QUERY)
        assert len(simulator.ledger) == 1


@pytest.mark.parametrize("billed", [False, True])
async def test_a_hanging_call_ends_with_the_client(simulator: Simulator, billed: bool) -> None:
    simulator.faults.submit.append(Fault(hang=True, billed=billed))
    async with httpx.AsyncClient(base_url=simulator.base_url, headers={"Authorization": f"Bearer {KEY}"}) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(SUBMIT, json=PAYLOAD, timeout=0.2)
    assert len(simulator.ledger) == billed


async def test_stopping_is_prompt_with_hanging_calls_and_running_renders(clock: Clock) -> None:
    simulator = Simulator(clock=clock, short_side=720)
    await simulator.start()
    simulator.faults.submit += [Fault(hang=True, billed=True)] * 3
    me = caller(simulator)
    async with me.http:
        calls = [asyncio.create_task(me.submit()) for _ in range(3)]
        while len(simulator.ledger) < 3:
            await me.http.get(QUERY)
        begin = time.monotonic()
        await simulator.stop()
        assert time.monotonic() - begin < 1
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, httpx.TransportError) for end in ends)


async def test_a_download_can_be_cut_and_gone_on_with(simulator: Simulator, me: Caller) -> None:
    link = await me.link(await me.task())
    whole = (await fetch(link)).content
    simulator.faults.download.append(Fault(cut_at=1000))
    got = bytearray()
    async with httpx.AsyncClient() as http, http.stream("GET", link) as response:
        assert response.headers["content-length"] == str(len(whole))
        pieces = response.aiter_raw()
        got += await anext(pieces)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
    assert got == whole[:1000]
    assert got + (await fetch(link, range="bytes=1000-")).content == whole


async def test_a_chunked_answer_has_no_length_and_can_be_cut_too(simulator: Simulator, me: Caller) -> None:
    link = await me.link(await me.task())
    whole = await fetch(link)
    simulator.faults.download += [Fault(chunk=True), Fault(chunk=True, cut_at=1000)]
    chunked = await fetch(link)
    assert chunked.content == whole.content
    assert "content-length" not in chunked.headers
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(link)


async def test_a_slow_download_drips(simulator: Simulator, me: Caller, clock: Clock) -> None:
    link = await me.link(await me.task())
    begin = clock.now
    simulator.faults.download.append(Fault(drip=1000))
    content = (await fetch(link)).content
    assert clock.now - begin == pytest.approx(len(content) / 1000)
    assert max(clock.slept) <= 0.1


async def test_headers_can_be_added_to_a_good_answer(simulator: Simulator, me: Caller) -> None:
    simulator.faults.submit.append(Fault(headers={"Trace-Id": "abc", "X-Other": "1"}))
    response = await me.http.post(SUBMIT, json=PAYLOAD)
    assert (response.headers["trace-id"], response.headers["x-other"]) == ("abc", "1")
    assert response.json()["base_resp"] == OK
    assert len(simulator.ledger) == 1


# Memory.


async def test_a_new_simulator_takes_up_the_tasks_of_the_ledger(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "bills" / "ledger.jsonl"
    frame = data_url(picture((400, 800)))
    settings: dict[str, Any] = {"short_side": 144, "clock": clock, "ledger": file}
    async with Simulator(**settings) as first:
        me = caller(first)
        async with me.http:
            task_id = await me.task(first_frame_image=frame)
            assert (await me.query(task_id))["status"] == "Queueing"
    file.write_bytes(file.read_bytes() + b'{"task_id": "torn')  # killed while it wrote, so never answered
    clock.now += 30
    async with Simulator(**settings) as second:
        me = caller(second)
        async with me.http:
            answer = await me.query(task_id)
            assert (answer["status"], answer["video_width"], answer["video_height"]) == ("Success", 144, 288)
            _, picture_seen, _ = look((await fetch(await me.link(task_id))).content)
            assert near(picture_seen, (0.5, 0.3), (255, 0, 0))
            another = await me.task()
        (bill, _) = second.ledger
        assert (bill.task_id, bill.fingerprint) == (task_id, first.ledger[0].fingerprint)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["task_id"] for line in lines] == [task_id, another]


async def test_a_stopped_simulator_can_be_started_again_at_the_same_address(clock: Clock) -> None:
    async with Simulator(short_side=32, generation_seconds=0, clock=clock) as simulator:
        me = caller(simulator)
        async with me.http:
            task_id = await me.task()
            address = simulator.base_url
            await simulator.stop()
            with pytest.raises(httpx.TransportError):
                await me.query(task_id)
            await simulator.start()
            assert simulator.base_url == address
            assert (await me.query(task_id))["status"] == "Success"


async def test_a_port_in_use_is_an_error_that_leaves_nothing_behind(simulator: Simulator) -> None:
    second = Simulator(port=urlsplit(simulator.base_url).port or 0)
    with pytest.raises(OSError, match="address"):
        await second.start()


def test_a_killed_process_has_told_what_it_billed(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-m", "hailuo_mcp.simulator", "--ledger", str(ledger), "--short-side", "32"]
    command += ["--folder", str(tmp_path / "videos")]  # a killed process does not tidy up
    headers = {"Authorization": f"Bearer {KEY}"}
    task_ids: list[str] = []
    for _ in range(2):
        with subprocess.Popen([*command, "--generation-seconds", "0"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            with httpx.Client(base_url=process.stdout.readline().strip(), headers=headers, timeout=20) as http:
                for earlier in task_ids:
                    assert http.get(QUERY, params={"task_id": earlier}).json()["status"] in ("Processing", "Success")
                task_ids.append(http.post(SUBMIT, json=PAYLOAD).json()["task_id"])
                process.kill()
    assert [json.loads(line)["task_id"] for line in ledger.read_text().splitlines()] == task_ids
