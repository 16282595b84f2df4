"""Films as a client makes them: planned for free, paid for once, carried on through bad luck, joined into one file."""

import itertools
import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, ImageContent, ResourceLink
from world import KEY, Time, World, play, text
from world import world as any_world

from hailuo_mcp import video
from hailuo_mcp.media import mp4
from hailuo_mcp.simulator import Fault, Simulator

COLOURS = ("navy", "teal", "maroon", "gold", "olive", "purple")
FRAMES = 144  # of a shot of 6 s


def world(folder: Path, **more: Any) -> AbstractAsyncContextManager[World]:
    """A world in which no submit counts as lost because a busy machine took long to send it."""
    return any_world(folder, **{"submit_timeout": 1800} | more)


def keyframes(w: World, count: int) -> list[str]:
    return [w.picture(f"{at}.jpg", colour=COLOURS[at % len(COLOURS)]) for at in range(count)]


def shots(count: int) -> list[dict[str, Any]]:
    moves = ("Push in", "Pan left", "Pull out", "Tilt up", "Static shot")
    return [{"prompt": f"[{moves[at % len(moves)]}] scene {at + 1}"} for at in range(count)]


async def begun(w: World, count: int = 3, **more: Any) -> str:
    """The id of a film that is confirmed."""
    arguments = {"keyframes": keyframes(w, count + 1), "shots": shots(count), "confirm": True}
    return str((await w.do("create_film", **arguments | more))["film_id"])


async def ended(w: World, film_id: str) -> dict[str, Any]:
    """How the film stands once it cannot go on by itself."""
    status = await w.do("check_status", task_id=film_id, wait_seconds=50)
    for _ in range(60):
        if status["status"] != "Processing":
            return status
        status = await w.do("check_status", task_id=film_id, wait_seconds=50)
    raise AssertionError(status)


def standing(status: dict[str, Any]) -> list[str]:
    return [shot["status"] for shot in status["shots"]]


def pictures(result: CallToolResult) -> int:
    return sum(isinstance(block, ImageContent) for block in result.content)


def billed(w: World) -> list[str]:
    return sorted(bill.prompt for bill in w.simulator.ledger)


# Before anything is paid


async def test_a_plan_says_everything_and_costs_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        result = await w.call("create_film", keyframes=keyframes(w, 4), shots=shots(3))
        plan = dict(result.structured_content or {})
        assert (plan["film_id"], plan["videos_to_pay"], plan["seconds"], plan["failure"]) == (None, 3, 18, None)
        assert [shot["prompt"] for shot in plan["shots"]] == ["[推进] scene 1", "[左摇] scene 2", "[拉远] scene 3"]
        assert pictures(result) == 1
        assert "pays for 3 videos at 768P, at most 3 side by side, and takes about 1-5 minutes" in text(result)
        assert w.simulator.requests == []
        assert (await w.do("list_videos"))["videos"] == []


