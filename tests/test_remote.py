"""Pictures at URLs, from a small server on loopback; nothing beyond it is ever asked."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image, ImageStat
from world import world

from hailuo_mcp import remote, video
from hailuo_mcp.remote import HEAD_BYTES, REDIRECTS_MAX, Remote, is_public


def noise(size: tuple[int, int] = (1600, 900), form: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(file, form)
    return file.getvalue()


@dataclass
class Web:
    """A server whose pages are whole HTTP answers."""

    url: str
    pages: dict[str, bytes]
    requests: list[str] = field(default_factory=list)

    def redirect(self, path: str, to: str) -> str:
        self.pages[path] = f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
        return self.url + path

    def serve(self, path: str, body: bytes, status: str = "200 OK", headers: str = "") -> str:
        length = "" if "Content-Length" in headers else f"Content-Length: {len(body)}\r\n"
        self.pages[path] = f"HTTP/1.1 {status}\r\n{headers}{length}\r\n".encode() + body
        return self.url + path


@asynccontextmanager
async def web() -> AsyncIterator[Web]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        served.requests.append(request)
        writer.write(served.pages.get(request.split()[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    served = Web(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {})
    async with server:
        yield served


def names(*addresses: str) -> Callable[..., object]:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


async def test_only_the_beginning_of_a_picture_is_asked_for() -> None:
    data = noise((3000, 2000))
    async with web() as served:
        url = served.serve("/a.jpg", data)
        found = await Remote(own_machine=True).head(url)
        assert (found.data, found.size, found.trouble) == (data[:HEAD_BYTES], len(data), "")
        assert f"range: bytes=0-{HEAD_BYTES - 1}" in served.requests[0].lower()
        part = served.serve("/b.jpg", data[:500], "206 Partial Content", f"Content-Range: bytes 0-499/{len(data)}\r\n")
        found = await Remote(own_machine=True).head(part)
        assert (found.data, found.size) == (data[:500], len(data))


async def test_redirects_are_followed_a_few_times() -> None:
    async with web() as served:
        served.serve("/end", b"picture")
        for hop in range(REDIRECTS_MAX + 1):
            served.redirect(f"/{hop}", f"/{hop - 1}" if hop else served.url + "/end")
        assert (await Remote(own_machine=True).head(f"{served.url}/{REDIRECTS_MAX - 1}")).data == b"picture"
        assert "redirects" in (await Remote(own_machine=True).head(f"{served.url}/{REDIRECTS_MAX}")).trouble


@pytest.mark.parametrize(
    ("to", "private"),
    [
        ("http://169.254.169.254/latest/meta-data", True),
        ("http://10.0.0.1/", True),
        ("http://[fd00:ec2::254]/", True),
        ("http://[::ffff:192.168.0.1]/", True),
        ("http://0.0.0.0/", True),
        ("http://2130706433.example/", False),
        ("file:///etc/passwd", False),
        ("gopher://127.0.0.1/", False),
        ("ftp://127.0.0.1/a.jpg", False),
        ("data:image/png;base64,AA", False),
        ("javascript:alert(1)", False),
        ("//169.254.169.254/latest", True),
        ("http://public@169.254.169.254/", True),
        ("http://0xa9fea9fe/", True),
        ("http://0177.0.0.1/", False),
        ("http://", False),
    ],
)
async def test_no_redirect_leads_to_where_it_should_not(to: str, private: bool) -> None:
    async with web() as served:
        found = await Remote(own_machine=True).head(served.redirect("/r", to))
    assert found.data is None
    assert found.private == private
    assert found.trouble


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost:1",
        "LOCALHOST.",
        "me.localhost",
        "router.local",
        "metadata.google.internal",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::10.0.0.1]",
        "[fe80::1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "127.1",
        "3232235777:80",
        "0x7f.0x0.0x0.0x1",
        "0",
        "0.0.0.0",
        "127.0.0.1.",
        "127。0。0。1",
        "127.0.0.1．",
        "public.example@127.0.0.1",
        "8.8.8.8:80@10.0.0.1",
        "public.example\\@127.0.0.1",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",
        "[fd00:ec2::254]",
        "[fe80::1%25eth0]",
        "[::1%25lo]",
        "4294967297",
        "0x100000001",
        "100.100.100.200",
        "168.63.129.16",
    ],
)
async def test_this_machine_and_its_network_are_out_of_reach_however_they_are_written(host: str) -> None:
    found = await Remote(resolve=names("93.184.215.14")).head(f"http://{host}/a.jpg")  # type: ignore[arg-type]
    assert found.private
    assert "is an address of this machine or its network" in found.trouble


@pytest.mark.parametrize(
    "url",
    [
        "http://0177.0.0.1/",
        "http://00000177.0.0.1/",
        "http://256.256.256.256/",
        "http://①②⑦.⓪.⓪.①/",
        "http://１２７.0.0.1/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://127.0.0.1:80\\.public.example/",
        "http://127.0.0.1\t/",
        "ht\ntp://127.0.0.1/",
        f"http://public.example/{'a' * 100_000}",
    ],
)
async def test_what_two_readers_would_understand_differently_is_no_url(url: str) -> None:
    found = await Remote(resolve=names("127.0.0.1")).head(url)  # type: ignore[arg-type]
    assert (found.data, found.private) == (None, True)
    assert "it is no valid URL" in found.trouble


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/a.jpg", "gopher://127.0.0.1:70/_x", "data:image/png;base64,AA",
     "jar:http://x!/", "http:127.0.0.1/a", "http:///127.0.0.1/", "//127.0.0.1/"],
)  # fmt: skip
async def test_other_schemes_lead_nowhere(url: str) -> None:
    found = await Remote(resolve=names("127.0.0.1")).head(url)  # type: ignore[arg-type]
    assert (found.data, found.trouble) == (None, "it leads to what is no http(s) URL")


async def test_every_address_of_a_host_must_be_public() -> None:
    for addresses in (("10.0.0.1",), ("93.184.215.14", "127.0.0.1"), ("2606:2800:21f::1", "169.254.169.254")):
        found = await Remote(resolve=names(*addresses)).head("http://nas.example/")  # type: ignore[arg-type]
        assert found.data is None
        assert "nas.example leads to an address of this machine or its network" in found.trouble
    found = await Remote(resolve=names("198.18.0.9")).head("http://far.example/")  # type: ignore[arg-type]
    assert found.trouble == "a proxy on this machine hides where far.example leads"
    assert "no address" in (await Remote(resolve=names()).head("http://none.example/")).trouble  # type: ignore[arg-type]


async def test_the_address_that_was_judged_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def rebind(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async with web() as served:
        served.serve("/a.jpg", b"picture")
        port = served.url.rpartition(":")[2]
        edge = Remote(resolve=rebind)
        assert (await edge.head(f"http://rebinding.example:{port}/a.jpg")).data == b"picture"
        assert answers == [["10.0.0.1"]]
        assert f"host: rebinding.example:{port}" in served.requests[0].lower()
        assert (await edge.head(f"http://rebinding.example:{port}/a.jpg")).data is None
        assert len(served.requests) == 1


async def test_a_redirect_is_judged_like_the_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")

    async def resolve(host: str, port: int) -> list[str]:
        return {"near.example": ["127.0.0.1"], "inside.example": ["127.0.0.1", "10.0.0.1"]}[host]

    async with web() as served:
        port = served.url.rpartition(":")[2]
        served.serve("/a.jpg", b"picture")
        for to in (f"http://inside.example:{port}/a.jpg", f"http://2130706434:{port}/a.jpg", "http://[::1]/a.jpg"):
            served.redirect("/r", to)
            served.requests.clear()
            found = await Remote(resolve=resolve).head(f"http://near.example:{port}/r")
            assert (found.data, len(served.requests)) == (None, 1)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("192.168.1.1", False),
        ("172.16.0.1", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("::7f00:1", False),
        ("fec0::1", False),
        ("198.18.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


async def test_what_a_server_does_wrong_is_trouble_and_no_crash() -> None:
    async with web() as served:
        edge = Remote(own_machine=True)
        served.pages["/broken"] = b"not http at all\r\n\r\n"
        served.pages["/cut"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"
        served.redirect("/bad", "http://[::1/")
        for path in ("/none", "/broken", "/cut", "/bad"):
            found = await edge.head(served.url + path)
            assert (found.data, bool(found.trouble)) == (None, True)
    assert (await edge.head(served.url + "/none")).trouble.startswith("it could not be reached")


async def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HEAD_SECONDS", 0.2)
    silence = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        found = await Remote(own_machine=True).head(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        silence.set()
    assert found.data is None
    assert "0.2 s" in found.trouble or "reached" in found.trouble


async def test_a_url_frame_is_judged_before_it_is_paid_for(tmp_path: Path) -> None:
    async with web() as served, world(tmp_path) as w:
        small, fine = served.serve("/small.jpg", noise((200, 300))), served.serve("/fine.jpg", noise())
        said = await w.fail("generate_video", prompt="x", first_frame_image=small)
        assert "200x300 pixels; its short side must be over 300" in said
        assert w.simulator.requests == []
        square = w.picture("square.jpg", (900, 900))
        made = await w.do("generate_video", prompt="x", first_frame_image=fine, last_frame_image=square)
        assert "44% of the last frame" in made["warnings"][0]
        assert w.simulator.ledger[0].payload["first_frame_image"] == fine


async def test_a_url_that_cannot_be_checked_is_a_warning(tmp_path: Path) -> None:
    async with web() as served, world(tmp_path) as w:
        for url, words in (
            (f"{served.url}/none.jpg", "could not be checked: its server answered with HTTP 404"),
            ("https://example.com/a.jpg", "could not be checked: the API is simulated on this machine"),
        ):
            made = await w.do("generate_video", prompt="x", first_frame_image=url)
            assert words in made["warnings"][0]


async def test_a_url_that_the_api_cannot_reach_is_not_paid_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for host in ("192.168.1.5", "nas.local", "[fd00::1]", "0xa9fea9fe", "0177.0.0.1", "１２７.0.0.1", "4294967297"):
            arguments = {"prompt": "x", "first_frame_image": f"http://{host}/a.jpg"}
            for tool in ("generate_video", "preview_video"):
                said = await w.fail(tool, **arguments)
                assert f"first_frame_image: http://{host}/a.jpg cannot be reached by the API" in said
                assert "give the picture's path instead" in said
            checked = await w.do("check_frames", **arguments)
            assert not checked["ok"]
            assert "cannot be reached by the API" in checked["problems"][0]
        assert w.simulator.requests == []


async def test_a_preview_tells_which_picture_it_lacks(tmp_path: Path) -> None:
    async with web() as served, world(tmp_path) as w:
        lost = f"{served.url}/none.jpg"
        made = await w.do("preview_video", prompt="x", first_frame_image=lost, last_frame_image=w.picture())
        assert "could not be checked" in made["warnings"][0]
        assert made["warnings"][1] == "first_frame_image: is not in the sketch"


async def test_a_preview_fetches_the_pictures_that_it_draws(tmp_path: Path) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (1600, 900), "teal").save(plain, "JPEG")
    async with web() as served, world(tmp_path) as w:
        url = served.serve("/plain.jpg", plain.getvalue())
        made = await w.do("preview_video", prompt="[Push in] x", first_frame_image=url)
        red, green, blue = ImageStat.Stat(video.read_frame(Path(made["path"]), "first")).mean
        assert (round(red / 8), round(green / 8), round(blue / 8)) == (0, 16, 16)
        checked = await w.do("check_frames", first_frame_image=url)
        assert (checked["frames"][0]["width"], checked["frames"][0]["format"]) == (1600, "JPEG")
