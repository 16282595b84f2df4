import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailuo_mcp import camera

DOCUMENT = "左移 右移 左摇 右摇 推进 拉远 上升 下降 上摇 下摇 变焦推近 变焦拉远 晃动 跟随 固定"


def test_the_commands_are_the_fifteen_of_the_document() -> None:
    assert [command.text for command in camera.COMMANDS] == DOCUMENT.split()


@pytest.mark.parametrize("command", camera.COMMANDS, ids=lambda command: command.english)
def test_every_command_is_understood_in_both_languages(command: camera.CameraCommand) -> None:
    for name in (command.text, command.english, command.english.upper(), command.english.replace(" ", "-")):
        assert camera.read(f"a [{name}] b").prompt == f"a [{command.text}] b"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("[truck left, pedestal up] roofs", "[左移,上升] roofs"),
        ("[左摇，上升]海", "[左摇,上升]海"),
        ("【推进】花", "[推进]花"),
        ("［拉遠］", "[拉远]"),
        ("[ push in ] then [Pull out]", "[推进] then [拉远]"),
        ("[推进/拉远] [推进 上摇]", "[推进,拉远] [推进,上摇]"),
        ("【夜景 [Push in] 城市】", "【夜景 [推进] 城市】"),
        ("［k] ［拉遠］[x］;【推进】 y]", "［k] [拉远][x］;[推进] y]"),
        ("no brackets", "no brackets"),
    ],
)
def test_brackets_are_sent_in_canonical_text(written: str, sent: str) -> None:
    reading = camera.read(written)
    assert (reading.prompt, reading.problems, reading.warnings) == (sent, (), ())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Push inn", "推进"),
        ("dolly in", "推进"),
        ("推近", "推进"),
        ("向左移", "左移"),
        ("zoom", "变焦推近"),
        ("Truck lefft", "左移"),
        ("slow push in", "推进"),
        ("zoom in slowly", "变焦推近"),
        ("缓慢推进", "推进"),
    ],
)
def test_a_near_miss_is_refused_with_a_suggestion(written: str, meant: str) -> None:
    reading = camera.read(f"[{written}] a flower")
    (problem,) = reading.problems
    assert written in problem
    assert meant in problem


@pytest.mark.parametrize("text", ["[Bakery]", "[固定电话]", "[24/7 open]", "[They push in the door of the old house]"])
def test_other_bracketed_text_passes_with_a_warning(text: str) -> None:
    reading = camera.read(f"A sign reads {text}.")
    assert reading.prompt == f"A sign reads {text}."
    assert reading.problems == ()
    assert text in reading.warnings[0]


def test_more_than_three_commands_in_one_bracket_warn() -> None:
    (warning,) = camera.read("[Push in, Tilt up, Shake, Pan left]").warnings
    assert "4 commands" in warning


def test_many_slips_are_told_once_each_and_not_without_end() -> None:
    assert len(camera.read("[Push inn] " * 100).problems) == 1
    problems = camera.read(" ".join(f"[Push in{a}{b}]" for a in "abcde" for b in "vwxyz")).problems
    assert problems[-1] == "prompt: 15 more brackets are like these"


def test_moves_stand_in_order_and_where_they_act() -> None:
    reading = camera.read("[Push in] a flower, then [Pull out, Shake] the field")
    assert [[command.text for command in move.commands] for move in reading.moves] == [["推进"], ["拉远", "晃动"]]
    assert [reading.prompt[move.at] for move in reading.moves] == ["[", "["]


@given(st.text(st.sampled_from("[]【】［］,，推进 a左移Push in"), max_size=60))
def test_reading_a_sent_prompt_again_changes_nothing(prompt: str) -> None:
    once = camera.read(prompt)
    assert camera.read(once.prompt).prompt == once.prompt