async def test_a_plan_tells_all_problems_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, max_videos_per_day=2) as w:
        result = await w.call(
            "create_film",
            keyframes=[w.picture("a.jpg"), w.picture("small.jpg", (900, 200)), str(tmp_path / "gone.jpg"), ""],
            shots=[{"prompt": "[Push inn] x"}, {"prompt": "y", "duration": 10}, {"prompt": "z"}],
            resolution="1080P",
        )
        problems = text(result)
        for part in (
            "keyframe 2: ",
            "keyframe 3: ",
            "does not exist",
            "shot 1: prompt: [Push inn] is not a camera command; did you mean [Push in]",
            "shot 2: duration: 1080P allows 6 seconds only (got 10)",
            "HAILUO_MAX_VIDEOS_PER_DAY=2 leaves 2",
        ):
            assert part in problems, problems
        refused = await w.fail(
            "create_film", keyframes=[str(tmp_path / "gone.jpg")], shots=[{"prompt": "x"}], confirm=True
        )
        assert "Nothing was sent and nothing was paid" in refused
        assert w.simulator.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"keyframes": [], "shots": [{"prompt": "x"}]}, "keyframes: at least one picture is needed"),
        ({"keyframes": ["", " "], "shots": [{"prompt": "x"}]}, "keyframes: at least one picture is needed"),
        (
            {"keyframes": ["/a", "/b", "/c"], "shots": [{"prompt": "x"}]},
            "keyframes: 3 are too many for 1 shots; at most 2",
        ),
        ({"keyframes": ["/a"], "shots": []}, "shots: must be at least 1 (got 0)"),
        ({"keyframes": ["/a"], "shots": [{"prompt": "x"}, {"prompt": ""}]}, "shots 2, prompt: must not be empty"),
        (
            {"keyframes": ["/a"], "shots": [{"prompt": "x", "duration": 7}]},
            "shots 1, duration: must be 6 or 10 (got 7)",
        ),
        ({"keyframes": ["/a"], "shots": [{"prompt": "x", "lenght": 6}]}, "shots 1, lenght: no such argument"),
        ({"keyframes": ["/a"], "shots": ["x"]}, 'shots 1: must be like {"prompt": "...", "duration": 6}'),
        ({"keyframes": "/a", "shots": [{"prompt": "x"}]}, "keyframes: must be a list (got '/a')"),
        ({"keyframes": ["/a"], "shots": [{"prompt": "x"}], "confrim": True}, "did you mean confirm?"),
        ({"keyframes": ["/a"], "shots": [{"prompt": "x"}], "film_id": "film-x"}, "No film film-x is in the journal"),
    ],
)
async def test_a_misunderstanding_is_told_in_words(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    async with world(tmp_path) as w:
        assert words in await w.fail("create_film", **arguments)
        assert w.simulator.requests == []


async def test_pictures_of_other_shapes_are_warned_of(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        frames = [w.picture("a.jpg"), w.picture("b.jpg", (640, 640)), w.picture("c.jpg")]
        warnings = (await w.do("create_film", keyframes=frames, shots=shots(2)))["warnings"]
    assert any("shot 1: the model will crop 44% of keyframe 2" in warning for warning in warnings)
    assert any("shot 2 comes out in another shape than shot 1" in warning for warning in warnings)


async def test_a_preview_draws_the_whole_film_for_free(tmp_path: Path) -> None:
    async with world(tmp_path, api_key=None) as w:
        result = await w.call("create_film", keyframes=[w.picture()], shots=shots(2), preview=True, confirm=True)
        sketch = dict(result.structured_content or {})
        assert round(mp4.inspect(Path(sketch["path"])).seconds) == 12
        assert pictures(result) == 1
        assert w.simulator.requests == []


# The film


async def test_keyframes_become_one_film(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w)
        result = await w.call("check_status", task_id=film_id, wait_seconds=50)
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 3
        facts = mp4.inspect(Path(status["path"]))
        assert (facts.frames, facts.fast_start) == (3 * FRAMES, True)
        assert abs(facts.seconds - (18 - 2 / 24)) < 0.02
        assert billed(w) == ["[左摇] scene 2", "[拉远] scene 3", "[推进] scene 1"]

        result = await w.call("check_status", task_id=film_id)
        assert "joined without encoding" in text(result)
        (link,) = (block for block in result.content if isinstance(block, ResourceLink))
        assert link.uri == Path(status["path"]).as_uri()
        assert pictures(await w.call("view_video", task_id=film_id)) == 1
        assert (await w.do("download_video", task_id=film_id))["path"] == status["path"]
        assert "is a film" in await w.fail("get_download_url", task_id=film_id)

        listed = await w.call("list_videos")
        assert text(listed).splitlines()[0].startswith(f"- film {film_id}: Success, 3 of 3 shots at home")
        assert [" shot " in line for line in text(listed).splitlines()] == [False, True, True, True]
        (row,) = dict(listed.structured_content or {})["films"]
        assert (row["film_id"], row["paid"]) == (film_id, 3)
        for uri in ("hailuo://films", f"hailuo://films/{film_id}"):
            (content,) = (await w.client.read_resource(uri)).contents
            assert film_id in content.text  # type: ignore[union-attr]


async def test_a_shot_with_an_open_end_is_waited_for_and_gone_on_from(tmp_path: Path) -> None:
    async with world(tmp_path, short_side=304) as w:
        frames = [w.picture(), "", w.picture("c.jpg", colour="gold")]
        plan = await w.call("create_film", keyframes=frames, shots=shots(3))
        assert "shot 2, 6 s: from the end of shot 1, so it waits for that" in text(plan)
        assert "about 2-10 minutes" in text(plan)
        film_id = await begun(w, keyframes=frames)
        await w.do("check_status", task_id=film_id)
        assert billed(w) == ["[拉远] scene 3", "[推进] scene 1"]
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 3
        clips = [Path(shot["path"]) for shot in status["shots"]]
        for before, after in itertools.pairwise(clips):
            assert video.likeness(video.read_frame(before, "last"), video.read_frame(after, "first")) > 0.9


async def test_shots_run_side_by_side_within_the_limits(tmp_path: Path) -> None:
    async with world(tmp_path, film_shots_at_once=2, film_shots_per_minute=3) as w:
        film_id = await begun(w, 5)
        await ended(w, film_id)
        times = [bill.at for bill in w.simulator.ledger]
    assert len(times) == 5
    for at in times:
        assert sum(at <= other < at + 60 for other in times) <= 3
        assert sum(at - 30 < other <= at for other in times) <= 2, "a video takes 30 s"


async def test_the_same_film_asked_for_again_is_not_paid_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w)
        again = await w.call("create_film", keyframes=keyframes(w, 4), shots=shots(3), confirm=True)
        assert dict(again.structured_content or {})["film_id"] == film_id
        assert "nothing more is paid" in text(again)
        await ended(w, film_id)
        assert len(w.simulator.ledger) == 3
        other = await begun(w, take=2)
        assert other != film_id


async def test_two_shots_that_are_alike_are_two_videos(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        frame = w.picture()
        film_id = await begun(w, keyframes=[frame] * 3, shots=[{"prompt": "the same"}] * 2)
        assert standing(await ended(w, film_id)) == ["Success"] * 2
        assert len(w.simulator.ledger) == 2


async def test_an_exact_film_has_a_constant_rate_and_says_that_it_was_encoded(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 2, exact=True)
        status = await ended(w, film_id)
        assert mp4.inspect(Path(status["path"])).frames == 2 * FRAMES - 1
        assert "encoded anew, as a constant frame rate was asked for" in text(
            await w.call("check_status", task_id=film_id)
        )


async def test_a_film_can_be_lengthened_and_not_twice_by_mistake(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 2)
        first = await ended(w, film_id)
        more = {
            "film_id": film_id,
            "keyframes": [w.picture("end.jpg", colour="white")],
            "shots": [{"prompt": "the end"}],
        }
        plan = await w.do("create_film", **more)
        assert (plan["videos_to_pay"], plan["shots"][0]["shot"]) == (1, 3)
        for _ in range(2):
            await w.do("create_film", **more, confirm=True)
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 3
        assert len(w.simulator.ledger) == 3
        assert status["path"] != first["path"]
        assert mp4.inspect(Path(status["path"])).frames == 3 * FRAMES
        assert Path(first["path"]).is_file()


# Bad luck


async def test_a_failed_shot_is_retaken_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for words in (["Success"], [("Failed", 1027)], ["Success"]):
            w.simulator.script(words)
        film_id = await begun(w)
        status = await ended(w, film_id)
        assert (status["status"], sorted(standing(status))) == ("Failed", ["Failed", "Success", "Success"])
        failed = standing(status).index("Failed") + 1
        assert f'retake_shot(film_id="{film_id}", shot={failed})' in status["failure"]
        kept = {shot["path"] for shot in status["shots"] if "path" in shot}
        retaken = await w.do("retake_shot", film_id=film_id, shot=failed, prompt="[Static shot] a calmer scene")
        assert retaken["shots"][failed - 1]["take"] == 2
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 3
        assert kept < {shot["path"] for shot in status["shots"]}
        assert len(w.simulator.ledger) == 4
        assert w.simulator.ledger[-1].prompt == "[固定] a calmer scene"


async def test_a_retake_of_a_good_shot_replaces_it_only_when_it_is_good(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 2)
        first = await ended(w, film_id)
        w.simulator.script([("Failed", 1027)])
        await w.do("retake_shot", film_id=film_id, shot=1)
        status = await ended(w, film_id)
        assert (status["status"], standing(status)) == ("Success", ["Success"] * 2)
        assert status["shots"][0]["path"] == first["shots"][0]["path"]
        assert "take 2 came to nothing, the one before is kept" in text(await w.call("check_status", task_id=film_id))
        await w.do("retake_shot", film_id=film_id, shot=1, last_frame_image=w.picture("other.jpg", colour="pink"))
        status = await ended(w, film_id)
        assert status["shots"][0]["path"] != first["shots"][0]["path"]
        assert len(w.simulator.ledger) == 4


async def test_a_shot_under_way_is_not_retaken(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 2)
        await w.do("check_status", task_id=film_id, wait_seconds=10)
        assert "shot: 1 is under way" in await w.fail("retake_shot", film_id=film_id, shot=1)
        assert "the film has shots 1 to 2 (got 3)" in await w.fail("retake_shot", film_id=film_id, shot=3)
        assert len(w.simulator.ledger) == 2


async def test_a_refusal_waits_for_a_person(tmp_path: Path) -> None:
    async with world(tmp_path, short_side=304) as w:
        w.simulator.balance = 1
        film_id = await begun(w, 2, keyframes=[w.picture()])
        status = await ended(w, film_id)
        assert standing(status) == ["Success", "Refused"]
        assert "insufficient balance" in status["failure"]
        submits = w.calls("submit")
        await w.time.advance(3600)
        await w.do("check_status", task_id=film_id)
        assert w.calls("submit") == submits, "what was refused is not asked again by itself"
        w.simulator.balance = None
        await w.do("retake_shot", film_id=film_id, shot=2)
        assert standing(await ended(w, film_id)) == ["Success"] * 2
        assert len(w.simulator.ledger) == 2


async def test_rate_limits_are_waited_out_without_paying_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit += [
            Fault(code=1002),
            Fault(code=1039),
            Fault(status=429, headers={"Retry-After": "60"}),
        ]
        film_id = await begun(w)
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 3
        assert len(w.simulator.ledger) == 3
        assert len((await w.do("list_videos"))["videos"]) == 3, "one record for each shot, not one for each refusal"


async def test_the_pause_that_the_api_asks_for_is_kept_however_often_somebody_looks(tmp_path: Path) -> None:
    async with world(tmp_path, film_shots_at_once=1) as w:
        w.simulator.faults.submit += [Fault(status=429, headers={"Retry-After": "100"})]
        film_id = await begun(w, 1)
        while not w.calls("submit"):
            await w.do("check_status", task_id=film_id, wait_seconds=1)
        asked = next(request.at for request in w.simulator.requests if request.call == "submit")
        for _ in range(6):
            status = await w.do("check_status", task_id=film_id, wait_seconds=10)
        assert (status["status"], bool(status["failure"])) == ("Processing", True)
        assert w.calls("submit") == 1
        assert standing(await ended(w, film_id)) == ["Success"]
        assert w.simulator.ledger[0].at - asked >= 100
        assert w.calls("submit") == 2


async def test_a_shot_that_goes_on_from_one_that_cannot_be_fetched_yet_waits(tmp_path: Path) -> None:
    async with world(tmp_path, short_side=304) as w:
        w.simulator.faults.retrieve += [Fault(status=503)] * 8
        film_id = await begun(w, 2, keyframes=[w.picture()])
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 2, status["failure"]
        assert len(w.simulator.ledger) == 2


async def test_a_damaged_shot_is_fetched_again_before_the_next_one_goes_on_from_it(tmp_path: Path) -> None:
    async with world(tmp_path, short_side=304, film_shots_per_minute=1) as w:
        film_id = await begun(w, 2, keyframes=[w.picture()])
        status = await w.do("check_status", task_id=film_id)
        while "path" not in status["shots"][0]:
            status = await w.do("check_status", task_id=film_id, wait_seconds=1)
        assert w.calls("submit") == 1
        path = Path(status["shots"][0]["path"])
        path.write_bytes(path.read_bytes()[:20_000])
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 2, status["failure"]
        assert len(w.simulator.ledger) == 2


async def test_a_task_that_was_found_for_a_retake_replaces_the_take_before(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 1)
        first = await ended(w, film_id)
        w.simulator.faults.submit += [Fault(drop="after")]
        await w.do("retake_shot", film_id=film_id, shot=1)
        kept = await ended(w, film_id)
        assert kept["shots"][0]["path"] == first["shots"][0]["path"]
        assert "take 2 may have been paid for" in text(await w.call("check_status", task_id=film_id))
        await w.do("retake_shot", film_id=film_id, shot=1, task_id=w.simulator.ledger[1].task_id)
        status = await ended(w, film_id)
        assert status["shots"][0]["task_id"] == w.simulator.ledger[1].task_id
        assert status["shots"][0]["path"] != first["shots"][0]["path"]
        assert len(w.simulator.ledger) == 2


async def test_an_unconfirmed_shot_is_never_resent_and_a_task_that_was_found_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.simulator.faults.submit += [Fault(drop="after")]
        film_id = await begun(w, 2)
        status = await ended(w, film_id)
        assert sorted(standing(status)) == ["Success", "Unconfirmed"]
        lost = standing(status).index("Unconfirmed") + 1
        assert "may have been paid for" in status["failure"]
        told = text(await w.call("check_status"))
        assert f"tells what to do about shot {lost}" in told
        assert "videos paid for so far: 2, 1 of them perhaps" in text(await w.call("check_status", task_id=film_id))
        known = {shot.get("task_id") for shot in status["shots"]}
        (found,) = (bill.task_id for bill in w.simulator.ledger if bill.task_id not in known)
        assert "is not unconfirmed" in await w.fail("retake_shot", film_id=film_id, shot=3 - lost, task_id=found)
        await w.do("retake_shot", film_id=film_id, shot=lost, task_id=found)
        assert standing(await ended(w, film_id)) == ["Success"] * 2
        assert len(w.simulator.ledger) == 2


async def test_a_budget_that_is_used_up_midway_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path, max_videos_per_day=3, film_shots_at_once=1) as w:
        film_id = await begun(w, 3)
        for at in range(2):
            await w.do("generate_video", prompt=f"something else {at}")
        status = await w.do("check_status", task_id=film_id)
        for _ in range(100):
            if status["failure"]:
                break
            status = await w.do("check_status", task_id=film_id, wait_seconds=50)
        assert status["status"] == "Processing"
        assert "HAILUO_MAX_VIDEOS_PER_DAY" in status["failure"]
        assert len(w.simulator.ledger) == 3
        w.time.now += 86_400
        assert standing(await ended(w, film_id)) == ["Success"] * 3
        assert len(w.simulator.ledger) == 5


async def test_a_keyframe_that_vanished_stops_its_shots_only(tmp_path: Path) -> None:
    async with world(tmp_path, film_shots_at_once=1) as w:
        frames = keyframes(w, 3)
        film_id = await begun(w, 2)
        Path(frames[2]).unlink()
        status = await ended(w, film_id)
        assert standing(status) == ["Success", "Refused"]
        assert "does not exist" in status["failure"]
        gone = await w.fail("retake_shot", film_id=film_id, shot=2, last_frame_image=str(tmp_path / "no.jpg"))
        assert "- last_frame_image: " in gone
        await w.do("retake_shot", film_id=film_id, shot=2, last_frame_image=w.picture("new.jpg"))
        assert standing(await ended(w, film_id)) == ["Success"] * 2


async def test_a_shot_whose_file_is_damaged_or_gone_is_fetched_again(tmp_path: Path) -> None:
    async with world(tmp_path, film_shots_at_once=1) as w:
        film_id = await begun(w, 3)
        status = await w.do("check_status", task_id=film_id)
        for _ in range(100):
            if sum("path" in shot for shot in status["shots"]) >= 2:
                break
            status = await w.do("check_status", task_id=film_id, wait_seconds=10)
        first, second = (Path(shot["path"]) for shot in status["shots"][:2])
        first.write_bytes(first.read_bytes()[:20_000])
        second.unlink()
        status = await ended(w, film_id)
        assert (status["status"], standing(status)) == ("Success", ["Success"] * 3), status["failure"]
        assert mp4.inspect(Path(status["path"])).frames == 3 * FRAMES
        assert len(w.simulator.ledger) == 3
        assert first.stat().st_size == 20_000, "what a person may have changed is left alone"


async def test_a_film_whose_file_is_gone_is_joined_again_for_free_and_saved_under_any_name(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 1)
        path = Path((await ended(w, film_id))["path"])
        copy = await w.do("download_video", task_id=film_id, filename="dawn")
        assert Path(copy["path"]).name == "dawn.mp4"
        assert Path(copy["path"]).read_bytes() == path.read_bytes()
        path.unlink()
        shot = Path((await w.do("check_status", task_id=film_id))["shots"][0]["path"])
        shot.unlink()
        assert "are gone; download_video" in await w.fail("view_video", task_id=film_id)
        again = await w.do("download_video", task_id=film_id)
        assert mp4.inspect(Path(again["path"])).frames == FRAMES
        assert len(w.simulator.ledger) == 1


async def test_a_film_is_a_source_of_frames_once_it_is_joined(tmp_path: Path) -> None:
    async with world(tmp_path, short_side=304) as w:
        film_id = await begun(w, 1)
        frame = f"hailuo://videos/{film_id}/last-frame"
        assert "is not joined yet" in await w.fail("generate_video", prompt="on", first_frame_image=frame)
        await ended(w, film_id)
        await w.do("generate_video", prompt="on and on", first_frame_image=frame)
        assert len(w.simulator.ledger) == 2


async def test_what_is_under_way_tells_of_films_too(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 2)
        result = await w.call("check_status")
        assert f"- film {film_id}: Processing, 0 of 2 shots at home" in text(result)
        assert dict(result.structured_content or {})["under_way"][0]["film_id"] == film_id
        await ended(w, film_id)
        assert text(await w.call("check_status")) == "No video is under way."


async def test_a_film_is_not_lengthened_beyond_the_shots_that_can_be_retaken(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        film_id = await begun(w, 1)
        await ended(w, film_id)
        assert "this one can be lengthened by 59 (got 60)" in await w.fail(
            "create_film", film_id=film_id, keyframes=[], shots=shots(60)
        )


# Restarts, replicas, the person


async def test_a_film_goes_on_after_a_restart(tmp_path: Path) -> None:
    time = Time()
    simulator = Simulator(keys=(KEY,), generation_seconds=30, short_side=144, clock=time.clock, folder=tmp_path / "s")
    async with simulator:
        async with play(tmp_path, simulator, time, film_shots_at_once=1) as w:
            film_id = await begun(w, 3)
        async with play(tmp_path, simulator, time, collect=True) as w:
            for _ in range(300):
                await w.time.advance(30)
                (content,) = (await w.client.read_resource(f"hailuo://films/{film_id}")).contents
                if json.loads(content.text)["status"] == "Success":  # type: ignore[union-attr]
                    break
            assert "film-" in json.loads(content.text)["path"]  # type: ignore[union-attr]
            assert len(simulator.ledger) == 3


async def test_two_servers_carry_a_film_on_together_and_pay_once(tmp_path: Path) -> None:
    time = Time()
    simulator = Simulator(keys=(KEY,), generation_seconds=30, short_side=144, clock=time.clock, folder=tmp_path / "s")
    async with (
        simulator,
        play(tmp_path, simulator, time, collect=True) as one,
        play(tmp_path, simulator, time, collect=True) as two,
    ):
        film_id = await begun(one, 4)
        assert (await two.do("create_film", keyframes=keyframes(two, 5), shots=shots(4), confirm=True))[
            "film_id"
        ] == film_id
        assert standing(await ended(two, film_id)) == ["Success"] * 4
        assert len(simulator.ledger) == 4
        assert len([*(tmp_path / "videos").glob("film-*.mp4")]) == 1


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_person_is_asked_where_they_want_to_be(tmp_path: Path, era: str) -> None:
    asked: list[str] = []

    async def person(_context: object, question: ElicitRequestParams) -> ElicitResult:
        asked.append(question.message)
        return ElicitResult(action="accept", content={"pay": True})

    async with world(tmp_path, era=era, confirm="always", person=person) as w:
        wrong = await w.do("create_film", keyframes=keyframes(w, 3), shots=[{"prompt": "[Push inn]"}] * 2)
        assert "Push inn" in wrong["failure"]
        assert asked == []
        film_id = await begun(w, 2, confirm=False)
        assert "Pay for 2 videos, 12 s in all at 768P" in asked[0]
        await ended(w, film_id)
        await w.do("retake_shot", film_id=film_id, shot=1, prompt="another light")
        assert "another take of shot 1" in asked[-1]


async def test_a_film_of_twenty_keyframes_survives_limits_and_failures(tmp_path: Path) -> None:
    async with world(tmp_path, film_shots_at_once=6, film_shots_per_minute=20) as w:
        for at in range(25):
            w.simulator.script([("Failed", 1027)] if at in (4, 11) else ["Processing", "Success"])
        w.simulator.faults.submit += [Fault(), Fault(code=1002), Fault(), Fault(code=2045), Fault(), Fault(code=1041)]
        film_id = await begun(w, 19)
        status = await ended(w, film_id)
        failed = [shot["shot"] for shot in status["shots"] if shot["status"] == "Failed"]
        assert len(failed) == 2
        for number in failed:
            await w.do("retake_shot", film_id=film_id, shot=number)
        status = await ended(w, film_id)
        assert standing(status) == ["Success"] * 19
        assert mp4.inspect(Path(status["path"])).frames == 19 * FRAMES
        prompts = [bill.prompt for bill in w.simulator.ledger]
        assert len(prompts) == 21
        assert {prompt for prompt in prompts if prompts.count(prompt) > 1} == {
            prompts[4],
            prompts[11],
        }, "only what failed was paid for again"
