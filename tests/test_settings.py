import os
from pathlib import Path

import pytest

from hailuo_mcp.errors import NotConfigured
from hailuo_mcp.settings import load_settings, variable

KEY = "sk-very-secret-key-0123456789"


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.base_url == "https://www.dmxapi.cn"
    assert settings.api_key is None
    assert settings.output_dir.is_absolute()


def test_the_key_appears_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMXAPI_API_KEY", f" {KEY} ")
    monkeypatch.setenv("HAILUO_DATABASE_URL", "postgresql://me:hidden@db/x")
    settings = load_settings()
    assert settings.require_key() == KEY
    assert KEY not in repr(settings) + str(settings) + settings.model_dump_json()
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize("value", ["", "  ", "${DMXAPI_API_KEY}", "${input:dmxapi-key}"])
def test_a_key_that_the_host_did_not_fill_in_counts_as_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DMXAPI_API_KEY", value)
    with pytest.raises(NotConfigured, match="DMXAPI_API_KEY"):
        load_settings().require_key()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DMXAPI_API_KEY", "sk-a b", "DMXAPI_API_KEY: holds characters"),
        ("HAILUO_BASE_URL", "www.dmxapi.cn", "HAILUO_BASE_URL: must be like"),
        ("HAILUO_BASE_URL", "http://www.dmxapi.cn", "must be https"),
        ("HAILUO_OUTPUT_DIR", "videos", "HAILUO_OUTPUT_DIR: must be a full path"),
        ("HAILUO_POLL_INTERVAL", "soon", r"HAILUO_POLL_INTERVAL: must be a valid number \(got 'soon'\)"),
        ("HAILUO_CONFIRM", "perhaps", r"HAILUO_CONFIRM: must be 'never' or 'always' \(got 'perhaps'\)"),
        ("HAILUO_MAX_VIDEOS_PER_DAY", "-1", "HAILUO_MAX_VIDEOS_PER_DAY"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(NotConfigured, match=words) as caught:
        load_settings()
    assert "sk-a b" not in str(caught.value)


def test_a_setting_that_there_is_not_is_named_without_its_value() -> None:
    with pytest.raises(NotConfigured, match="DMXAPI_API_KEY: there is no such setting") as caught:
        load_settings(**{"DMXAPI_API_KEY": KEY})
    assert KEY not in str(caught.value)


def test_variables_are_found_in_any_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("hailuo_output_dir", str(tmp_path))
    assert load_settings().output_dir == tmp_path


def test_folders_are_split_and_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAILUO_ALLOWED_DIRS", os.pathsep.join(["~/Pictures", str(tmp_path)]))
    assert load_settings().allowed_dirs == (Path.home() / "Pictures", tmp_path)


def test_over_http_local_paths_are_off_unless_folders_are_named(tmp_path: Path) -> None:
    assert load_settings().frame_folders("streamable-http") == ()
    assert Path.home() in load_settings().frame_folders("stdio")
    assert tmp_path in load_settings(allowed_dirs=(tmp_path,)).frame_folders("streamable-http")


def test_a_base_url_may_carry_the_version_of_the_api() -> None:
    assert load_settings(base_url="http://127.0.0.1:80/v1/").base_url == "http://127.0.0.1:80"


@pytest.mark.parametrize("nothing", ["", " ", "${user_config.value}"])
def test_what_a_host_left_blank_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, nothing: str) -> None:
    usual = load_settings()
    for field in type(usual).model_fields:
        monkeypatch.setenv(variable(field), nothing)
    assert load_settings() == usual


def test_words_are_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAILUO_LOG_LEVEL", "debug")
    monkeypatch.setenv("HAILUO_CONFIRM", "Always")
    settings = load_settings()
    assert (settings.log_level, settings.confirm) == ("DEBUG", "always")
