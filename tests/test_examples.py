"""Every example runs as its reader would run it, and a whole video comes out; host files are those of the README."""

import asyncio
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from hailuo_mcp.media.mp4 import inspect
from hailuo_mcp.settings import Settings, variable

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RUN_SECONDS = 90  # a busy machine's; nothing is measured with it
PICTURE_BYTES_BELOW = 150_000
FRAMEWORKS = {
    "pydantic_ai_agent.py": "pydantic-ai-slim",
    "openai_agents_agent.py": "openai-agents",
    "langchain_agent.py": "langchain-mcp-adapters",
}


async def run(home: Path, *command: str) -> None:
    """Run an example in a foreign folder; the last path it names must be a whole video."""
    settings = {"HAILUO_OUTPUT_DIR": str(home / "videos"), "HAILUO_DATA_DIR": str(home / "data")}
    settings |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(home))
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=os.environ | settings | {"PATH": path, "PYTHONIOENCODING": "utf-8"},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, err.decode()
    saved = re.findall(r"Saved: (.+?\.mp4)", out.decode())
    assert saved, out.decode() + err.decode()
    video = Path(saved[-1])
    assert video.parent == home / "videos"
    assert (inspect(video).height, inspect(video).seconds) == (768, pytest.approx(6, abs=0.2))


@pytest.mark.parametrize("name", ["python_client.py", "as_a_library.py"])
async def test_an_example_makes_a_video(tmp_path: Path, name: str) -> None:
    await run(tmp_path, sys.executable, str(EXAMPLES / name))


@pytest.mark.parametrize("name", FRAMEWORKS)
async def test_an_agent_makes_a_video(tmp_path: Path, name: str) -> None:
    await run(tmp_path, _python_with(FRAMEWORKS[name]), str(EXAMPLES / name))


def _python_with(package: str) -> str:
    """The Python that has a framework: this one, or the one that the environment names."""
    named = f"HAILUO_TEST_{package.replace('-', '_').upper()}"
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if named not in os.environ:
            pytest.skip(
                f"NOT RUN: {package} is not installed here; install it, or name a Python that has it in {named}"
            )
        return os.environ[named]
    return sys.executable


async def test_the_typescript_client_makes_a_video(tmp_path: Path) -> None:
    node = shutil.which("node")
    if not node or not (EXAMPLES / "node_modules/@modelcontextprotocol/client").is_dir():
        pytest.skip("NOT RUN: needs Node.js, and `npm install --prefix examples`")
    await run(tmp_path, node, str(EXAMPLES / "typescript_client.mjs"))


async def test_the_readmes_pictures_can_be_made_anew(tmp_path: Path) -> None:
    if os.name == "nt" or not _fonts():
        pytest.skip("NOT RUN: needs a terminal as macOS and Linux have, and the fonts of DejaVu and Noto CJK")
    process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLES / "pictures.py"), str(tmp_path))
    assert await asyncio.wait_for(process.wait(), 2 * RUN_SECONDS) == 0
    shown = {path.name for path in (EXAMPLES / "pictures").iterdir()}
    for name in ("check.jpg", "clip.jpg", "terminal.gif"):
        for folder in (tmp_path, EXAMPLES / "pictures"):
            with Image.open(folder / name) as picture:
                assert picture.width > 900
                assert getattr(picture, "n_frames", 1) > (5 if name == "terminal.gif" else 0)
    assert shown >= {path.name for path in tmp_path.iterdir()}
    assert max(path.stat().st_size for path in (EXAMPLES / "pictures").iterdir()) < PICTURE_BYTES_BELOW


def _fonts() -> bool:
    try:
        return all(ImageFont.truetype(name) for name in ("DejaVuSansMono.ttf", "NotoSansCJK-Regular.ttc"))
    except OSError:
        return False


def test_the_package_is_a_typed_library_with_one_door() -> None:
    import hailuo_mcp

    assert all(getattr(hailuo_mcp, name) for name in hailuo_mcp.__all__)
    assert set(hailuo_mcp.__all__) == set(hailuo_mcp._HOMES)
    assert not hasattr(hailuo_mcp, "nonsense")
    assert (Path(hailuo_mcp.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", ["claude_desktop_config.json", "cursor_mcp.json", "vscode_mcp.json"])
def test_a_host_file_is_what_the_readme_shows(name: str) -> None:
    entry = json.loads((EXAMPLES / "hosts" / name).read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert entry in [json.loads(block) for block in re.findall(r"```json\n(.*?)```", readme, re.DOTALL)]
    ((_, server),) = (entry.get("mcpServers") or entry["servers"]).items()
    assert Path(server["command"]).name == "hailuo-mcp"
    assert set(server["env"]) <= {variable(field) for field in Settings.model_fields}


def test_the_examples_page_names_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.relative_to(EXAMPLES).as_posix() for kind in ("py", "mjs", "json") for path in _files(kind)}
    files.add("container/Containerfile")
    assert set(re.findall(r"^\| \[(.+?)\]\(\1\)", page, re.MULTILINE)) == files


def _files(kind: str) -> list[Path]:
    return [path for path in EXAMPLES.rglob(f"*.{kind}") if "node_modules" not in path.parts]
