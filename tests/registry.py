"""server.json: what the registry of MCP servers is told, from live objects."""

import types
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from hailuo_mcp.server import VERSION
from hailuo_mcp.settings import Settings, variable

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
NAME = "io.github.hailuo-mcp/hailuo-mcp"
BUNDLE = f"https://github.com/hailuo-mcp/hailuo-mcp/releases/download/v{VERSION}/hailuo-mcp-{VERSION}.mcpb"
PYPI = {"registryType": "pypi", "identifier": "hailuo-mcp", "version": VERSION, "runtimeHint": "uvx"}


def server_json(bundle_sha256: str | None = None) -> dict[str, Any]:
    """The description. `tests/packed.py` gives the sum of the bundle, which a release needs."""
    stdio = [_environment(name) for name in Settings.model_fields if not name.startswith("http_")]
    return {
        "$schema": SCHEMA,
        "name": NAME,
        "title": "Hailuo first/last-frame video",
        "description": "AI video from a first and a last picture, with MiniMax-Hailuo-02 through DMXAPI",
        "version": VERSION,
        "packages": [
            PYPI | {"transport": {"type": "stdio"}, "environmentVariables": stdio},
            PYPI
            | {
                "transport": {"type": "streamable-http", "url": "http://127.0.0.1:{--port}/mcp"},
                "packageArguments": _serve_http(),
                "environmentVariables": [_environment(name) for name in Settings.model_fields],
            },
            {
                "registryType": "mcpb",
                "identifier": BUNDLE,
                "version": VERSION,
                **({"fileSha256": bundle_sha256} if bundle_sha256 else {}),
                "transport": {"type": "stdio"},
            },
        ],
        "remotes": [
            {
                "type": "streamable-http",
                "url": "https://{host}/mcp",
                "variables": {
                    "host": {
                        "description": "Where you, or somebody for you, host this server behind TLS.",
                        "isRequired": True,
                        "placeholder": "video.example.com",
                    }
                },
                "headers": [
                    {
                        "name": "Authorization",
                        "description": "What the host of the server asks for.",
                        "isSecret": True,
                        "placeholder": "Bearer ...",
                    }
                ],
            }
        ],
    }


def _serve_http() -> list[dict[str, Any]]:
    return [
        {"type": "positional", "value": "serve"},
        {"type": "named", "name": "--transport", "value": "streamable-http"},
        {
            "type": "named",
            "name": "--port",
            "description": "The port of this machine to listen at.",
            "format": "number",
            "default": "8000",
        },
    ]


def _environment(name: str) -> dict[str, Any]:
    field = Settings.model_fields[name]
    extra = field.json_schema_extra
    shown = extra.get("shown") if isinstance(extra, dict) else None
    described: dict[str, Any] = {
        "name": variable(name),
        "description": f"{field.description} Default: {shown}." if shown else field.description,
    }
    if "SecretStr" in str(field.annotation):
        described["isSecret"] = True
    if name == "api_key":
        described |= {"isRequired": True, "placeholder": "sk-..."}
    if isinstance(field.default, (str, int, float)):
        described["default"] = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    return described | _form(field)


def _form(field: FieldInfo) -> dict[str, Any]:
    """What kind of text the variable takes."""
    kind: Any = field.annotation
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if typing.get_origin(kind) is typing.Literal:
        return {"choices": list(typing.get_args(kind))}
    name = {bool: "boolean", int: "number", float: "number", Path: "filepath"}.get(kind)
    return {"format": name} if name else {}
