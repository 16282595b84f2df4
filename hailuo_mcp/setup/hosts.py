"""The assistants' configuration files: where each is, what this server's entry looks like, what is said there now."""

import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hailuo_mcp.errors import HailuoError
from hailuo_mcp.settings import KEY_VARIABLE, Settings, is_reference, variable

_OURS = re.compile(r"\bhailuo[-_]mcp\b")
SIMULATE = ["serve", "--simulate"]
_INPUT = "dmxapi-key"  # VS Code asks for it and keeps it in its own safe


class ConfigurationRefused(HailuoError):
    """A host's configuration file cannot be read or changed without harm, so it was left as it is."""


@dataclass(frozen=True, slots=True)
class Host:
    """One assistant. `section` is where its file keeps servers."""

    name: str
    title: str
    path: Path
    section: str = "mcpServers"
    typed: bool = False  # whether an entry says that it speaks stdio
    asks: bool = False  # whether the host itself can ask for the key
    passes_environment: bool = False  # whether a server gets the variables of the person's shell
    next_step: str = ""


def known_hosts(
    home: Path | None = None, platform: str = sys.platform, environment: Mapping[str, str] = os.environ
) -> list[Host]:
    """Every assistant whose file we know, with its place on this system."""
    home = home or Path.home()
    code = Path(environment["CLAUDE_CONFIG_DIR"]) if environment.get("CLAUDE_CONFIG_DIR") else home
    return [
        Host(
            "claude-desktop",
            "Claude Desktop",
            _claude_folder(home, platform, environment) / "claude_desktop_config.json",
            next_step="Quit Claude Desktop altogether and start it again.",
        ),
        Host(
            "claude-code",
            "Claude Code",
            code / ".claude.json",
            typed=True,
            passes_environment=True,
            next_step="Start a new session; `/mcp` shows the server.",
        ),
        Host("cursor", "Cursor", home / ".cursor" / "mcp.json", next_step="Cursor, Settings, MCP: switch it on."),
        Host(
            "vscode",
            "VS Code",
            _roaming(home, platform, environment) / "Code" / "User" / "mcp.json",
            section="servers",
            typed=True,
            asks=True,
            next_step="VS Code asks for the key when the server starts (MCP: List Servers).",
        ),
    ]


def _roaming(home: Path, platform: str, environment: Mapping[str, str]) -> Path:
    """Where programs keep a person's settings."""
    if platform == "darwin":
        return home / "Library" / "Application Support"
    if platform == "win32":
        return Path(environment.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config")


def _claude_folder(home: Path, platform: str, environment: Mapping[str, str]) -> Path:
    if platform == "win32":
        # The packaged app does not see the usual folder: Windows gives it one of its own.
        packages = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / "Packages"
        for package in sorted(packages.glob("Claude_*")):
            if (package / "LocalCache" / "Roaming").is_dir():
                return package / "LocalCache" / "Roaming" / "Claude"
    return _roaming(home, platform, environment) / "Claude"


def command() -> list[str]:
    """How this very program is started from anywhere."""
    if "archive-v" in sys.prefix and (uvx := shutil.which("uvx")):
        return [uvx, "hailuo-mcp"]  # `uvx` runs from a cache that may be cleared
    script = Path(sysconfig.get_path("scripts")) / ("hailuo-mcp.exe" if os.name == "nt" else "hailuo-mcp")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "hailuo_mcp"]


def entry(
    host: Host | None, *, start: Sequence[str], key: str | None, base_url: str | None = None, simulate: bool = False
) -> dict[str, Any]:
    """This server's entry; `key` only where the person wants it in the file. Without a host, what most understand.

    base_url: where the key is from, if not from the usual place; a key works nowhere else.
    """
    program, *arguments = start
    made: dict[str, Any] = {"type": "stdio"} if host and host.typed else {}
    made["command"] = program
    if arguments or simulate:
        made["args"] = [*arguments, *(SIMULATE if simulate else [])]
    if key:
        made["env"] = {KEY_VARIABLE: key}
    elif host and host.asks and not simulate:
        made["env"] = {KEY_VARIABLE: f"${{input:{_INPUT}}}"}
    if "env" in made and base_url:
        made["env"][variable("base_url")] = base_url
    return made


