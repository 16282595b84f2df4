"""Adding this server to an assistant's configuration: nothing else in the file is ever lost."""

import io
import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hailuo_mcp import cli
from hailuo_mcp.setup import hosts
from hailuo_mcp.setup.host_files import open_host_file
from hailuo_mcp.terminal import arguments
from hailuo_mcp.terminal.console import Console

KEY = "sk-0123456789abcdef0123"
HOSTS = ("claude-desktop", "claude-code", "cursor", "vscode")
OTHERS: dict[str, Any] = {
    "theme": "dark",
    "mcpServers": {"other": {"command": "node", "args": ["a.js"], "env": {"OTHER_TOKEN": "precious"}, "strange": [1]}},
    "servers": {"other": {"type": "http", "url": "https://example.org/mcp", "headers": {"Authorization": "precious"}}},
    "inputs": [{"id": "theirs", "type": "promptString"}],
    "number": 12345678901234567890,
    "名": "值",
}


@dataclass
class Ran:
    code: int
    out: str
    err: str


@dataclass
class Computer:
    """A person's computer with a home of its own."""

    home: Path

    async def type(self, *words: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        code = await cli.run(arguments.read(words), Console(out, err, {}))
        return Ran(code, out.getvalue(), err.getvalue())

    def host(self, name: str) -> hosts.Host:
        return next(host for host in hosts.known_hosts() if host.name == name)

    def write(self, name: str, content: bytes | dict[str, Any]) -> Path:
        path = self.host(name).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=2).encode())
        return path

    def read(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.host(name).path.read_text(encoding="utf-8-sig")))

    def entry(self, name: str) -> dict[str, Any]:
        return dict(self.read(name)[self.host(name).section]["hailuo"])


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Computer(tmp_path)


@pytest.mark.parametrize("host", HOSTS)
async def test_install_makes_a_file_where_there_is_none(computer: Computer, host: str) -> None:
    ran = await computer.type("install", host)
    assert (ran.code, ran.out) == (0, f"{computer.host(host).path}\n")
    entry = computer.entry(host)
    assert Path(entry["command"]).is_file()
    assert Path(entry["command"]).is_absolute()
    assert ("type" in entry) == (host in ("claude-code", "vscode"))
    assert (ran.err.count("--with-key") == 1) == (host != "vscode"), "who has no key yet is told so"


@pytest.mark.parametrize("host", HOSTS)
async def test_install_and_uninstall_leave_everything_else_as_it_was(computer: Computer, host: str) -> None:
    path = computer.write(host, OTHERS)
    before = path.read_bytes()
    ran = await computer.type("install", host)
    changed = computer.read(host)
    section = computer.host(host).section
    assert changed[section].pop("hailuo")
    changed["inputs"] = [asked for asked in changed["inputs"] if asked["id"] == "theirs"]
    assert changed == OTHERS
    assert list(changed) == list(OTHERS)
    backup = path.with_name(f"{path.name}.hailuo-backup")
    assert (backup.read_bytes(), str(backup) in ran.err) == (before, True)
    assert (await computer.type("uninstall", host)).code == 0
    assert computer.read(host) == OTHERS
    assert {entry.name for entry in path.parent.iterdir() if entry.is_file()} == {path.name, backup.name}


async def test_installing_twice_changes_nothing_more(computer: Computer) -> None:
    await computer.type("install", "cursor")
    before = computer.host("cursor").path.read_bytes()
    ran = await computer.type("install", "cursor")
    assert (ran.code, ran.out, computer.host("cursor").path.read_bytes()) == (0, "", before)
    assert "Nothing to change" in ran.err


