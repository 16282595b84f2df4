"""Pictures at URLs, looked at within bounds of bytes and time, and never at an address that is not public."""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

import httpx

from hailuo_mcp.rules import FRAME_BYTES_BELOW

HEAD_BYTES = 256 * 1024  # enough for the size of almost every picture
HEAD_SECONDS = 8.0
WHOLE_SECONDS = 30.0
REDIRECTS_MAX = 4
_AZURE = ipaddress.ip_address("168.63.129.16")  # a public address that only means a cloud's own machinery
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out for the public
_STAND_INS = ipaddress.ip_network("198.18.0.0/15")  # what proxies that resolve names themselves give out instead
_SIMULATED = "the API is simulated on this machine, so nothing outside is asked"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a URL: its bytes, as far as they were wanted, and the size of the whole, where it is told.

    `trouble` says why there are none; `private`: only this machine or its network can ever reach it.
    """

    data: bytes | None = None
    size: int | None = None
    trouble: str = ""
    private: bool = False


class _Trouble(Exception):
    """Why a URL cannot be looked at, in words."""


class _Private(_Trouble):
    """The URL is of an address that is not public."""


async def _look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Remote:
    """Reads pictures from the web. With `own_machine` the API is simulated here, and nothing else is ever asked."""

    def __init__(self, *, own_machine: bool = False, resolve: Resolve = _look_up) -> None:
        self._own_machine = own_machine
        self._resolve = resolve

    async def head(self, url: str) -> Found:
        """The beginning of a picture, enough to judge it by."""
        return await self._read(url, HEAD_BYTES, HEAD_SECONDS)

    async def whole(self, url: str) -> Found:
        """A whole picture, if it is within what the API takes."""
        return await self._read(url, FRAME_BYTES_BELOW, WHOLE_SECONDS)

    async def _read(self, url: str, most: int, seconds: float) -> Found:
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(url, most)
        except TimeoutError:
            return Found(trouble=f"it took longer than {seconds:g} s")
        except _Trouble as error:
            return Found(trouble=str(error), private=isinstance(error, _Private))
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError, ValueError) as error:
            return Found(trouble=f"it could not be reached: {str(error) or type(error).__name__}")

    async def _follow(self, url: str, most: int) -> Found:
        try:
            place = httpx.URL(url)
        except httpx.InvalidURL as error:
            # 0177.0.0.1, or digits of another script: readers differ in what it leads to.
            raise _Private(f"it is no valid URL: {error}") from error
        # A client for each picture: no cookie of one site reaches another.
        trust = await asyncio.to_thread(_trust)
        async with httpx.AsyncClient(verify=trust, timeout=HEAD_SECONDS, trust_env=not self._own_machine) as client:
            for _ in range(REDIRECTS_MAX + 1):
                pinned = place.copy_with(host=await self._address(place), fragment=None)
                extensions = {"sni_hostname": place.raw_host.decode("ascii")}
                async with client.stream(
                    "GET", pinned, headers=_headers(place, most), extensions=extensions
                ) as response:
                    if response.has_redirect_location:
                        place = place.join(response.headers["Location"])
                        continue
                    if response.status_code not in (200, 206):
                        raise _Trouble(f"its server answered with HTTP {response.status_code}")
                    return Found(await _first(response, most), _size(response))
        raise _Trouble(f"it leads through more than {REDIRECTS_MAX} redirects")

    async def _address(self, place: httpx.URL) -> str:
        """Where to connect: every address of the host must be public, and the one judged is the one used."""
        host = place.raw_host.decode("ascii")
        if place.scheme not in ("http", "https") or not host:
            raise _Trouble("it leads to what is no http(s) URL")
        if address := _written_out(host):
            if not self._may_be_asked(address):
                raise _Private(f"{host} is an address of this machine or its network")
            addresses = [address]
        elif self._own_machine:
            raise _Trouble(_SIMULATED)
        else:
            addresses = await self._resolve(host, place.port or (443 if place.scheme == "https" else 80))
        for address in addresses:
            if ipaddress.ip_address(address.partition("%")[0]) in _STAND_INS:
                raise _Trouble(f"a proxy on this machine hides where {host} leads")
            if not self._may_be_asked(address):
                raise _Trouble(f"{host} leads to an address of this machine or its network, out of the API's reach")
        if not addresses:
            raise _Trouble(f"{host} has no address")
        return addresses[0]

    def _may_be_asked(self, address: str) -> bool:
        if not self._own_machine:
            return is_public(address)
        if is_public(address):
            raise _Trouble(_SIMULATED)
        return ipaddress.ip_address(address).is_loopback


def _written_out(host: str) -> str | None:
    """The address that a host itself says, in any way of writing it; None for a name that is to be looked up."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    if name.endswith((".local", ".internal")):
        return "0.0.0.0"  # noqa: S104 - somewhere in this network, where nothing is to be asked
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1, too.
        if not re.fullmatch(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}\.?", name):
            return None
    try:
        return socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        return "0.0.0.0"  # noqa: S104 - too large for an address, and no name either


def is_public(text: str) -> bool:
    """Whether an IP address may be asked: not private, loopback, link-local, shared, multicast or of a cloud's own."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address not in _GLOBAL:
            return False
    return address.is_global and not address.is_multicast and address != _AZURE


@cache
def _trust() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _headers(place: httpx.URL, most: int) -> dict[str, str]:
    return {
        "Host": place.netloc.decode("ascii"),
        "Range": f"bytes=0-{most - 1}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "User-Agent": "hailuo-mcp",
    }


async def _first(response: httpx.Response, most: int) -> bytes:
    found = bytearray()
    async for piece in response.aiter_raw():
        found += piece
        if len(found) >= most:
            break
    return bytes(found[:most])


def _size(response: httpx.Response) -> int | None:
    """The whole picture's size in bytes, where the answer tells it."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if response.status_code == 200:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdecimal() else None
