"""What is wrong with this installation, in plain words: each finding says what was seen and what to do about it."""

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace

from hailuo_mcp import journal_health, journal_schema
from hailuo_mcp.api import HailuoApi
from hailuo_mcp.errors import ApiRefused, ApiUnavailable, JournalUnavailable, NotConfigured, NotFound
from hailuo_mcp.settings import KEY_VARIABLE, Settings, is_reference, load_settings
from hailuo_mcp.setup import machine
from hailuo_mcp.setup.host_files import open_host_file
from hailuo_mcp.setup.hosts import ConfigurationRefused, Entry, Host, known_hosts, our_entries
from hailuo_mcp.setup.machine import Finding

READ_SECONDS = 15.0
IMPOSSIBLE_TASK = "0"  # asking after it costs nothing, and the answer tells whether the key was taken
_KEY_REFUSED = (1004, 2049, 401)
_KEY_TAKEN = (400, 2013)  # the key was read before the number was


async def examine(environment: Mapping[str, str] = os.environ) -> AsyncIterator[Finding]:
    """Every finding as soon as it is known. The key is in none of them."""
    for look in (machine.python, machine.packages, machine.ffmpeg):
        yield look()
    tried = None
    try:
        settings = load_settings()
    except NotConfigured as error:
        yield Finding("settings", "fail", str(error), "Correct the variable, or remove it.")
    else:
        secret = settings.api_key.get_secret_value() if settings.api_key else ""
        tried = (secret, settings.base_url)
        async for finding in _with_settings(settings, environment):
            hidden = finding.found.replace(secret, "[key]") if secret else finding.found
            yield replace(finding, found=hidden)
    for host in known_hosts():
        async for finding in _host(host, tried):
            yield finding


async def _with_settings(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    yield _key(settings, environment)
    async for finding in _api(settings):
        yield finding
    yield machine.output_folder(settings.output_dir)
    yield machine.disk(settings.output_dir)
    for finding in machine.allowed_folders(settings):
        yield finding
    yield await _journal(settings)


def _key(settings: Settings, environment: Mapping[str, str]) -> Finding:
    if settings.api_key is None:
        given = environment.get(KEY_VARIABLE, "")
        found = "holds the name of a variable, not a key" if is_reference(given) else "is not set"
        if others := _hosts_with_key():
            return Finding("key", "ok", f"{KEY_VARIABLE} {found} here, but {' and '.join(others)} has a key")
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
        yield machine.clock(date, before + waited / 2)
        if settings.api_key:
            yield await _key_accepted(api)
    finally:
        await api.close()


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


async def _journal(settings: Settings) -> Finding:
    try:
        health = await journal_health.look(settings.journal_url())
    except JournalUnavailable as error:
        return Finding("journal", "fail", str(error))
    if health.version is None:
        place = machine.existing(settings.data_dir)
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


async def _host(host: Host, tried: tuple[str, str] | None) -> AsyncIterator[Finding]:
    """What a host's file says of this server. `tried`: a key that was asked about already, and where."""
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
        if entry.has_key and not entry.simulates and (entry.key, entry.base_url) != tried:
            yield await _host_key(host, entry, install)


async def _host_key(host: Host, entry: Entry, install: str) -> Finding:
    """Whether the API takes the key that stands in a host's file."""
    check = f"key of {host.title}"
    try:
        settings = load_settings(api_key=entry.key, base_url=entry.base_url)
        api = HailuoApi(settings.base_url, settings.require_key, read_seconds=READ_SECONDS)
    except NotConfigured as error:
        return Finding(check, "fail", str(error), f"Correct the entry {entry.name!r} in {host.path}.")
    try:
        found = await _key_accepted(api)
    finally:
        await api.close()
    advice = f"Correct the entry {entry.name!r}, or run `{install} --with-key` again."
    words = found.found.replace(entry.key, "[key]")
    return replace(found, check=check, found=words, advice=advice if found.state == "fail" else found.advice)


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
