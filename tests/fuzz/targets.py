"""What the fuzzer and the property tests play: each target takes bytes, and fails where a promise is broken.

The promises: nothing but the project's own errors comes out, and whatever would be sent or paid for is what the
simulator, the second reader of the API's document, takes.
"""

import asyncio
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import jsonschema
import stamina
from seeds import ODD, picture, usual
from world import KEY, text, world

from hailuo_mcp import camera
from hailuo_mcp.api import HailuoApi
from hailuo_mcp.errors import ApiRefused, ApiUnavailable, HailuoError, RequestRejected
from hailuo_mcp.frames import Judged, crop_of, judge_file, judge_source, judge_url
from hailuo_mcp.media import mp4, pictures
from hailuo_mcp.rules import request_problems
from hailuo_mcp.simulator.contract import SENSITIVE, read_order
from hailuo_mcp.simulator.stills import read_frame
from hailuo_mcp.submission import RequestBody, Submission
from hailuo_mcp.surface.rows import iso

_PLAY_SECONDS = 60  # of one input, where something waits: far more than any needs
_runner = asyncio.Runner()
_T = TypeVar("_T")


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="hailuo-fuzz-"))


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of work on the one loop that everything here lives on."""

    async def bounded() -> _T:
        async with asyncio.timeout(_PLAY_SECONDS):
            return await work

    return _runner.run(bounded())


def prompt(data: bytes) -> None:
    """Camera text is read once and for all, and what passes is a request of the document."""
    written = data.decode("utf-8", "surrogateescape")  # halves of surrogate pairs, too
    reading = camera.read(written)
    assert camera.read(reading.prompt).prompt == reading.prompt
    assert len(reading.prompt) <= len(written)
    assert reading.prompt == written or re.search(r"[\[【［]", written)
    for move in reading.moves:
        assert reading.prompt[move.at] == "["
        assert all(command.text in reading.prompt[move.at :] for command in move.commands)
    problems = request_problems(reading.prompt, 6, "768P")
    if not problems and SENSITIVE not in reading.prompt.lower():
        body = RequestBody(Submission(reading.prompt, 6, "768P", True, False))
        sent = b"".join(_run(_pieces(body)))
        assert len(sent) == body.length
        assert read_order(sent, "application/json", 16).prompt == reading.prompt


async def _pieces(body: Any) -> list[bytes]:
    return [piece async for piece in body]


def frame(data: bytes) -> None:
    """A file is judged by what is in it, and so is the beginning of a picture at a URL."""
    mend = len(data) % 2 == 0
    _agrees(judge_file("first_frame_image", "a file", io.BytesIO(data), mend=mend, show=64))
    judged = judge_url("last_frame_image", "https://pictures.example/a", data[: 1 + len(data) // 2], len(data))
    assert judged.frame or judged.problems


def data_url(data: bytes) -> None:
    """A data URL holds a picture, or is refused."""
    _agrees(judge_source("first_frame_image", "data:" + data.decode("utf-8", "replace"), _no_file))


def _no_file(_: str) -> BinaryIO:
    raise RequestRejected("there are no files here")


def _agrees(judged: Judged) -> None:
    """A frame that our judge lets through is one that the second reader takes."""
    assert (judged.frame is None) == bool(judged.problems)
    if judged.facts:
        assert 0 <= crop_of((judged.facts.width, judged.facts.height), (640, 480)).loss < 1
    if frame := judged.frame:
        sent = frame.head + b"".join(_run(_pieces(frame.encoded()))).decode()
        frame.close()
        if (frame.width or 0) * (frame.height or 0) <= pictures.DECODE_PIXELS_MAX:  # larger ones are not unpacked
            assert read_frame(sent, 16).size == (frame.width, frame.height)


def clip(data: bytes) -> None:
    """A file is a whole video, or a sentence says what is wrong with it."""
    path = _folder() / "clip.mp4"
    path.write_bytes(data)
    with suppress(mp4.NotAVideo):
        facts = mp4.inspect(path)
        assert facts.bytes == len(data)
        assert facts.seconds >= 0


class _Upstream:
    """An API that gives to every request the same answer, byte for byte."""

    def __init__(self) -> None:
        self.answer, self.asked = b"", 0

    async def open(self) -> HailuoApi:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return HailuoApi(self.url, lambda: KEY, submit_seconds=30, read_seconds=30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            self.asked += 1
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()


@cache
def _upstream() -> tuple[_Upstream, HailuoApi]:
    upstream = _Upstream()
    return upstream, _run(upstream.open())


def answer(data: bytes) -> None:
    """Whatever the API answers is read, or told in a sentence without the key; a submit is sent once."""
    upstream, api = _upstream()
    kind, upstream.answer, upstream.asked = data[:1], data[1:], 0
    said: HailuoError | None = None
    try:
        with stamina.set_testing(True, attempts=2):
            _run(_ask(api, kind, upstream.url, redirects=b"location" in data.lower()))
    except HailuoError as error:
        said = error
    assert KEY not in str(said)
    if kind == b"s":
        assert upstream.asked == 1
        # Neither success nor a broken gateway says that nothing was paid: only a code of the API does.
        unclear = re.match(rb"HTTP/1\.[01] [25]", upstream.answer) and not re.search(rb"status_code|\\u|ncoding", data)
        assert not (unclear and isinstance(said, (ApiRefused, ApiUnavailable)))


async def _ask(api: HailuoApi, kind: bytes, url: str, redirects: bool) -> None:
    if kind == b"s":
        task_id = await api.submit(Submission("a sea", 6, "768P", True, False))
        assert KEY not in task_id
        assert task_id.isprintable()
        assert 0 < len(task_id) <= 128
    elif kind == b"q":
        found = await api.query("7")
        assert KEY not in str(found)
        assert (found.status == "Failed") == bool(found.failure)
        assert min(found.video_width or 1, found.video_height or 1) > 0
    elif kind == b"r":
        link = await api.retrieve("7", "8")
        assert KEY not in str(link)
        assert re.match(r"(?i)https?://[^\s/]", link.download_url)
        iso(link.expires_at)
    elif not redirects:
        async with api.download(url, start=5) as download:
            async for _ in download.pieces:
                pass


class _Choices:
    """Decisions, one byte each; zeros when there are none left."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def of(self, options: Any) -> Any:
        return options[(self._data.read(1) or b"\0")[0] % len(options)]

    def text(self) -> str:
        return self._data.read(self.of(range(40))).decode("utf-8", "replace")


