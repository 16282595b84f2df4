"""The one-click extension: valid, complete, in step with the package, the same every time."""

import importlib.metadata
import io
import json
import os
import sys
import tomllib
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import Client, StdioServerParameters
from packed import as_a_host_starts

from hailuo_mcp import cli
from hailuo_mcp.settings import Settings, load_settings, variable
from hailuo_mcp.setup import bundle
from hailuo_mcp.terminal import arguments
from hailuo_mcp.terminal.console import Console

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "tests" / "schemas" / "mcpb-manifest-v0.4.schema.json"


async def test_the_manifest_is_what_the_host_accepts() -> None:
    jsonschema.validate(await bundle.manifest(), json.loads(SCHEMA.read_text(encoding="utf-8")))


async def test_the_manifest_is_in_step_with_the_package() -> None:
    manifest = await bundle.manifest()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest["version"] == project["version"] == importlib.metadata.version("hailuo-mcp")
    assert manifest["description"] == project["description"]
    surface = json.loads((ROOT / "tests" / "surface.json").read_text(encoding="utf-8"))
    assert [tool["name"] for tool in manifest["tools"]] == [tool["name"] for tool in surface["tools"]]


async def test_the_key_is_asked_for_as_a_secret_and_stands_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMXAPI_API_KEY", "sk-precious-0123456789")
    asked = (await bundle.manifest())["user_config"]
    assert (asked["api_key"]["sensitive"], asked["api_key"]["required"]) == (True, True)
    assert not any(b"sk-precious" in data for _, data in bundle.contents(await bundle.manifest()))


async def test_every_answer_reaches_a_setting() -> None:
    manifest = await bundle.manifest()
    start = manifest["server"]["mcp_config"]
    used = json.dumps(start)
    assert all(f"${{user_config.{name}}}" in used for name in manifest["user_config"])
    assert set(start["env"]) <= {variable(name) for name in Settings.model_fields}


async def test_an_answer_that_was_not_given_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (await bundle.manifest())["server"]["mcp_config"]["env"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.api_key is None
    assert settings.output_dir.is_absolute()


def test_uv_is_told_what_the_package_needs() -> None:
    def names(needs: list[str]) -> set[str]:
        return {need.split("[")[0].split("<")[0].split(">")[0].strip().lower() for need in needs}

    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    theirs = tomllib.loads(bundle.project())
    assert names(theirs["project"]["dependencies"]) == names(ours["project"]["dependencies"])
    assert theirs["project"]["requires-python"] == ours["project"]["requires-python"]
    assert theirs["build-system"] == ours["build-system"]


async def test_the_same_sources_make_the_same_file(tmp_path: Path) -> None:
    first, second = await bundle.write_bundle(tmp_path / "a.mcpb"), await bundle.write_bundle(tmp_path / "b.mcpb")
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mcpb", "b.mcpb"}
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert {"manifest.json", "pyproject.toml", "hailuo_mcp/__main__.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith(("/", ".")) or "\\" in name]


async def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(bundle.BundleFailed, match=r"could not be written.*Choose another --output"):
        await bundle.write_bundle(tmp_path / "file" / "x.mcpb")


@asynccontextmanager
async def unpacked(folder: Path, answers: dict[str, list[str]]) -> AsyncIterator[tuple[dict[str, Any], Client]]:
    """The packed server, started as the host does with a person's answers, but for uv: that would fetch packages."""
    out, path = io.StringIO(), folder / "x.mcpb"
    assert await cli.run(arguments.read(["bundle", "--output", str(path)]), Console(out, io.StringIO(), {})) == 0
    assert out.getvalue() == f"{path}\n"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "unpacked")
    manifest, words, environment = as_a_host_starts(folder / "unpacked", answers)
    places = {"PYTHONPATH": str(folder / "unpacked"), "HAILUO_DATA_DIR": str(folder / "data")}
    server = StdioServerParameters(
        command=sys.executable, args=words[words.index("-m") :], env={**os.environ, **environment, **places}, cwd=folder
    )
    async with Client(server) as client:
        yield manifest, client


async def test_the_packed_server_starts_and_lists_its_tools(tmp_path: Path) -> None:
    async with unpacked(tmp_path, {}) as (manifest, client):
        listed = [tool.name for tool in (await client.list_tools()).tools]
        unpaid = await client.call_tool("generate_video", {"prompt": "x"})
    assert listed == [tool["name"] for tool in manifest["tools"]]
    assert "No API key is set" in str(unpaid.content), "what was not filled in counts as not set"


async def test_pictures_are_read_from_the_folders_that_the_person_chose(tmp_path: Path) -> None:
    chosen = [tmp_path / "one", tmp_path / "two words"]
    outside = tmp_path / "outside.jpg"
    for path in (*(folder / "bad.jpg" for folder in chosen), outside):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture")
    answers = {"api_key": ["sk-0123456789"], "allowed_dirs": [str(folder) for folder in chosen]}
    async with unpacked(tmp_path, answers) as (_, client):

        async def words(path: Path) -> str:
            return str(
                (await client.call_tool("generate_video", {"prompt": "x", "last_frame_image": str(path)})).content
            )

        assert "lies outside the allowed folders" in await words(outside)
        for folder in chosen:
            assert "lies outside" not in await words(folder / "bad.jpg")
