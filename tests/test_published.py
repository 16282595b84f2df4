"""What is published stays in step with the code, and small."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import rendered

from hailuo_mcp.server import VERSION
from hailuo_mcp.settings import Settings, variable
from hailuo_mcp.setup.bundle import write_bundle

CORE = ("generate_video", "check_status", "get_download_url", "download_video")
CORE_BYTES_MAX = 8_000
FIRST_THREE_BYTES_MAX = 3_420  # below 780 tokens of o200k_base
TOOLS_BYTES_MAX = 14_000
BUNDLE_BYTES_BELOW = 285_000  # the wheel has 13 KB more, the README and a list of its files: below 300 KB


@pytest.fixture
async def listed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.delenv("DMXAPI_API_KEY", raising=False)
    return await rendered.surface()


async def test_the_surface_is_the_reviewed_one(listed: dict[str, Any]) -> None:
    assert rendered.as_text(listed) == rendered.SURFACE.read_text(encoding="utf-8"), "run tests/rendered.py and review"


@pytest.mark.parametrize("path", rendered.READMES, ids=lambda path: path.name)
async def test_the_readme_tables_are_those_of_the_code(listed: dict[str, Any], path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert rendered.readme(text, listed, rendered.READMES[path]) == text, "run tests/rendered.py"


async def test_every_word_of_the_tables_has_chinese_words(listed: dict[str, Any]) -> None:
    path, tongue = list(rendered.READMES.items())[-1]
    rendered.readme(path.read_text(encoding="utf-8"), listed, tongue)
    missing = tongue.used - set(tongue.words) | {tool["name"] for tool in listed["tools"]} - set(tongue.tools)
    assert not missing, "add them to tests/chinese.json, and run tests/rendered.py"


def test_both_readmes_say_the_same() -> None:
    english, chinese = (_skeleton(path.read_text(encoding="utf-8")) for path in rendered.READMES)
    for what, lines in english.items():
        assert chinese[what] == lines, f"the Chinese README differs in {what}"


def test_every_explained_error_is_one_that_is_said() -> None:
    said = "".join(path.read_text(encoding="utf-8") for path in (rendered.ROOT / "hailuo_mcp").rglob("*.py"))
    explained = _skeleton(rendered.README.read_text(encoding="utf-8"))["explained errors"]
    assert explained
    assert not [words for words in explained for part in words.split("...") if part.strip() not in said]


def _skeleton(text: str) -> dict[str, Any]:
    """What does not depend on the language: commands, examples, pictures, settings, the errors explained, sections."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return {
        "code blocks": [(kind, re.sub(r" +# .*", "", block)) for kind, block in blocks],
        "pictures": re.findall(r"!\[.*?\]\((.*?)\)", text),
        "explained errors": re.findall(r'\*"(.*?)"\*', text.split("doctor` ")[-1]),
        "settings named": sorted(set(re.findall(r"\b(?:HAILUO|DMXAPI)_[A-Z_]+", text))),
        "sections": len(re.findall(r"^## ", text, re.MULTILINE)),
    }


def test_server_json_is_in_step_with_the_package() -> None:
    assert rendered.as_text(rendered.server_json()) == rendered.SERVER_JSON.read_text(encoding="utf-8")


def test_server_json_is_what_the_registry_accepts() -> None:
    schema = json.loads((rendered.ROOT / "tests" / "schemas" / "server.schema.json").read_text(encoding="utf-8"))
    described = rendered.server_json("0" * 64)
    jsonschema.validate(described, schema)
    offered = [(package["registryType"], package["transport"]["type"]) for package in described["packages"]]
    assert offered == [("pypi", "stdio"), ("pypi", "streamable-http"), ("mcpb", "stdio")]
    assert len({package["version"] for package in described["packages"]}) == 1
    assert described["name"] in rendered.README.read_text(encoding="utf-8").split("mcp-name: ")[1], "the owner's mark"


def test_the_registry_is_told_every_setting_and_which_are_secret() -> None:
    listed = rendered.server_json()["packages"][1]["environmentVariables"]
    assert {item["name"] for item in listed} == {variable(name) for name in Settings.model_fields}
    assert all(item["description"] for item in listed)
    secret = {item["name"] for item in listed if item.get("isSecret")}
    assert secret >= {"DMXAPI_API_KEY", "HAILUO_DATABASE_URL"}


def test_one_version_everywhere() -> None:
    project = tomllib.loads((rendered.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    published = json.loads(rendered.SERVER_JSON.read_text(encoding="utf-8"))
    changelog = (rendered.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert {project["version"], published["version"], published["packages"][0]["version"], newest[1]} == {VERSION}


async def test_the_package_is_small(tmp_path: Path) -> None:
    bundle = await write_bundle(tmp_path / "x.mcpb")  # holds what the wheel holds
    assert bundle.stat().st_size < BUNDLE_BYTES_BELOW


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
