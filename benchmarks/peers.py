"""Who is compared: each in an environment of its own, installed from the registries, started in the same way."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INSIDE = HERE / "inside"
ENVIRONMENTS = HERE / ".environments"
OURS, BARE = "hailuo-mcp", "bare server"
MINIMAX, OLDER, NODE = "minimax-mcp 0.0.19", "minimax-mcp 0.0.18", "minimax-mcp-js 0.0.18"

# What pip is told for each environment.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "ours": ("-e", str(HERE.parent)),
    "minimax-0.0.19": ("minimax-mcp==0.0.19", "mcp[cli]>=2,<3"),
    "minimax-0.0.18": ("minimax-mcp==0.0.18", "mcp[cli]>=1.6,<2"),
    "plain": ("httpx", "requests"),
}
_NODE_PACKAGES = ("minimax-mcp-js@0.0.18", "js-tiktoken@1.0.21")

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A server: how it is started, and what its tools are called. `environment` may hold {url} and {folder}."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    status: Callable[[str], Call] | None = None  # of a task id
    submit: Callable[[str, str], Call] | None = None  # of prompt and picture
    download: Callable[[str, Path], Call] | None = None  # of task id and folder
    under_way: Callable[[str], Call] | None = None  # of a prompt: a call that stays until the video is there
    video_tools: tuple[str, ...] = ()


def python(environment: str) -> str:
    """The interpreter of an environment."""
    return str(ENVIRONMENTS / environment / "bin" / "python")


def install() -> None:
    """Make the environments that are not there yet."""
    for name, packages in _PACKAGES.items():
        _once(name, packages, lambda folder, packages=packages: _install_python(folder, packages))
    _once("node", _NODE_PACKAGES, _install_node)


def _once(name: str, packages: Sequence[str], make: Callable[[Path], None]) -> None:
    folder = ENVIRONMENTS / name
    manifest = (HERE.parent / "pyproject.toml").read_text() if "-e" in packages else ""
    stamp, wanted = folder / "installed.json", json.dumps([packages, manifest])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {name} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    make(folder)
    stamp.write_text(wanted)


def _install_python(folder: Path, packages: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)


def _install_node(folder: Path) -> None:
    folder.mkdir(parents=True)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *_NODE_PACKAGES]
    subprocess.run(command, check=True)


def peers() -> dict[str, Peer]:
    """All servers, ours first."""
    found = [_ours(), Peer(BARE, (python("ours"), str(INSIDE / "bare_server.py"))), *_minimax(), _node()]
    return {peer.name: peer for peer in found}


def _ours() -> Peer:
    return Peer(
        OURS,
        (str(ENVIRONMENTS / "ours" / "bin" / "hailuo-mcp"),),
        {
            "DMXAPI_API_KEY": "sk-benchmark",
            "HAILUO_BASE_URL": "{url}",
            "HAILUO_OUTPUT_DIR": "{folder}/videos",
            "HAILUO_DATA_DIR": "{folder}/data",
            "HAILUO_ALLOWED_DIRS": "{fixtures}",
        },
        status=lambda task_id: ("check_status", {"task_id": task_id}),
        submit=lambda prompt, picture: ("generate_video", {"prompt": prompt, "first_frame_image": picture}),
        download=lambda task_id, _: ("download_video", {"task_id": task_id}),
    )


def _minimax() -> list[Peer]:
    def submit(prompt: str, picture: str) -> Call:
        frame = {"first_frame_image": picture, "model": "MiniMax-Hailuo-02"}
        return "generate_video", {"prompt": prompt, "async_mode": True, **frame}

    return [
        Peer(
            name,
            (str(ENVIRONMENTS / folder / "bin" / "minimax-mcp"),),
            _MINIMAX_SETTINGS,
            status=lambda task_id: ("query_video_generation", {"task_id": task_id}),
            submit=submit,
            download=lambda task_id, to: ("query_video_generation", {"task_id": task_id, "output_directory": str(to)}),
            under_way=lambda prompt: ("generate_video", {"prompt": prompt}),
            video_tools=("generate_video", "query_video_generation"),
        )
        for name, folder in ((MINIMAX, "minimax-0.0.19"), (OLDER, "minimax-0.0.18"))
    ]


_MINIMAX_SETTINGS = {
    "MINIMAX_API_KEY": "sk-benchmark",
    "MINIMAX_API_HOST": "{url}",
    "MINIMAX_MCP_BASE_PATH": "{folder}",
    "MINIMAX_API_RESOURCE_MODE": "local",
    "MINIMAX_RESOURCE_MODE": "local",
}


def _node() -> Peer:
    def submit(prompt: str, picture: str) -> Call:
        frame = {"firstFrameImage": picture, "model": "MiniMax-Hailuo-02"}
        return "generate_video", {"prompt": prompt, "asyncMode": True, **frame}

    program = ENVIRONMENTS / "node" / "node_modules" / "minimax-mcp-js" / "build" / "index.js"
    return Peer(
        NODE,
        (shutil.which("node") or "node", str(program)),
        _MINIMAX_SETTINGS,
        status=lambda task_id: ("query_video_generation", {"taskId": task_id}),
        submit=submit,
        download=lambda task_id, to: ("query_video_generation", {"taskId": task_id, "outputDirectory": str(to)}),
        under_way=lambda prompt: ("generate_video", {"prompt": prompt}),
        video_tools=("generate_video", "image_to_video", "query_video_generation"),
    )


def versions() -> list[str]:
    """What was measured, for the report's head."""
    found = [f"Python {sys.version.split()[0]}", f"node {_said('node', '--version')}"]
    found += [" ".join(_said(program, "-version").split()[:3]) for program in ("ffmpeg",)]
    found += [" ".join(_said("curl", "--version").split()[:2])]
    for environment, names in (
        ("ours", ("hailuo-mcp", "mcp", "httpx", "pydantic", "av", "Pillow")),
        ("minimax-0.0.19", ("minimax-mcp", "mcp")),
        ("minimax-0.0.18", ("minimax-mcp", "mcp")),
        ("plain", ("httpx", "requests")),
    ):
        program = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
        found.append(f"{environment}: {_said(python(environment), '-c', program, *names)}")
    manifest = ENVIRONMENTS / "node" / "node_modules" / "@modelcontextprotocol" / "sdk" / "package.json"
    found.append(f"{NODE} on @modelcontextprotocol/sdk {json.loads(manifest.read_text())['version']}")
    return found


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout.strip()
