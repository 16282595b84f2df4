"""The one-click extension: the package, its manifest and its needs in one .mcpb file, for hosts that bring uv along."""

import asyncio
import importlib.metadata
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hailuo_mcp.errors import DownloadFailed, HailuoError
from hailuo_mcp.files import draft
from hailuo_mcp.server import build_server
from hailuo_mcp.settings import KEY_VARIABLE, Settings, load_settings, variable
from hailuo_mcp.surface.player import for_models

NAME = "hailuo-mcp"
PACKAGE = Path(__file__).parents[1]
_EPOCH = (2026, 1, 1, 0, 0, 0)  # the same sources give the same file, byte by byte


class BundleFailed(HailuoError):
    """The bundle could not be written."""


async def write_bundle(target: Path | None = None) -> Path:
    """Write the bundle, at first under another name; returns its path. An older one of that name is replaced."""
    return await asyncio.to_thread(_write, target, await manifest())


def _write(target: Path | None, described: dict[str, Any]) -> Path:
    path = (target or Path(f"{NAME}-{described['version']}.mcpb")).expanduser().absolute()
    path = path / f"{NAME}.mcpb" if path.is_dir() else path
    try:
        with draft(path.parent, path.name) as new:
            with zipfile.ZipFile(new.path, "w") as archive:
                for name, data in contents(described):
                    member = zipfile.ZipInfo(name, _EPOCH)
                    member.external_attr = 0o644 << 16
                    archive.writestr(member, data, zipfile.ZIP_DEFLATED, 9)
            return new.path.replace(path)
    except (OSError, DownloadFailed) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleFailed(f"{path} could not be written: {reason}. Choose another --output.") from error


def contents(described: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Every file of the bundle with that manifest, in a fixed order."""
    yield "manifest.json", (json.dumps(described, ensure_ascii=False, indent=2) + "\n").encode()
    yield "pyproject.toml", project().encode()
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        if path.is_file() and "__pycache__" not in inside.parts and not inside.name.startswith("."):
            yield f"hailuo_mcp/{inside.as_posix()}", path.read_bytes()


async def manifest() -> dict[str, Any]:
    """What the host reads: how to start the server, and what to ask the person for."""
    about = importlib.metadata.metadata(NAME)
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": "Hailuo first/last-frame video",
        "version": about["Version"],
        "description": about["Summary"],
        "long_description": "Start with this photo, end with that one, push in slowly: checks the pictures, asks for "
        "the video, waits for it and saves the MP4 on your disk. Nothing is paid for twice, and nothing that was paid "
        "for is lost. Videos cost money at the provider; you need a key of yours.",
        "author": {"name": NAME},
        "documentation": "https://doc.dmxapi.cn/",
        "license": about["License-Expression"],
        "keywords": (about["Keywords"] or "").split(","),
        "server": {
            "type": "uv",
            "entry_point": "hailuo_mcp/__main__.py",
            "mcp_config": {
                "command": "uv",
                # A list of folders can only be handed over as arguments, never in one variable.
                "args": [
                    *("run", "--directory", "${__dirname}", "python", "-m", "hailuo_mcp", "serve"),
                    *("--allow", "${user_config.allowed_dirs}"),
                ],
                "env": {
                    KEY_VARIABLE: "${user_config.api_key}",
                    variable("output_dir"): "${user_config.output_dir}",
                },
            },
        },
        "user_config": {
            "api_key": {
                "type": "string",
                "title": "DMXAPI key",
                "description": f"{_meaning('api_key')} It begins with sk-.",
                "sensitive": True,
                "required": True,
            },
            "output_dir": {
                "type": "directory",
                "title": "Folder for videos",
                "description": f"{_meaning('output_dir')} Without one: Hailuo, in your videos folder.",
                "required": False,
            },
            "allowed_dirs": {
                "type": "directory",
                "title": "Folders with pictures",
                "description": "Folders that frames may be read from. Without one: your home folder.",
                "multiple": True,
                "required": False,
            },
        },
        "tools": [
            {"name": tool.name, "description": " ".join((tool.description or "").split())}
            for tool in await build_server(load_settings()).list_tools()
            if for_models(tool.meta)
        ],
        "prompts_generated": True,
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": about["Requires-Python"]},
        },
    }


def project() -> str:
    """The pyproject.toml from which uv installs the package and what it needs."""
    about = importlib.metadata.metadata(NAME)
    needs = [need for need in importlib.metadata.requires(NAME) or () if not re.search(r";.*\bextra\b", need)]
    listed = "".join(f"  {json.dumps(need)},\n" for need in sorted(needs))
    return (
        f'[build-system]\nrequires = {json.dumps(["hatchling>=1.27,<2"])}\nbuild-backend = "hatchling.build"\n\n'
        f'[project]\nname = "{NAME}"\nversion = "{about["Version"]}"\n'
        f"requires-python = {json.dumps(about['Requires-Python'])}\ndependencies = [\n{listed}]\n\n"
        '[tool.hatch.build.targets.wheel]\npackages = ["hailuo_mcp"]\n'
    )


def _meaning(setting: str) -> str:
    return Settings.model_fields[setting].description or ""