@pytest.mark.parametrize("host", HOSTS)
async def test_the_key_is_written_only_when_asked_and_never_shown(
    computer: Computer, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMXAPI_API_KEY", KEY)
    plain = await computer.type("install", host)
    assert KEY not in computer.host(host).path.read_text(encoding="utf-8")
    dry = await computer.type("install", host, "--with-key", "--dry-run")
    assert '"DMXAPI_API_KEY": "[hidden]"' in dry.out
    written = await computer.type("install", host, "--with-key")
    assert computer.entry(host)["env"]["DMXAPI_API_KEY"] == KEY
    again = await computer.type("install", host)
    assert computer.entry(host)["env"]["DMXAPI_API_KEY"] == KEY, "a later install keeps it"
    assert not any(KEY in ran.out + ran.err for ran in (plain, dry, written, again))
    if os.name != "nt":
        assert stat.S_IMODE(computer.host(host).path.stat().st_mode) == 0o600


@pytest.mark.parametrize("host", ["claude-desktop", "vscode"])
async def test_a_key_goes_with_the_host_that_issued_it(
    computer: Computer, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMXAPI_API_KEY", KEY)
    monkeypatch.setenv("HAILUO_BASE_URL", "https://elsewhere.example")
    await computer.type("install", host, "--with-key")
    assert computer.entry(host)["env"] == {
        "DMXAPI_API_KEY": KEY,
        "HAILUO_BASE_URL": "https://elsewhere.example",
    }
    monkeypatch.setenv("HAILUO_BASE_URL", "https://third.example")
    await computer.type("install", host)
    assert computer.entry(host)["env"]["HAILUO_BASE_URL"] == "https://elsewhere.example", "as the key that stayed"
    await computer.type("install", host, "--with-key")
    assert computer.entry(host)["env"]["HAILUO_BASE_URL"] == "https://third.example"


async def test_with_key_needs_a_key(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = await computer.type("install", "cursor", "--with-key")
    assert (ran.code, ran.out, computer.host("cursor").path.exists()) == (2, "", False)
    assert "DMXAPI_API_KEY; it is not set" in ran.err


async def test_vs_code_asks_for_the_key_itself(computer: Computer) -> None:
    await computer.type("install", "vscode")
    document = computer.read("vscode")
    (asked,) = document["inputs"]
    assert asked["password"] is True
    assert document["servers"]["hailuo"]["env"]["DMXAPI_API_KEY"] == f"${{input:{asked['id']}}}"
    await computer.type("uninstall", "vscode")
    assert computer.read("vscode") == {"servers": {}}


async def test_a_dry_run_shows_the_change_without_secrets_and_writes_nothing(computer: Computer) -> None:
    path = computer.write("claude-code", json.dumps(OTHERS).encode())
    before = path.read_bytes()
    ran = await computer.type("install", "claude-code", "--dry-run")
    assert (ran.code, path.read_bytes(), [*path.parent.glob("*backup*")]) == (0, before, [])
    assert '+    "hailuo": {' in ran.out
    assert "precious" not in ran.out


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"mcpServers": {} // mine\n}', "has comments, which would be lost"),
        (b'{"a": 1, /* "x" */ "b": 2}', "has comments, which would be lost"),
        (b'{"url": "https://x", "mcpServers": {},}', "is not valid JSON (line 1"),
        (b'{"mcpServers": ', "is not valid JSON (line 1"),
        (b"[]", "is not a JSON object"),
        (b'{"a": 1, "a": 2}', "a name stands twice"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8 text"),
        (b"[" * 100_000, "is not plain JSON"),
        (b'{"mcpServers": []}', '"mcpServers" in'),
    ],
)
async def test_what_cannot_be_kept_whole_is_left_alone(computer: Computer, content: bytes, why: str) -> None:
    path = computer.write("claude-desktop", content)
    for command in ("install", "uninstall"):
        ran = await computer.type(command, "claude-desktop")
        assert (ran.code, ran.out, path.read_bytes()) == (1, "", content)
        assert ran.err.startswith("hailuo-mcp: ")
        assert why in ran.err
    assert [entry.name for entry in path.parent.iterdir() if entry.is_file()] == [path.name]


@pytest.mark.parametrize(
    "content", [b"", b"  \n", b"{}", b"\xef\xbb\xbf{}", b'{"mcpServers": null}', b'{"mcpServers": {"hailuo": null}}']
)
async def test_an_empty_file_is_a_fine_start(computer: Computer, content: bytes) -> None:
    path = computer.write("cursor", content)
    assert (await computer.type("install", "cursor")).code == 0
    assert computer.entry("cursor")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == content.startswith(b"\xef\xbb\xbf")


async def test_the_files_own_style_stays(computer: Computer) -> None:
    path = computer.write("cursor", '{\r\n\t"名": 1\r\n}\r\n'.encode())
    await computer.type("install", "cursor")
    text = path.read_bytes().decode()
    assert text.startswith('{\r\n\t"名": 1,\r\n\t"mcpServers": {\r\n\t\t"hailuo"')
    assert text.endswith("}\r\n")


async def test_a_server_of_that_name_that_is_not_ours_is_left_alone(computer: Computer) -> None:
    foreign = {"mcpServers": {"hailuo": {"command": "node", "args": ["other.js"]}}}
    computer.write("cursor", foreign)
    for command in ("install", "uninstall"):
        ran = await computer.type(command, "cursor")
        assert (ran.code, computer.read("cursor")) == (1, foreign)
    assert (await computer.type("install", "cursor", "--name", "hailuo-2")).code == 0
    assert set(computer.read("cursor")["mcpServers"]) == {"hailuo", "hailuo-2"}


async def test_what_a_person_added_to_our_entry_stays(computer: Computer) -> None:
    mine = {"command": "/old/hailuo-mcp", "args": ["serve", "--allow", "/p"], "env": {"HAILUO_CONFIRM": "always"}}
    computer.write("cursor", {"mcpServers": {"hailuo": mine | {"disabled": False}}})
    await computer.type("install", "cursor")
    entry = computer.entry("cursor")
    assert Path(entry["command"]).is_file()
    assert entry | {"command": ""} == mine | {"command": "", "disabled": False}


async def test_an_entry_for_trying_out_can_be_made_real(computer: Computer) -> None:
    assert "--with-key" not in (await computer.type("install", "cursor", "--simulate")).err
    assert computer.entry("cursor")["args"][-2:] == ["serve", "--simulate"]
    await computer.type("install", "cursor")
    assert "--simulate" not in computer.entry("cursor").get("args", [])


async def test_print_shows_an_entry_for_any_other_host(computer: Computer) -> None:
    ran = await computer.type("install", "print")
    assert set(json.loads(ran.out)["mcpServers"]) == {"hailuo"}
    assert [*computer.home.iterdir()] == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
async def test_a_linked_file_stays_a_link(computer: Computer) -> None:
    real = computer.home / "dotfiles.json"
    real.write_text("{}", encoding="utf-8")
    link = computer.host("claude-code").path
    link.symlink_to(real)
    assert (await computer.type("install", "claude-code")).code == 0
    assert link.is_symlink()
    assert "hailuo" in real.read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
async def test_a_link_to_itself_is_a_sentence(computer: Computer) -> None:
    link = computer.host("claude-code").path
    link.symlink_to(link.name)
    ran = await computer.type("install", "claude-code")
    assert (ran.code, ran.out, link.is_symlink()) == (1, "", True)
    assert ran.err.startswith(f"hailuo-mcp: {link} cannot be read")


async def test_a_read_only_file_is_left_alone(computer: Computer) -> None:
    path = computer.write("cursor", {"a": 1})
    path.chmod(stat.S_IREAD)
    ran = await computer.type("install", "cursor")
    assert (ran.code, computer.read("cursor"), [*path.parent.glob("*backup*")]) == (1, {"a": 1}, [])
    assert "is marked as read-only" in ran.err


def test_a_file_that_changed_meanwhile_is_not_overwritten(computer: Computer) -> None:
    path = computer.write("claude-code", {"a": 1})
    file = open_host_file(path)
    path.write_text('{"a": 2}', encoding="utf-8")
    with pytest.raises(hosts.ConfigurationRefused, match="changed by another program"):
        file.write({"a": 1, "b": 2})
    assert path.read_text(encoding="utf-8") == '{"a": 2}'


def test_each_system_has_its_own_places(tmp_path: Path) -> None:
    def places(platform: str, **environment: str) -> dict[str, str]:
        found = hosts.known_hosts(tmp_path, platform, environment)
        return {host.name: host.path.relative_to(tmp_path).as_posix() for host in found}

    support, roaming = "Library/Application Support", "AppData/Roaming"
    everywhere = {"claude-code": ".claude.json", "cursor": ".cursor/mcp.json"}
    assert places("darwin") == everywhere | {
        "claude-desktop": f"{support}/Claude/claude_desktop_config.json",
        "vscode": f"{support}/Code/User/mcp.json",
    }
    assert places("win32") == everywhere | {
        "claude-desktop": f"{roaming}/Claude/claude_desktop_config.json",
        "vscode": f"{roaming}/Code/User/mcp.json",
    }
    assert places("linux") == everywhere | {
        "claude-desktop": ".config/Claude/claude_desktop_config.json",
        "vscode": ".config/Code/User/mcp.json",
    }
    packaged = tmp_path / "AppData" / "Local" / "Packages" / "Claude_x1" / "LocalCache" / "Roaming"
    packaged.mkdir(parents=True)
    assert places("win32")["claude-desktop"].startswith("AppData/Local/Packages/Claude_x1/LocalCache/Roaming/Claude/")
    assert places("linux", CLAUDE_CONFIG_DIR=str(tmp_path / "c"))["claude-code"] == "c/.claude.json"


@pytest.mark.skipif(os.name == "nt", reason="programs are marked otherwise there")
def test_a_program_from_a_cache_is_started_by_what_fills_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uvx = tmp_path / "uvx"
    uvx.write_text("#!/bin/sh\n", encoding="utf-8")
    uvx.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "uv" / "archive-v0" / "abc"))
    assert hosts.command() == [str(uvx), "hailuo-mcp"]
    host = hosts.known_hosts(tmp_path)[0]
    made = hosts.with_entry({}, host, "hailuo", hosts.entry(host, start=hosts.command(), key=None))
    assert [entry.program for entry in hosts.our_entries(made, host)] == [str(uvx)]
