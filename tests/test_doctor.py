"""The doctor finds what is wrong, says it in plain words, and never shows the key."""

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from world import KEY

from hailuo_mcp import cli
from hailuo_mcp.setup.machine import within
from hailuo_mcp.simulator import Fault, Simulator
from hailuo_mcp.terminal import arguments
from hailuo_mcp.terminal.console import Console


@dataclass
class Patient:
    """An installation, and how to examine it."""

    home: Path
    simulator: Simulator
    patch: pytest.MonkeyPatch

    async def examine(self) -> tuple[int, dict[str, tuple[str, str]]]:
        """The exit code, and each check's state and words."""
        code, out = await self.type("doctor", "--json")
        assert KEY not in out
        checks: list[dict[str, Any]] = json.loads(out)["checks"]
        return code, {item["check"]: (item["state"], f"{item['found']} {item['advice']}") for item in checks}

    async def type(self, *words: str) -> tuple[int, str]:
        out = io.StringIO()
        code = await cli.run(arguments.read(words), Console(out, io.StringIO(), {}))
        return code, out.getvalue()


@pytest.fixture
async def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Patient]:
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    async with Simulator(keys=(KEY,), short_side=144, folder=tmp_path / "simulator") as simulator:
        settings = {
            "DMXAPI_API_KEY": KEY,
            "HAILUO_BASE_URL": simulator.base_url,
            "HAILUO_OUTPUT_DIR": str(tmp_path / "videos"),
            "HAILUO_DATA_DIR": str(tmp_path / "data"),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield Patient(tmp_path, simulator, monkeypatch)


async def test_a_healthy_installation_is_told_so_and_nothing_is_made(patient: Patient) -> None:
    code, found = await patient.examine()
    assert code == 0
    assert {state for state, _ in found.values()} == {"ok"}, found
    assert set(found) >= {"Python", "packages", "FFmpeg libraries", "key", "API", "clock", "key accepted", "journal"}
    assert not (patient.home / "videos").exists()
    assert not (patient.home / "data").exists()
    assert patient.simulator.ledger == []


async def test_people_read_a_line_for_each_finding(patient: Patient) -> None:
    patient.patch.setenv("DMXAPI_API_KEY", "sk-wrong-0123456789abcdef")
    code, out = await patient.type("doctor")
    assert code == 1
    assert out.startswith("ok    Python: 3.")
    assert "\nfail  key accepted: The API answered 2049" in out
    assert "wrong-0123456789" not in out


@pytest.mark.parametrize("fault", [Fault(code=1004), Fault(code=2049), Fault(code=2049, gateway=True)])
async def test_a_refused_key_is_a_failure(patient: Patient, fault: Fault) -> None:
    patient.simulator.faults.query.append(fault)
    code, found = await patient.examine()
    assert (code, found["key accepted"][0]) == (1, "fail")
    assert "a key works only on the host that issued it" in found["key accepted"][1]


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault(code=2013), "ok"),
        (Fault(code=2013, gateway=True), "ok"),
        (Fault(code=1008), "warn"),
        (Fault(code=1002, headers={"Retry-After": "60"}), "warn"),
        (Fault(status=404, body="<html>"), "warn"),
    ],
)
async def test_other_answers_do_not_blame_the_key(patient: Patient, fault: Fault, state: str) -> None:
    patient.simulator.faults.query.append(fault)
    code, found = await patient.examine()
    assert (code, found["key accepted"][0]) == (0, state)


@pytest.mark.parametrize(
    ("key", "state", "words"),
    [
        ("", "fail", "is not set"),
        ("${DMXAPI_API_KEY}", "fail", "holds the name of a variable, not a key"),
        ("your-key-here", "warn", "does not look like one"),
    ],
)
async def test_a_key_that_is_none_is_noticed(patient: Patient, key: str, state: str, words: str) -> None:
    patient.patch.setenv("DMXAPI_API_KEY", key)
    _, found = await patient.examine()
    assert found["key"][0] == state
    assert words in found["key"][1]


async def test_wrong_settings_are_named_and_the_rest_is_still_looked_at(patient: Patient) -> None:
    patient.patch.setenv("HAILUO_OUTPUT_DIR", "videos")
    patient.patch.setenv("DMXAPI_API_KEY", '"sk-with quotes"')
    code, found = await patient.examine()
    assert code == 1
    assert "HAILUO_OUTPUT_DIR: must be a full path" in found["settings"][1]
    assert "DMXAPI_API_KEY: holds characters that no key has" in found["settings"][1]
    assert {"Python", "Claude Desktop"} <= set(found)


async def test_an_api_out_of_reach_is_told_apart_from_a_bad_key(patient: Patient) -> None:
    await patient.simulator.stop()
    code, found = await patient.examine()
    assert (code, found["API"][0]) == (1, "fail")
    assert "could not be reached" in found["API"][1]
    assert "key accepted" not in found


async def test_a_proxy_that_cannot_be_used_is_named(patient: Patient) -> None:
    patient.patch.setenv("ALL_PROXY", "nonsense://x")
    code, found = await patient.examine()
    assert (code, found["API"][0]) == (1, "fail")
    assert "ALL_PROXY" in found["API"][1]