def with_entry(document: dict[str, Any], host: Host, name: str, new: dict[str, Any]) -> dict[str, Any]:
    """The document with our entry; everything else stays. What a person added to our entry stays, too."""
    servers = _servers(document, host)
    old = servers.get(name) or {}
    if old and not _is_ours(old):
        raise ConfigurationRefused(
            f"{host.path} has another server named {name!r}, which was left alone; choose another --name."
        )
    merged = {**old, **new}
    merged.pop("args", None)
    if arguments := new.get("args") or _own_arguments(old):
        merged["args"] = arguments
    given = new.get("env") or {}
    literal_key = KEY_VARIABLE in given and not is_reference(given[KEY_VARIABLE])
    environment = {**given, **_environment(old), **(given if literal_key else {})}
    if environment:
        merged["env"] = environment
    changed = {**document, host.section: {**servers, name: merged}}
    if host.asks and f"${{input:{_INPUT}}}" in environment.values():
        inputs = document.get("inputs") or []
        if not any(isinstance(asked, dict) and asked.get("id") == _INPUT for asked in inputs):
            asked = {"type": "promptString", "id": _INPUT, "description": "DMXAPI key", "password": True}
            changed["inputs"] = [*inputs, asked]
    return changed


def without_entry(document: dict[str, Any], host: Host, name: str) -> dict[str, Any]:
    """The document without our entry, and without the question that only it asked."""
    servers = _servers(document, host)
    if name not in servers:
        return document
    if not _is_ours(servers[name]):
        raise ConfigurationRefused(f"The server {name!r} in {host.path} is not this one; it was left alone.")
    left = {other: value for other, value in servers.items() if other != name}
    changed = {**document, host.section: left}
    if isinstance(document.get("inputs"), list) and f"${{input:{_INPUT}}}" not in json.dumps(left):
        inputs = [asked for asked in document["inputs"] if not (isinstance(asked, dict) and asked.get("id") == _INPUT)]
        changed["inputs"] = inputs
        if not inputs:
            del changed["inputs"]
    return changed


@dataclass(frozen=True, slots=True)
class Entry:
    """This server as a host's file has it."""

    name: str
    program: str
    program_exists: bool
    key: str = field(repr=False)
    base_url: str
    asks_for_key: bool
    simulates: bool

    @property
    def has_key(self) -> bool:
        """Whether the key stands in the file."""
        return bool(self.key)


def our_entries(document: dict[str, Any], host: Host) -> list[Entry]:
    """Every entry that starts this server."""
    return [_entry(name, found) for name, found in _servers(document, host).items() if _is_ours(found)]


def _entry(name: str, found: dict[str, Any]) -> Entry:
    program, environment = str(found.get("command") or ""), _environment(found)
    key = str(environment.get(KEY_VARIABLE) or "")
    exists = Path(program).is_file() if Path(program).is_absolute() else shutil.which(program) is not None
    arguments = found.get("args")
    return Entry(
        name,
        program,
        exists,
        "" if is_reference(key) else key,
        str(environment.get(variable("base_url")) or Settings.model_fields["base_url"].default),
        is_reference(key),
        isinstance(arguments, list) and "--simulate" in arguments,
    )


def _servers(document: dict[str, Any], host: Host) -> dict[str, Any]:
    servers = document.get(host.section)
    if servers is None:
        return {}
    if not isinstance(servers, dict):
        raise ConfigurationRefused(f'"{host.section}" in {host.path} is not an object; mend it first.')
    return servers


def _environment(server: Any) -> dict[str, Any]:
    environment = server.get("env") if isinstance(server, dict) else None
    return environment if isinstance(environment, dict) else {}


def _own_arguments(server: dict[str, Any]) -> list[Any]:
    """The arguments that a person gave our entry by hand."""
    arguments = server.get("args")
    given = list(arguments) if isinstance(arguments, list) else []
    if given[:2] == ["-m", "hailuo_mcp"]:
        given = given[2:]
    return [] if given == SIMULATE or "hailuo-mcp" in given else given


def _is_ours(server: Any) -> bool:
    if not isinstance(server, dict):
        return False
    arguments = server.get("args")
    words = [server.get("command"), *(arguments if isinstance(arguments, list) else [])]
    return any(isinstance(word, str) and _OURS.search(Path(word.replace("\\", "/")).name) for word in words)
