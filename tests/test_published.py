"""What is published stays in step with the code, and small."""

import json
import re
import tomllib
from typing import Any

import jsonschema
import pytest
import rendered

from hailuo_mcp.server import VERSION

CORE = ("generate_video", "check_status", "get_download_url", "download_video")
CORE_BYTES_MAX = 8_000
FIRST_THREE_BYTES_MAX = 3_450  # about 780 tokens of o200k_base
TOOLS_BYTES_MAX = 14_000


@pytest.fixture
async def listed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.delenv("DMXAPI_API_KEY", raising=False)
    return await rendered.surface()


async def test_the_surface_is_the_reviewed_one(listed: dict[str, Any]) -> None:
    assert rendered.as_text(listed) == rendered.SURFACE.read_text(encoding="utf-8"), "run tests/rendered.py and review"


async def test_the_readme_tables_are_those_of_the_code(listed: dict[str, Any]) -> None:
    text = rendered.README.read_text(encoding="utf-8")
    assert rendered.readme(text, listed) == text, "run tests/rendered.py"


def test_server_json_is_in_step_with_the_package() -> None:
    assert rendered.as_text(rendered.server_json()) == rendered.SERVER_JSON.read_text(encoding="utf-8")


def test_server_json_is_what_the_registry_accepts() -> None:
    schema = json.loads((rendered.ROOT / "tests" / "schemas" / "server.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(rendered.server_json(), schema)


def test_one_version_everywhere() -> None:
    project = tomllib.loads((rendered.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    published = json.loads(rendered.SERVER_JSON.read_text(encoding="utf-8"))
    changelog = (rendered.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert {project["version"], published["version"], published["packages"][0]["version"], newest[1]} == {VERSION}


async def test_the_tools_cost_a_model_little(listed: dict[str, Any]) -> None:
    core = [tool for tool in listed["tools"] if tool["name"] in CORE]
    limits = ((core[:3], FIRST_THREE_BYTES_MAX), (core, CORE_BYTES_MAX), (listed["tools"], TOOLS_BYTES_MAX))
    for tools, most in limits:
        # What stands in `_meta` is for the host; it does not reach the model.
        shown = [{key: value for key, value in tool.items() if key != "_meta"} for tool in tools]
        assert len(json.dumps({"tools": shown}, ensure_ascii=False).encode()) <= most


async def test_every_schema_is_valid_and_closed(listed: dict[str, Any]) -> None:
    for tool in listed["tools"]:
        jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
        jsonschema.Draft202012Validator.check_schema(tool["outputSchema"])
        assert tool["inputSchema"]["additionalProperties"] is False
        assert not {"anyOf", "oneOf", "allOf"} & set(tool["inputSchema"]), "some hosts reject the whole list"


async def test_the_schema_enforces_the_limits_of_the_document(listed: dict[str, Any]) -> None:
    (schema,) = [tool["inputSchema"] for tool in listed["tools"] if tool["name"] == "generate_video"]
    properties = schema["properties"]
    assert (properties["prompt"]["minLength"], properties["prompt"]["maxLength"]) == (1, 2000)
    assert (properties["duration"]["enum"], properties["duration"]["default"]) == ([6, 10], 6)
    assert (properties["resolution"]["enum"], properties["resolution"]["default"]) == (["768P", "1080P"], "768P")
    assert (properties["prompt_optimizer"]["default"], properties["aigc_watermark"]["default"]) == (True, False)
    assert schema["required"] == ["prompt"]


async def test_hints_are_true(listed: dict[str, Any]) -> None:
    read_only = {tool["name"] for tool in listed["tools"] if tool["annotations"]["readOnlyHint"]}
    assert not read_only & {"generate_video", "download_video", "preview_video", "view_video"}