@pytest.mark.parametrize(("minutes", "words"), [(-90, "90 minutes ahead of"), (30, "30 minutes behind")])
async def test_a_wrong_clock_is_noticed(patient: Patient, minutes: int, words: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as api:
        patient.patch.setenv("HAILUO_BASE_URL", f"http://127.0.0.1:{api.sockets[0].getsockname()[1]}")
        _, found = await patient.examine()
    assert found["clock"][0] == "warn"
    assert words in found["clock"][1]


async def test_folders_that_are_missing_or_no_folders_are_noticed(patient: Patient) -> None:
    (patient.home / "file").write_text("x", encoding="utf-8")
    patient.patch.setenv("HAILUO_ALLOWED_DIRS", str(patient.home / "gone"))
    patient.patch.setenv("HAILUO_OUTPUT_DIR", str(patient.home / "file"))
    code, found = await patient.examine()
    assert code == 1
    assert found["allowed folder"][0] == "fail"
    assert "gone cannot be read" in found["allowed folder"][1]
    assert found["output folder"][0] == "fail"


async def test_the_journal_is_looked_at_and_left_as_it_is(patient: Patient) -> None:
    assert (await patient.type("list"))[0] == 0
    path = patient.home / "data" / "journal.db"
    _, found = await patient.examine()
    assert found["journal"][0] == "ok"
    assert ", 0 videos, 0 under way" in found["journal"][1]
    with sqlite3.connect(path) as database:
        database.execute("UPDATE hailuo_meta SET value = '999'")
    database.close()
    _, found = await patient.examine()
    assert found["journal"][0] == "fail"
    assert "written by a newer version" in found["journal"][1]


async def test_a_journal_that_is_no_database_is_noticed(patient: Patient) -> None:
    (patient.home / "data").mkdir()
    (patient.home / "data" / "journal.db").write_bytes(b"this is no database " * 300)
    code, found = await patient.examine()
    assert (code, found["journal"][0]) == (1, "fail")
    assert "damaged or is something else" in found["journal"][1]


async def test_it_tells_what_each_assistant_is_set_up_with(patient: Patient) -> None:
    assert (await patient.type("install", "claude-desktop", "--with-key"))[0] == 0
    assert (await patient.type("install", "claude-code"))[0] == 0
    assert (await patient.type("install", "vscode"))[0] == 0
    (patient.home / ".cursor").mkdir()
    gone = {"mcpServers": {"mine": {"command": "/gone/hailuo-mcp"}}}
    (patient.home / ".cursor" / "mcp.json").write_text(json.dumps(gone), encoding="utf-8")
    code, found = await patient.examine()
    assert code == 1
    assert found["Claude Desktop"][1].endswith("with a key ")
    assert "with the key of the shell" in found["Claude Code"][1]
    assert found["VS Code"][1].endswith("and asks for the key ")
    assert found["Cursor"][0] == "fail"
    assert "/gone/hailuo-mcp, which does not exist `hailuo-mcp install cursor` corrects it." in found["Cursor"][1]


async def test_an_assistants_key_counts_when_there_is_none_here(patient: Patient) -> None:
    await patient.type("install", "cursor", "--with-key")
    patient.patch.delenv("DMXAPI_API_KEY")
    code, found = await patient.examine()
    assert (code, found["key"][0], found["key of Cursor"][0]) == (0, "ok", "ok")
    assert "is not set here, but Cursor has a key" in found["key"][1]


async def test_a_bad_key_in_an_assistants_file_is_found_from_any_shell(patient: Patient) -> None:
    patient.patch.setenv("DMXAPI_API_KEY", "sk-wrong-0123456789abcdef")
    await patient.type("install", "claude-desktop", "--with-key")
    for key in ("", KEY):
        patient.patch.setenv("DMXAPI_API_KEY", key)
        code, found = await patient.examine()
        assert (code, found["key of Claude Desktop"][0]) == (1, "fail")
        assert "2049" in found["key of Claude Desktop"][1]
        assert "`hailuo-mcp install claude-desktop --with-key`" in found["key of Claude Desktop"][1]
        assert "sk-wrong" not in str(found)


async def test_a_key_of_an_assistant_that_can_be_none_is_told(patient: Patient) -> None:
    (patient.home / ".cursor").mkdir()
    server = {"command": "hailuo-mcp", "env": {"DMXAPI_API_KEY": "蒲公英", "HAILUO_BASE_URL": "http://127.0.0.1:9"}}
    (patient.home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"h": server}}), encoding="utf-8")
    code, found = await patient.examine()
    assert (code, found["key of Cursor"][0]) == (1, "fail")
    assert "holds characters that no key has" in found["key of Cursor"][1]


@pytest.mark.parametrize(
    ("version", "ranges", "inside"),
    [
        ("2.3.0", "<3,>=2.3", True),
        ("2.10.1", "<3,>=2.9", True),
        ("3.0.0", "<3,>=2.3", False),
        ("2.2.9", ">=2.3", False),
        ("1.0rc1", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, ranges: str, inside: bool) -> None:
    assert within(version, ranges) is inside