class _Playground:
    """One server for all inputs, and what can be named in a call to it."""

    async def open(self) -> None:
        self.over, opened = asyncio.Event(), asyncio.Event()
        self.life = asyncio.create_task(self._live(opened))  # a client is closed by the task that opened it
        await opened.wait()

    async def _live(self, opened: asyncio.Event) -> None:
        folder = _folder() / "world"
        folder.mkdir()
        async with world(folder, short_side=16, generation_seconds=5) as self.world:
            self.tools = {tool.name: tool for tool in (await self.world.client.list_tools()).tools}
            task = (await self.world.do("generate_video", prompt="a sea"))["task_id"]
            (folder / "bad.png").write_bytes(picture("PNG")[:-30])
            shots, good = [{"prompt": "a hill"}], self.world.picture()
            film = (await self.world.do("create_film", shots=shots, keyframes=[good], confirm=True))["film_id"]
            self.usual = usual(task, film, good, str(folder / "bad.png"))
            self.filmed = {"a hill"}
            opened.set()
            await self.over.wait()

    def call(self, choices: _Choices) -> tuple[str, dict[str, Any]]:
        """A tool and its arguments: each left out, usual, odd, or any text at all."""
        name = choices.of([*self.tools])
        arguments = {}
        for argument in [*self.tools[name].input_schema["properties"], choices.of(["", "", "lastframe", "consent"])]:
            values = choices.of(((), self.usual.get(argument, (True, False)), ODD, (choices.text(),)))
            if argument and values:
                arguments[argument] = choices.of(values)
        return name, arguments

    async def play(self, choices: _Choices) -> None:
        name, arguments = self.call(choices)
        ledger, before = self.world.simulator.ledger, len(self.world.simulator.ledger)
        if name in ("create_film", "retake_shot"):
            self.filmed |= {camera.read(prompt).prompt for prompt in _prompts(arguments)}
        result = await self.world.call(name, **arguments)
        said = text(result)
        assert not re.match("Error executing tool|Unknown tool", said), (name, arguments, said)
        schema = self.tools[name].input_schema
        right = jsonschema.Draft202012Validator(schema).is_valid(_meant(arguments, schema))
        assert result.is_error or right, (name, arguments, said)
        # The shots of a film are paid for when their time comes.
        paid = [bill for bill in ledger[before:] if bill.prompt not in self.filmed]
        assert len(paid) <= (name == "generate_video" and not result.is_error), (name, arguments, said)
        if name == "generate_video" and not result.is_error:
            assert result.structured_content["task_id"] in {bill.task_id for bill in ledger}, (arguments, said)
        assert self.world.calls("submit") == len(ledger), ("the API refused it", name, arguments)


def _prompts(value: Any) -> Iterator[str]:
    """Every text in arguments, however deep."""
    if isinstance(value, str):
        yield from (value, *re.findall('"prompt": "(.*?)"', value))
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _prompts(item)


def _meant(value: Any, schema: dict[str, Any]) -> Any:
    """What a model means: 6 as "6" or "6s", a word in any case, a list as its JSON, null for what is left out."""
    kind, word = schema.get("type", ""), value.strip() if isinstance(value, str) else ""
    if kind == "object" and isinstance(value, dict):
        known = schema["properties"]
        given = {
            name: item
            for name, item in value.items()
            if item is not None or known.get(name, {}).get("type") != "string"
        }
        return {name: _meant(item, known.get(name, {})) for name, item in given.items()}
    if kind == "array" and word:
        with suppress(ValueError):
            value = json.loads(word)
    if kind == "array" and isinstance(value, list):
        return [_meant(item, schema["items"]) for item in value]
    if "integer" in kind and re.fullmatch("[0-9]{1,9}s?", word):
        return int(word.rstrip("s"))
    if kind == "boolean" and str(value).lower() in ("true", "false", "1", "0"):
        return str(value).lower() in ("true", "1")
    if kind == "string" and type(value) is int:
        return str(value)
    return word.upper() if "768P" in schema.get("enum", ()) and word else value


@cache
def _playground() -> _Playground:
    playground = _Playground()
    _run(playground.open())
    return playground


def tool(data: bytes) -> None:
    """Whatever a tool is called with, it answers or refuses; what breaks a rule is never sent, nor paid for."""
    _run(_playground().play(_Choices(data)))


async def _close() -> None:
    if _upstream.cache_info().currsize:
        upstream, api = _upstream()
        await api.close()
        upstream.server.close()
    if _playground.cache_info().currsize:
        _playground().over.set()
        await _playground().life


def close() -> None:
    """End everything that the targets began."""
    _run(_close())
    _runner.close()
    if _folder.cache_info().currsize:
        shutil.rmtree(_folder())


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (prompt, frame, data_url, answer, clip, tool)
}


def any_of_them(data: bytes) -> None:
    """Each of the targets, chosen by the first byte."""
    [*TARGETS.values()][data[0] % len(TARGETS) if data else 0](data[1:])
