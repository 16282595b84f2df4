"""What is wrong with this installation, in plain words: each finding says what was seen and what to do about it."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from hailuo_mcp import journal_health, journal_schema
from hailuo_mcp.api import HailuoApi
from hailuo_mcp.errors import ApiRefused, ApiUnavailable, JournalUnavailable, NotConfigured, NotFound
from hailuo_mcp.host_files import open_host_file
from hailuo_mcp.hosts import ConfigurationRefused, Entry, Host, known_hosts, our_entries
from hailuo_mcp.settings import KEY_VARIABLE, Settings, is_reference, load_settings

PYTHON_LEAST = (3, 11)
SKEW_SECONDS = 120.0  # links are signed with times
DISK_LOW_BYTES, DISK_LEAST_BYTES = 1_000_000_000, 100_000_000  # a video takes 2 to 20 MB
READ_SECONDS = 15.0
IMPOSSIBLE_TASK = "0"  # asking after it costs nothing, and the answer tells whether the key was taken
_KEY_REFUSED = (1004, 2049, 401)
_KEY_TAKEN = (400, 2013)  # the key was read before the number was

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    found: str
    advice: str = ""


async def examine(environment: Mapping[str, str] = os.environ) -> AsyncIterator[Finding]:
    """Every finding as soon as it is known. The key is in none of them."""
    for look in (_python, _packages, _ffmpeg):
        yield look()
    try:
        settings = load_settings()
    except NotConfigured as error:
        yield Finding("settings", "fail", str(error), "Correct the variable, or remove it.")
    else:
        secret = settings.api_key.get_secret_value() if settings.api_key else ""
        async for finding in _with_settings(settings, environment):
            hidden = finding.found.replace(secret, "[key]") if secret else finding.found
            yield replace(finding, found=hidden)
    for host in known_hosts():
        for finding in _host(host):
            yield finding


async def _with_settings(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    yield _key(settings, environment)
    async for finding in _api(settings):
        yield finding
    yield _output_folder(settings.output_dir)
    yield _disk(settings.output_dir)
    for finding in _allowed_folders(settings):
        yield finding
    yield await _journal(settings)


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}, on {platform.platform(terse=True)}"
    if sys.version_info < PYTHON_LEAST:
        return Finding("Python", "fail", found, f"Install Python {'.'.join(map(str, PYTHON_LEAST))} or newer.")
    return Finding("Python", "ok", found)


def _packages() -> Finding:
    wrong, seen = [], [f"hailuo-mcp {importlib.metadata.version('hailuo-mcp')}"]
    for requirement in importlib.metadata.requires("hailuo-mcp") or ():
        words = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*extra.*)?", requirement)
        if words is None or words[3]:
            continue
        try:
            version = importlib.metadata.version(words[1])
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{words[1]} is missing")
            continue
        seen.append(f"{words[1]} {version}")
        if not within(version, words[2]):
            wrong.append(f"{words[1]} is {version}, but {words[2].strip()} is needed")
    if wrong:
        return Finding("packages", "fail", "; ".join(wrong), "Install hailuo-mcp anew, in an environment of its own.")
    return Finding("packages", "ok", ", ".join(seen))


def within(version: str, ranges: str) -> bool:
    """Whether a version lies in ranges such as `>=2.3,<3`; only the numbers count."""
    tests: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        ">=": lambda have, limit: have >= limit,
        "<": lambda have, limit: have < limit,
    }
    have = _numbers(version)
    return all(tests[sign](have, _numbers(limit)) for sign, limit in re.findall(r"(>=|<)([0-9.]+)", ranges))


def _numbers(version: str) -> tuple[int, ...]:
    found = [int(number) for number in re.findall(r"\d+", re.split(r"[a-z+]", version)[0])]
    return tuple([*found, 0, 0, 0][:3])


def _ffmpeg() -> Finding:
    try:
        from hailuo_mcp import video

        return Finding("FFmpeg libraries", "ok", video.libraries())
    except (ImportError, OSError, ValueError) as error:
        advice = "Install the package av anew; its wheels bring FFmpeg with them."
        return Finding("FFmpeg libraries", "fail", f"cannot be loaded: {error}", advice)


def _key(settings: Settings, environment: Mapping[str, str]) -> Finding:
    if settings.api_key is None:
        given = environment.get(KEY_VARIABLE, "")
        found = "holds the name of a variable, not a key" if is_reference(given) else "is not set"
        if others := _hosts_with_key():
            found += f" here; the entry of {' and '.join(others)} has a key, which is not tried"
            return Finding("key", "warn", f"{KEY_VARIABLE} {found}", "To try it, run doctor with the key set.")
        advice = f"Put the key into {KEY_VARIABLE}. Without it, everything works but what asks the API."
        return Finding("key", "fail", f"{KEY_VARIABLE} {found}", advice)
    text = settings.api_key.get_secret_value()
    if not text.startswith("sk-") or len(text) < len("sk-") + 16:
        advice = "DMXAPI's keys begin with sk- and are long; compare it with the provider's page."
        return Finding("key", "warn", f"is set, {len(text)} characters, but does not look like one", advice)
    return Finding("key", "ok", f"is set, {len(text)} characters")


async def _api(settings: Settings) -> AsyncIterator[Finding]:
    try:
        api = HailuoApi(settings.base_url, settings.require_key, read_seconds=READ_SECONDS)
    except NotConfigured as error:
        yield Finding("API", "fail", str(error), "Correct the proxy, or remove it.")
        return
    try:
        before = time.time()
        try:
            date = await api.knock()
        except ApiUnavailable as error:
            advice = "Check the network, a proxy or firewall, and HAILUO_BASE_URL; then run doctor again."
            yield Finding("API", "fail", str(error), advice)
            return
        waited = time.time() - before
        yield Finding("API", "ok", f"{settings.base_url} answered in {waited * 1000:.0f} ms")
        yield _clock(date, before + waited / 2)
        if settings.api_key:
            yield await _key_accepted(api)
    finally:
        await api.close()


def _clock(date: str | None, now: float) -> Finding:
    try:
        skew = now - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", "ok", "could not be compared: the API sent no date")
    if abs(skew) > SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        advice = "Set this computer's clock: links and their ends are told in times."
        return Finding("clock", "warn", f"is {abs(skew) / 60:.0f} minutes {way} the API's", advice)
    return Finding("clock", "ok", "agrees with the API's")


async def _key_accepted(api: HailuoApi) -> Finding:
    try:
        await api.query(IMPOSSIBLE_TASK)
    except NotFound:
        pass
    except ApiRefused as error:
        if error.code in _KEY_REFUSED:
            return Finding("key accepted", "fail", str(error))
        if error.code not in _KEY_TAKEN:
            return Finding("key accepted", "warn", str(error))
    except ApiUnavailable as error:
        return Finding("key accepted", "warn", f"could not be found out: {error}", "Run doctor again in a minute.")
    return Finding("key accepted", "ok", "the API takes it (asked after a task that cannot be; that costs nothing)")


def _output_folder(folder: Path) -> Finding:
    place = _existing(folder)
    made = "" if place == folder else f" (it will be made in {place})"
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding("output folder", "ok", f"{folder} can be written{made}")
    except OSError as error:
        advice = "Make it writable, or set HAILUO_OUTPUT_DIR to another folder."
        return Finding("output folder", "fail", f"{folder} cannot be written: {error.strerror}", advice)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_existing(folder)).free
    found = f"{free / 1e9:.1f} GB free for {folder}"
    if free < DISK_LOW_BYTES:
        return Finding(
            "disk", "fail" if free < DISK_LEAST_BYTES else "warn", found, "Free some space; a video takes up to 20 MB."
        )
    return Finding("disk", "ok", found)


def _existing(folder: Path) -> Path:
    return next((place for place in (folder, *folder.parents) if place.exists()), Path(folder.anchor))


def _allowed_folders(settings: Settings) -> Iterator[Finding]:
    for folder in dict.fromkeys(settings.frame_folders("stdio")):
        if folder == settings.output_dir:
            continue
        try:
            os.scandir(folder).close()
        except OSError as error:
            advice = "Correct HAILUO_ALLOWED_DIRS, or allow this program to read the folder in the system's settings."
            yield Finding("allowed folder", "fail", f"{folder} cannot be read: {error.strerror}", advice)
        else:
            yield Finding("allowed folder", "ok", f"frames may be read from {folder}")


async def _journal(settings: Settings) -> Finding:
    try:
        health = await journal_health.look(settings.journal_url())
    except JournalUnavailable as error:
        return Finding("journal", "fail", str(error))
    if health.version is None:
        place = _existing(settings.data_dir)
        if not settings.database_url and not os.access(place, os.W_OK):
            advice = "Make the folder writable, or choose another one with HAILUO_DATA_DIR."
            return Finding("journal", "fail", f"{health.place} cannot be made in {place}", advice)
        return Finding("journal", "ok", f"{health.place} will be made when it is first needed")
    found = f"{health.place}, schema {health.version}, {health.videos} videos, {health.under_way} under way"
    if health.version > journal_schema.VERSION:
        return Finding("journal", "fail", f"{found}: written by a newer version", "Update hailuo-mcp.")
    older = (
        " (an older one; it is carried forward at the next start)" if health.version < journal_schema.VERSION else ""
    )
    return Finding("journal", "ok", found + older)


def _hosts_with_key() -> list[str]:
    found = []
    for host in known_hosts():
        with suppress(ConfigurationRefused):
            if any(
                entry.has_key or entry.asks_for_key for entry in our_entries(open_host_file(host.path).document, host)
            ):
                found.append(host.title)
    return found


def _host(host: Host) -> Iterator[Finding]:
    install = f"hailuo-mcp install {host.name}"
    try:
        file = open_host_file(host.path)
        entries = our_entries(file.document, host)
    except ConfigurationRefused as error:
        yield Finding(host.title, "warn", str(error))
        return
    if not entries:
        what = "has no entry for this server" if file.raw is not None else "is not there"
        yield Finding(host.title, "ok", f"not set up: {host.path} {what}; `{install}` adds it")
    for entry in entries:
        yield _host_entry(host, entry, install)


def _host_entry(host: Host, entry: Entry, install: str) -> Finding:
    found = f"{host.path}: {entry.name!r} starts {entry.program or 'nothing'}"
    if not entry.program_exists:
        return Finding(host.title, "fail", f"{found}, which does not exist", f"`{install}` corrects it.")
    if entry.simulates:
        return Finding(host.title, "ok", f"{found}, simulated")
    if entry.has_key or entry.asks_for_key:
        return Finding(host.title, "ok", f"{found}, {'with a key' if entry.has_key else 'and asks for the key'}")
    if host.passes_environment:
        return Finding(host.title, "ok", f"{found}, with the key of the shell that {host.title} is started from")
    return Finding(host.title, "warn", f"{found}, without a key", f"`{install} --with-key` writes it into the file.")
