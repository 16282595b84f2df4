"""The journal on both of its databases: nothing paid twice, nothing forgotten, every failure told."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres import Server
from sqlalchemy import event

from hailuo_mcp import journal_schema
from hailuo_mcp.errors import BudgetReached, JournalUnavailable, NotFound, RequestRejected
from hailuo_mcp.films.journal import FilmJournal
from hailuo_mcp.journal import Journal
from hailuo_mcp.records import Home, Intent, State, Video

HOST = "https://api.example"
HOUR = 3600.0
REPOSITORY = Path(__file__).parents[1]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def journal(url: str, clock: Clock) -> AsyncIterator[Journal]:
    async with Journal(url, host=HOST, clock=clock) as journal:
        yield journal


@pytest.fixture
async def window(url: str, clock: Clock) -> AsyncIterator[Journal]:
    """The same journal, as another process has it open."""
    async with Journal(url, host=HOST, clock=clock) as journal:
        yield journal


def intent(key: str = "sunrise", film_id: str | None = None, shot: int | None = None) -> Intent:
    return Intent(
        key=key,
        prompt="[Push in] A field at sunrise. 日出",
        duration=6,
        resolution="768P",
        prompt_optimizer=True,
        aigc_watermark=False,
        first_frame="/pictures/field.jpg",
        last_frame="data URL",
        first_frame_sha256="a" * 64,
        last_frame_sha256="b" * 64,
        take=2,
        film_id=film_id,
        shot=shot,
    )


async def begun(journal: Journal, key: str = "sunrise") -> Video:
    video, new = await journal.begin(intent(key), patience=60)
    assert new
    return video


async def paid(journal: Journal, task_id: str) -> Video:
    return await journal.submitted((await begun(journal, f"key of {task_id}")).id, task_id)


async def in_state(journal: Journal, state: State, key: str = "sunrise") -> Video:
    video = await begun(journal, key)
    if state == "Unconfirmed":
        return await journal.unconfirmed(video.id, "the connection broke")
    if state == "Refused":
        return await journal.refused(video.id, "no balance")
    if state != "Submitting":
        video = await journal.submitted(video.id, f"task of {key}")
    return await journal.observed(f"task of {key}", state=state) if state in ("Success", "Failed") else video


# Before anything is sent


async def test_what_is_asked_is_on_record_before_anything_is_sent(
    journal: Journal, window: Journal, clock: Clock
) -> None:
    video = await begun(journal)
    assert (video.state, video.created_at, video.task_id) == ("Submitting", clock.now, None)
    assert video.intent == intent()
    assert await window.find(video.id) == video


async def test_ids_cannot_be_guessed(journal: Journal) -> None:
    ids = {(await begun(journal, str(number))).id for number in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 22


@pytest.mark.parametrize("state", ["Submitting", "Unconfirmed", "Processing"])
async def test_the_same_request_returns_the_first_while_that_is_alive(
    journal: Journal, window: Journal, state: State
) -> None:
    first = await in_state(journal, state)
    assert await window.begin(replace(intent(), first_frame="another label"), patience=60) == (first, False)


@pytest.mark.parametrize("state", ["Success", "Failed", "Refused"])
async def test_the_same_request_may_be_made_again_when_the_first_has_ended(journal: Journal, state: State) -> None:
    first = await in_state(journal, state)
    assert (await begun(journal)).id != first.id


async def test_each_host_has_its_own_requests_tasks_and_leases(journal: Journal, url: str, clock: Clock) -> None:
    video = await paid(journal, "task")
    async with Journal(url, host="https://other.example", clock=clock) as other:
        assert await other.find(video.id) is None
        assert await other.find("task") is None
        assert await other.under_way() == []
        assert await other.recent() == ([], None)
        assert await other.lease("me", seconds=60) == []
        same_id = await paid(other, "task")
        assert same_id.id != video.id
        assert [each.id for each in await other.lease("me", seconds=60)] == [same_id.id]
    assert [each.id for each in await journal.lease("you", seconds=60)] == [video.id]


# The outcome


async def test_a_submitted_request_is_processing_under_its_task_id(journal: Journal, clock: Clock) -> None:
    video = await begun(journal)
    clock.now += 5
    video = await journal.submitted(video.id, "task")
    assert (video.state, video.task_id, video.updated_at) == ("Processing", "task", clock.now)
    assert await journal.find("task") == await journal.find(video.id) == video
    assert await journal.submitted(video.id, "task") == video


async def test_an_outcome_that_is_not_known_is_recorded_with_its_reason(journal: Journal) -> None:
    video = await in_state(journal, "Unconfirmed")
    assert video.failure == "the connection broke"
    assert await journal.under_way() == [video]


async def test_the_request_of_a_process_that_died_is_unconfirmed_and_not_sent_again(
    journal: Journal, clock: Clock
) -> None:
    video = await begun(journal)
    clock.now += 59
    assert (await journal.begin(intent(), patience=60))[0].state == "Submitting"
    assert await journal.recover() == 0
    clock.now += 1
    found, new = await journal.begin(intent(), patience=60)
    assert (found.id, found.state, new) == (video.id, "Unconfirmed", False)
    assert "stopped while it was sending" in str(found.failure)


async def test_recovery_finds_what_dead_processes_were_sending(journal: Journal, clock: Clock) -> None:
    dead = [await begun(journal, key) for key in ("one", "two")]
    sent = await paid(journal, "task")
    clock.now += 60
    alive = await begun(journal, "three")
    assert await journal.recover() == 2
    assert await journal.recover() == 0
    states = {video.id: video.state for video in (await journal.recent())[0]}
    assert states == {
        dead[0].id: "Unconfirmed",
        dead[1].id: "Unconfirmed",
        sent.id: "Processing",
        alive.id: "Submitting",
    }


async def test_an_answer_that_comes_late_still_counts(journal: Journal, clock: Clock) -> None:
    video = await begun(journal)
    clock.now += 60
    await journal.recover()
    video = await journal.submitted(video.id, "task")
    assert (video.state, video.task_id, video.failure) == ("Processing", "task", None)


@pytest.mark.parametrize("outcome", ["unconfirmed", "refused"])
async def test_a_task_once_known_is_not_undone_by_a_later_doubt(journal: Journal, outcome: str) -> None:
    video = await paid(journal, "task")
    assert await getattr(journal, outcome)(video.id, "too late") == video


async def test_one_task_never_belongs_to_two_requests(journal: Journal) -> None:
    first = await paid(journal, "task")
    second = await journal.submitted((await begun(journal)).id, "task")
    assert (second.state, second.task_id) == ("Unconfirmed", None)
    assert first.id in str(second.failure)
    assert await journal.find("task") == first


async def test_a_paid_task_whose_record_is_gone_is_written_down_all_the_same(journal: Journal) -> None:
    video = await journal.submitted("a record of another journal", "task")
    assert (video.state, video.task_id) == ("Processing", "task")
    assert await journal.submitted("a record of another journal", "task") == video
    assert await journal.find("task") == video


async def test_an_outcome_that_comes_late_does_not_end_what_was_begun_anew(journal: Journal, clock: Clock) -> None:
    shot = intent("shot", film_id="film", shot=1)
    first, _ = await journal.begin(shot, patience=60)
    await journal.refused(first.id, "too busy", first.created_at)
    clock.now += 5
    again, new = await journal.begin(shot, patience=60)
    assert (again.id, new) == (first.id, True)
    assert (await journal.refused(first.id, "too busy", first.created_at)).state == "Submitting"
    assert (await journal.submitted(again.id, "task")).id == first.id


async def test_what_is_not_in_the_journal_is_said(journal: Journal) -> None:
    for attempt in (
        journal.unconfirmed("nothing", "why"),
        journal.linked("nothing", file_id="f", filename="n", expires_at=None),
        journal.brought_home("nothing", Home("/path", 1)),
        journal.given_up("nothing", "why"),
        journal.resolve("nothing", "task"),
    ):
        with pytest.raises(NotFound, match="nothing"):
            await attempt
    assert await journal.find("nothing") is None


# The day's budget


async def test_a_used_up_budget_names_the_limit_and_when_the_next_is_possible(journal: Journal, clock: Clock) -> None:
    for number in range(3):
        await journal.begin(intent(str(number)), patience=60, daily_limit=3)
        clock.now += HOUR
    with pytest.raises(BudgetReached, match=r"limit of 3 videos.*at 20\d\d-.*, in 21 h 1 min"):
        await journal.begin(intent("fourth"), patience=60, daily_limit=3)
    assert len((await journal.recent())[0]) == 3
    clock.now += 21 * HOUR
    assert (await journal.begin(intent("fourth"), patience=60, daily_limit=3))[1]
    with pytest.raises(BudgetReached, match="in 1 h 1 min"):
        await journal.begin(intent("fifth"), patience=60, daily_limit=3)


async def test_a_request_under_way_is_returned_whatever_the_budget(journal: Journal) -> None:
    video = await begun(journal)
    assert await journal.begin(intent(), patience=60, daily_limit=0) == (video, False)
    with pytest.raises(BudgetReached, match="is 0"):
        await journal.begin(intent("new"), patience=60, daily_limit=0)


async def test_only_what_we_may_have_paid_for_counts(journal: Journal, url: str, clock: Clock) -> None:
    await in_state(journal, "Refused")
    await journal.observed("submitted elsewhere", state="Processing")
    assert (await journal.begin(intent("first"), patience=60, daily_limit=1))[1]
    async with Journal(url, host="https://other.example", clock=clock) as other:
        with pytest.raises(BudgetReached):
            await other.begin(intent("second"), patience=60, daily_limit=1)


async def test_windows_that_ask_at_once_stay_within_the_budget_together(url: str, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Journal(url, host=HOST, clock=clock)) for _ in range(4)]
        asked = [opened[i % 4].begin(intent(str(i)), patience=60, daily_limit=7) for i in range(24)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert Counter(map(type, answers)) == {tuple: 7, BudgetReached: 17}


# What the API says


async def test_what_is_observed_is_kept_and_completed(journal: Journal, clock: Clock) -> None:
    await paid(journal, "task")
    clock.now += 10
    await journal.observed("task", state="Processing", upstream_status="Queueing")
    video = await journal.observed("task", state="Success", file_id="file", video_width=1366, video_height=768)
    assert (video.state, video.upstream_status, video.file_id) == ("Success", "Queueing", "file")
    assert (video.video_width, video.video_height, video.updated_at) == (1366, 768, clock.now)
    assert video.intent == replace(intent(), key="key of task")


async def test_a_clock_set_back_keeps_nothing_in_sending_for_ever(journal: Journal, clock: Clock) -> None:
    video = await begun(journal)
    clock.now -= 24 * HOUR
    assert await journal.recover() == 1
    found, new = await journal.begin(intent(), patience=60)
    assert (found.id, found.state, new) == (video.id, "Unconfirmed", False)


@pytest.mark.parametrize("end", ["Success", "Failed"])
async def test_an_end_never_goes_back_to_processing(journal: Journal, end: State) -> None:
    video = await in_state(journal, end)
    assert await journal.observed(str(video.task_id), state="Processing", upstream_status="Queueing") == video


async def test_a_finished_video_does_not_fail_later_but_a_late_success_is_believed(journal: Journal) -> None:
    video = await in_state(journal, "Success")
    assert await journal.observed(str(video.task_id), state="Failed", failure="expired") == video
    await paid(journal, "other")
    assert (await journal.observed("other", state="Failed", failure="sensitive")).failure == "sensitive"
    late = await journal.observed("other", state="Success", file_id="file")
    assert (late.state, late.failure) == ("Success", None)


async def test_a_task_submitted_elsewhere_is_adopted_once(journal: Journal, window: Journal) -> None:
    seen = await asyncio.gather(*(place.observed("theirs", state="Processing") for place in [journal, window] * 5))
    assert {video.id for video in seen} == {seen[0].id}
    assert (seen[0].intent, seen[0].state) == (None, "Processing")


async def test_an_unconfirmed_request_is_not_linked_by_itself(journal: Journal) -> None:
    video = await in_state(journal, "Unconfirmed")
    await journal.observed("theirs", state="Processing")
    assert await journal.find(video.id) == video


async def test_a_link_and_the_way_home_are_recorded(journal: Journal, window: Journal, clock: Clock) -> None:
    await in_state(journal, "Success")
    linked = await journal.linked(
        "task of sunrise",
        file_id="file",
        filename="out.mp4",
        expires_at=clock.now + 9,
    )
    assert (linked.file_id, linked.filename, linked.expires_at) == ("file", "out.mp4", clock.now + 9)
    home = await journal.brought_home("task of sunrise", Home("/videos/out.mp4", 5_000_000_000))
    assert (home.state, home.path, home.bytes) == ("Success", "/videos/out.mp4", 5_000_000_000)
    assert await window.find("task of sunrise") == home


async def test_words_that_are_no_text_do_not_stop_the_writing(journal: Journal) -> None:
    odd = "a NUL \0, half a pair \ud800 and 🎬"
    video, _ = await journal.begin(replace(intent(), first_frame=odd), patience=60)
    video = await journal.submitted(video.id, odd)
    assert video.intent is not None
    assert video.task_id == video.intent.first_frame == "a NUL \ufffd, half a pair ? and 🎬"
    assert await journal.find(odd) == video


async def test_a_size_beyond_all_reason_does_not_stop_the_writing(journal: Journal) -> None:
    video = await journal.observed("task", state="Success", file_id="file", video_width=10**30, video_height=768)
    assert (video.state, video.video_width, video.video_height) == ("Success", None, 768)


# A person resolves what is not known


async def test_a_person_who_finds_the_task_brings_an_unconfirmed_request_back(journal: Journal) -> None:
    video = await in_state(journal, "Unconfirmed")
    found = await journal.resolve(video.id, "found")
    assert (found.id, found.state, found.task_id, found.failure) == (video.id, "Processing", "found", None)
    assert await journal.resolve(video.id, "found") == found


async def test_what_is_known_of_a_task_moves_to_the_request_it_belongs_to(journal: Journal, clock: Clock) -> None:
    video = await in_state(journal, "Unconfirmed")
    clock.now += 9
    await journal.observed("found", state="Success", file_id="file", video_width=1366)
    await journal.brought_home("found", Home("/videos/found.mp4", 9))
    whole = await journal.resolve(video.id, "found")
    assert (whole.id, whole.intent, whole.created_at) == (video.id, video.intent, video.created_at)
    assert (whole.state, whole.path, whole.video_width, whole.failure) == ("Success", "/videos/found.mp4", 1366, None)
    assert (await journal.recent())[0] == [whole]


async def test_a_task_of_another_request_cannot_be_taken(journal: Journal) -> None:
    other, video = await paid(journal, "task"), await in_state(journal, "Unconfirmed")
    with pytest.raises(RequestRejected, match=other.id):
        await journal.resolve(video.id, "task")
    assert await journal.find("task") == other


@pytest.mark.parametrize("state", ["Processing", "Success", "Failed", "Refused"])
async def test_only_an_unconfirmed_request_can_be_resolved(journal: Journal, state: State) -> None:
    video = await in_state(journal, state)
    with pytest.raises(RequestRejected, match=state):
        await journal.resolve(video.id, "found")


async def test_a_task_named_late_is_kept_when_a_person_chose_another(journal: Journal) -> None:
    video = await in_state(journal, "Unconfirmed")
    await journal.resolve(video.id, "guessed")
    late = await journal.submitted(video.id, "true one")
    assert (late.task_id, late.state, late.intent) == ("true one", "Processing", None)
    assert await journal.submitted(video.id, "true one") == late


# Looking back


async def test_recent_videos_come_newest_first_page_by_page_while_new_ones_arrive(journal: Journal) -> None:
    made = [(await begun(journal, str(number))).id for number in range(7)]
    first, cursor = await journal.recent(limit=3)
    await begun(journal, "arrives in between")
    second, cursor = await journal.recent(limit=3, before=cursor)
    third, end = await journal.recent(limit=3, before=cursor)
    assert [video.id for video in first + second + third] == made[::-1]
    assert end is None
    assert (await journal.recent(limit=8))[1] is None


async def test_recent_videos_can_be_asked_for_by_state(journal: Journal) -> None:
    failed = [await in_state(journal, "Failed", str(number)) for number in range(3)]
    await begun(journal)
    first, cursor = await journal.recent(state="Failed", limit=2)
    last, end = await journal.recent(state="Failed", limit=2, before=cursor)
    assert (first + last, end) == (failed[::-1], None)


async def test_a_made_up_cursor_is_refused(journal: Journal) -> None:
    with pytest.raises(RequestRejected, match="before"):
        await journal.recent(before="made up")


async def test_under_way_is_what_has_not_ended(journal: Journal) -> None:
    states: list[State] = ["Submitting", "Unconfirmed", "Processing", "Success", "Failed", "Refused"]
    made = [await in_state(journal, state, state) for state in states]
    assert await journal.under_way() == made[2::-1]


async def test_what_changed_lately_is_found_whoever_wrote_it(journal: Journal, window: Journal, clock: Clock) -> None:
    old = await begun(journal, "old")
    clock.now += 100
    since = clock.now - 50
    new = await begun(window, "new")
    assert await journal.changed_since(since) == [new]
    clock.now += 1
    old = await journal.refused(old.id, "no balance")
    assert await journal.changed_since(since) == [new, old]


# Leases


async def test_a_video_is_watched_by_one_at_a_time(journal: Journal, window: Journal, clock: Clock) -> None:
    video = await paid(journal, "task")
    assert [each.id for each in await journal.lease("me", seconds=60)] == [video.id]
    assert await window.lease("you", seconds=60) == []
    clock.now += 59
    assert len(await journal.lease("me", seconds=60)) == 1
    clock.now += 59
    assert await window.lease("you", seconds=60) == []


async def test_a_video_is_taken_over_when_its_watcher_dies_or_lets_go(
    journal: Journal, window: Journal, clock: Clock
) -> None:
    await paid(journal, "task")
    await journal.lease("me", seconds=60)
    clock.now += 60
    assert len(await window.lease("you", seconds=60)) == 1
    assert await journal.lease("me", seconds=60) == []
    await window.release("you")
    assert len(await journal.lease("me", seconds=60)) == 1


async def test_only_what_can_still_be_brought_home_is_watched(journal: Journal) -> None:
    for state in ("Submitting", "Unconfirmed", "Failed", "Refused"):
        await in_state(journal, state, state)
    processing, finished = await paid(journal, "processing"), await in_state(journal, "Success", "finished")
    await in_state(journal, "Success", "home")
    await journal.brought_home("task of home", Home("/videos/home.mp4", 9))
    await in_state(journal, "Success", "hopeless")
    hopeless = await journal.given_up("task of hopeless", "the disk is full")
    assert (hopeless.state, hopeless.failure) == ("Success", "the disk is full")
    assert [video.id for video in await journal.lease("me", seconds=60)] == [processing.id, finished.id]


async def test_a_video_given_up_can_still_come_home(journal: Journal) -> None:
    await in_state(journal, "Success")
    await journal.given_up("task of sunrise", "the disk is full")
    home = await journal.brought_home("task of sunrise", Home("/videos/home.mp4", 9))
    assert home.failure is None
    assert await journal.given_up("task of sunrise", "too late") == home


async def test_single_videos_can_be_claimed(journal: Journal, window: Journal) -> None:
    for task_id in ("one", "two", "three"):
        await paid(journal, task_id)
    assert [video.task_id for video in await journal.lease("me", seconds=60, task_ids=["two", "none"])] == ["two"]
    assert await journal.lease("me", seconds=60, task_ids=[]) == []
    assert await window.lease("you", seconds=60, task_ids=["two"]) == []
    assert [video.task_id for video in await window.lease("you", seconds=60)] == ["one", "three"]


async def test_more_videos_than_one_claim_holds_take_turns(journal: Journal, clock: Clock) -> None:
    for task_id in "abcde":
        await paid(journal, task_id)
    turns = []
    for _ in range(4):
        turns.append("".join(str(video.task_id) for video in await journal.lease("me", seconds=60, limit=2)))
        clock.now += 1
    assert turns == ["ab", "cd", "ae", "bc"]


async def test_replicas_that_claim_at_once_share_the_videos_out(url: str, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Journal(url, host=HOST, clock=clock)) for _ in range(5)]
        for number in range(40):
            await opened[0].observed(str(number), state="Processing")
        claims = await asyncio.gather(
            *(each.lease(f"owner {number}", seconds=60, limit=10) for number, each in enumerate(opened))
        )
        rest = await opened[0].lease("late", seconds=60)
    claimed = [video.task_id for claim in [*claims, rest] for video in claim]
    assert sorted(map(int, map(str, claimed))) == list(range(40))


async def test_on_postgresql_a_record_that_another_is_claiming_is_not_waited_for(
    postgres_url: str, clock: Clock
) -> None:
    async with Journal(postgres_url, host=HOST, clock=clock) as journal:
        await paid(journal, "held")
        free = await paid(journal, "free")
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("SELECT 1 FROM hailuo_videos WHERE task_id = 'held' FOR UPDATE")
            assert [video.id for video in await journal.lease("me", seconds=60)] == [free.id]
        await other.close()


# Many processes

WORKER = """
import asyncio, os, sys
from hailuo_mcp.journal import Journal
from hailuo_mcp.records import Intent

async def main(url, name):
    async with Journal(url, host="https://api.example") as journal:
        for number in range(50):
            key = ("stays", "stays too", "stays as well", "ends", "ends too")[number % 5]
            asked = Intent(key, "A field", 6, "768P", True, False)
            video, new = await journal.begin(asked, patience=60)
            if new:
                video = await journal.submitted(video.id, f"{name} {number}")
            if new and "ends" in key:
                await journal.observed(video.task_id, state="Failed", failure="a test")
            print(key, video.id, int(new), sep=chr(9), flush=True)

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main(*sys.argv[1:]))
"""

WRITER = """
import asyncio, sys
from itertools import count
from hailuo_mcp.journal import Journal
from hailuo_mcp.records import Intent

async def main(url, name):
    async with Journal(url, host="https://api.example") as journal:
        for number in count():
            video, _ = await journal.begin(Intent(f"{name} {number}", "A field", 6, "768P", True, False), patience=60)
            print(video.id, flush=True)
            await journal.submitted(video.id, f"{name} {number}")

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def processes(script: str, url: str, count: int) -> "Iterator[list[subprocess.Popen[str]]]":
    """Real processes that start their work at the same moment."""
    command = [sys.executable, "-W", "error", "-c", script, url]
    started = [
        subprocess.Popen(
            [*command, str(name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for name in range(count)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


async def test_eight_processes_pay_once_for_each_request(url: str) -> None:
    lines: list[list[str]] = []
    with processes(WORKER, url, 8) as started:
        for process in started:
            out, errors = await asyncio.to_thread(process.communicate, timeout=60)
            assert (errors, process.returncode) == ("", 0)
            lines += [line.split("\t") for line in out.splitlines()]
    assert len(lines) == 8 * 50
    new = Counter(key for key, _, is_new in lines if is_new == "1")
    assert {key: new[key] for key in new if "stays" in key} == {"stays": 1, "stays too": 1, "stays as well": 1}
    assert len({video_id for key, video_id, _ in lines if "stays" in key}) == 3
    async with Journal(url, host=HOST) as journal:
        records, _ = await journal.recent(limit=1000)
        assert len(await journal.under_way()) == 3
    assert Counter(video.intent.key for video in records if video.intent) == new
    assert len({video.task_id for video in records}) == len(records)


async def test_processes_killed_while_they_write_leave_every_committed_record(url: str) -> None:
    written: list[str] = []
    with processes(WRITER, url, 4) as started:
        for number, process in enumerate(started):
            assert process.stdout is not None
            written += [process.stdout.readline().strip() for _ in range(7 + 5 * number)]
            process.kill()
            written += process.stdout.read().split()
            assert process.wait() != 0
    async with Journal(url, host=HOST) as journal:
        videos = [await journal.find(each) for each in written]
        assert all(videos)
        assert len(written) >= 58
        assert len((await journal.recent(limit=10_000))[0]) - len(written) <= 4
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_windows_that_make_the_journal_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    # SQLite does not wait by itself there: without a second try some of these opens fail.
    for number in range(40):
        opened = [Journal(f"sqlite:///{(tmp_path / str(number)).as_posix()}", host=HOST) for _ in range(6)]
        await asyncio.gather(*(journal.open() for journal in opened))
        await asyncio.gather(*(journal.close() for journal in opened))


async def test_callers_that_give_up_leave_no_lock_behind(journal: Journal, window: Journal) -> None:
    for rounds in range(30):
        begin = asyncio.create_task(journal.begin(intent(str(rounds)), patience=60))
        for _ in range(rounds):
            await asyncio.sleep(0)
        begin.cancel()
        await asyncio.gather(begin, return_exceptions=True)
        await window.begin(intent(str(rounds)), patience=60)
    assert len(await journal.under_way()) == 30


# Failures are told


async def test_a_journal_that_cannot_be_made_is_an_error_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in ("file/journal.db", "file/sub/journal.db", ""):
        with pytest.raises(JournalUnavailable, match=r"writable|cannot be used") as failure:
            await Journal(f"sqlite:///{(tmp_path / path).as_posix()}", host=HOST).open()
        assert str(tmp_path) in str(failure.value)


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """The person who runs the tests; instead of root, who may write everywhere, the one who may nowhere."""
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such modes")
async def test_a_folder_or_journal_that_cannot_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url, other = (f"sqlite:///{(folder / name).as_posix()}" for name in ("journal.db", "other.db"))
        async with Journal(url, host=HOST) as journal:
            video = await begun(journal)
        (folder / "journal.db").chmod(0o444)
        folder.chmod(0o500)
        with nobody(folder):
            with pytest.raises(JournalUnavailable, match=r"other\.db cannot be used: .*writable"):
                await Journal(other, host=HOST).open()
            with pytest.raises(JournalUnavailable, match=r"journal\.db cannot be used: .*writable"):
                async with Journal(url, host=HOST) as journal:
                    await begun(journal, "another")
        folder.chmod(0o700)
        (folder / "journal.db").chmod(0o644)
        async with Journal(url, host=HOST) as journal:
            assert (await journal.recent())[0] == [video]


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"something else " * 1000)
    with pytest.raises(JournalUnavailable, match=r"journal\.db.*not a database.*aside"):
        await Journal(f"sqlite:///{path.as_posix()}", host=HOST).open()
    assert path.read_bytes() == b"something else " * 1000


async def test_damage_is_told_and_never_read_over(sqlite_url: str) -> None:
    async with Journal(sqlite_url, host=HOST) as journal:
        for number in range(50):
            await begun(journal, str(number))
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(JournalUnavailable, match=r"damaged"):
        async with Journal(sqlite_url, host=HOST) as journal:
            await begun(journal, "after the damage")


async def test_a_journal_held_by_another_program_is_told_in_time(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_schema, "PATIENCE_SECONDS", 0.1)
    async with Journal(sqlite_url, host=HOST) as journal:
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(JournalUnavailable, match=r"locked.*Another program"):
                await begun(journal)
        await begun(journal)


async def test_a_postgresql_that_does_not_answer_is_told_in_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_schema, "PATIENCE_SECONDS", 0.3)
    async with Journal(postgres_url, host=HOST) as journal:
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute(f"SELECT pg_advisory_xact_lock({journal_schema._LOCK})")
            with pytest.raises(JournalUnavailable, match="timed out"):
                await begun(journal)
        await other.close()
        await begun(journal)


async def test_a_postgresql_that_was_restarted_is_found_again(postgres_url: str) -> None:
    async with Journal(postgres_url, host=HOST) as journal:
        video = await begun(journal)
        admin = await asyncpg.connect(postgres_url)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                            "AND datname = current_database()")  # fmt: skip
        await admin.close()
        assert await journal.find(video.id) == video


async def test_a_missing_database_is_told_without_the_password(server: Server) -> None:
    if server.url is None:
        pytest.skip(server.reason)
    url = re.sub(r"//[^@]*@([^/]*)/.*", r"//tester:s3cret@\1/nowhere", server.url)
    with pytest.raises(JournalUnavailable, match=r"nowhere.*(does not exist|password)") as failure:
        await Journal(url, host=HOST).open()
    assert "s3cret" not in str(failure.value)


async def test_a_database_that_is_away_is_told_without_the_password() -> None:
    with pytest.raises(JournalUnavailable, match=r"127\.0\.0\.1:9/hailuo.*HAILUO_DATABASE_URL") as failure:
        await Journal("postgres://me:s3cret@127.0.0.1:9/hailuo", host=HOST).open()
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize(
    "address",
    ["", "journal.db", "sqlite://", "sqlite:///journal.db", "sqlite:///:memory:", "mysql://me:s3cret@host/db",
     "postgresql://me:s3cret@host:port/db", "postgresql://me:s3cret@host/db?fancy=1"],
)  # fmt: skip
def test_an_address_that_cannot_work_is_refused_at_once(address: str) -> None:
    with pytest.raises(JournalUnavailable, match="HAILUO_DATABASE_URL") as failure:
        Journal(address, host=HOST)
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:////data/journal.db", "sqlite+aiosqlite:////data/journal.db"),
        ("sqlite+aiosqlite:////data/journal.db", "sqlite+aiosqlite:////data/journal.db"),
        ("postgres://host/db", "postgresql+asyncpg://host/db"),
        ("postgresql+asyncpg://host/db", "postgresql+asyncpg://host/db"),
        ("postgresql://host/db?sslmode=require&channel_binding=require", "postgresql+asyncpg://host/db?ssl=require"),
        ("postgresql://me@/db?host=/run/postgresql", "postgresql+asyncpg://me@/db?host=%2Frun%2Fpostgresql"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="full paths start with a drive there")
def test_addresses_work_as_hosters_and_people_write_them(given: str, driver: str) -> None:
    assert str(journal_schema.address(given)) == driver


async def test_a_closed_journal_says_so(journal: Journal) -> None:
    await journal.close()
    await journal.close()
    with pytest.raises(JournalUnavailable, match="not open"):
        await journal.under_way()


FULL_DISK = """
import asyncio, resource, sys
from hailuo_mcp.errors import JournalUnavailable
from hailuo_mcp.journal import Journal
from hailuo_mcp.records import Intent

async def main(url):
    async with Journal(url, host="https://api.example") as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        written = []
        try:
            for number in range(1000):
                asked = Intent(str(number), "A field " * 100, 6, "768P", True, False)
                video, _ = await journal.begin(asked, patience=60)
                written.append(video.id)
        except JournalUnavailable as error:
            print(error)
        assert 0 < len(written) < 1000
        assert all([await journal.find(each) for each in written])

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on a file's size")
def test_a_full_disk_is_told_and_what_was_written_stays(sqlite_url: str) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, sqlite_url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "cannot be used" in done.stdout


# Older and newer journals

FIRST_VERSION = """
CREATE TABLE hailuo_meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE hailuo_videos (
    number {serial}, id TEXT NOT NULL UNIQUE, host TEXT NOT NULL, state TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL, updated_at DOUBLE PRECISION NOT NULL, submit_deadline DOUBLE PRECISION,
    task_id TEXT, upstream_status TEXT, file_id TEXT, video_width BIGINT, video_height BIGINT, filename TEXT,
    download_url TEXT, expires_at DOUBLE PRECISION, path TEXT, bytes BIGINT, failure TEXT, lease_owner TEXT,
    lease_until DOUBLE PRECISION, key TEXT, prompt TEXT, duration BIGINT, resolution TEXT, prompt_optimizer BOOLEAN,
    aigc_watermark BOOLEAN, first_frame TEXT, last_frame TEXT, first_frame_sha256 TEXT, last_frame_sha256 TEXT,
    take BIGINT);
CREATE UNIQUE INDEX hailuo_videos_one_active ON hailuo_videos (host, key)
    WHERE state IN ('Submitting', 'Unconfirmed', 'Processing');
CREATE UNIQUE INDEX hailuo_videos_task ON hailuo_videos (host, task_id);
CREATE INDEX hailuo_videos_newest ON hailuo_videos (host, number);
CREATE INDEX hailuo_videos_by_state ON hailuo_videos (state, host, number);
CREATE INDEX hailuo_videos_to_watch ON hailuo_videos (host, path)
    WHERE path IS NULL AND state IN ('Processing', 'Success');
CREATE INDEX hailuo_videos_paid ON hailuo_videos (created_at) WHERE key IS NOT NULL AND state <> 'Refused';
INSERT INTO hailuo_meta VALUES ('schema', '1');
INSERT INTO hailuo_videos (id, host, state, created_at, updated_at, task_id, file_id, path, bytes, key, prompt,
    duration, resolution, prompt_optimizer, aigc_watermark, take) VALUES ('old-1', 'https://api.example', 'Success',
    1749000000.5, 1749000100, 'task-1', 'file-1', '/videos/old.mp4', 9, 'key-1', 'An old field', 10, '768P', TRUE,
    FALSE, 1);
INSERT INTO hailuo_videos (id, host, state, created_at, updated_at, task_id) VALUES ('old-2', 'https://api.example',
    'Processing', 1749000200, 1749000200, 'task-2');
INSERT INTO hailuo_videos (id, host, state, created_at, updated_at, failure, key, prompt, duration, resolution,
    prompt_optimizer, aigc_watermark, take) VALUES ('old-3', 'https://api.example', 'Unconfirmed', 1749000300,
    1749000300, 'the connection broke', 'key-3', 'A lost field', 6, '768P', FALSE, TRUE, 2);
"""


SECOND_VERSION = (
    FIRST_VERSION.replace("take BIGINT);", "take BIGINT, film_id TEXT, shot BIGINT,\n"
                          "    given_up BOOLEAN DEFAULT FALSE NOT NULL);")
    .replace("WHERE path IS NULL AND state IN", "WHERE path IS NULL AND NOT given_up AND state IN")
    .replace("('schema', '1')", "('schema', '2')")
)  # fmt: skip
OLDER = pytest.mark.parametrize("older", [FIRST_VERSION, SECOND_VERSION], ids=["first", "second"])


async def run_sql(url: str, script: str) -> None:
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.executescript(script.replace("{serial}", "INTEGER NOT NULL PRIMARY KEY"))
    else:
        connection = await asyncpg.connect(url)
        await connection.execute(script.replace("{serial}", "BIGSERIAL PRIMARY KEY"))
        await connection.close()


@OLDER
async def test_a_journal_of_an_older_version_is_carried_forward_with_all_it_holds(
    url: str, clock: Clock, older: str
) -> None:
    await run_sql(url, older)
    async with AsyncExitStack() as stack:
        opened = [Journal(url, host=HOST, clock=clock) for _ in range(4)]
        await asyncio.gather(*(stack.enter_async_context(journal) for journal in opened))
        journal = opened[0]
        lost, theirs, home = (await journal.recent())[0]
        assert home.intent == Intent("key-1", "An old field", 10, "768P", True, False)
        assert (home.state, home.created_at, home.path, home.bytes) == ("Success", 1749000000.5, "/videos/old.mp4", 9)
        assert (theirs.task_id, theirs.state, theirs.intent) == ("task-2", "Processing", None)
        assert (lost.state, lost.failure) == ("Unconfirmed", "the connection broke")
        assert await journal.lease("me", seconds=60) == [theirs]
        assert lost.intent is not None
        assert await journal.begin(lost.intent, patience=60) == (lost, False)
        assert (await begun(journal)).intent == intent()
        whole = Home("/videos/theirs.mp4", 9, 5.875, 24.0, "h264", has_audio=False)
        seen = await journal.brought_home("task-2", whole)
        assert (seen.seconds, seen.frames_per_second, seen.codec, seen.has_audio) == (5.875, 24.0, "h264", False)
        film, _ = await FilmJournal(journal).begin("key", "[]", "me", 60)
        shot, new = await journal.begin(intent("a shot", film.id, 1), patience=60)
        assert new
        assert await journal.shots(film.id) == [shot]


async def shape(url: str) -> list[list[str]]:
    """Columns and indexes of a journal, without the databases' own ways of writing them."""
    if url.startswith("sqlite"):
        columns = 'SELECT m.name, c.name, c."notnull" FROM sqlite_schema m, pragma_table_info(m.name) c'
        indexes = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql > ''"
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            found = [database.execute(question).fetchall() for question in (columns, indexes)]
    else:
        columns = "SELECT table_name, column_name, is_nullable, data_type FROM information_schema.columns "
        columns += "WHERE table_schema = 'public'"
        indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        connection = await asyncpg.connect(url)
        found = [[tuple(row) for row in await connection.fetch(question)] for question in (columns, indexes)]
        await connection.close()
    return [sorted(re.sub(r"[\s()\"]+", "", " ".join(map(str, row))) for row in rows) for rows in found]


@OLDER
async def test_an_old_journal_becomes_the_same_as_a_new_one(url: str, older: str) -> None:
    async with Journal(url, host=HOST):
        pass
    new = await shape(url)
    await run_sql(url, "DROP TABLE hailuo_films; DROP TABLE hailuo_videos; DROP TABLE hailuo_meta;")
    await run_sql(url, older)
    assert await shape(url) != new
    async with Journal(url, host=HOST):
        pass
    assert await shape(url) == new


@OLDER
async def test_an_upgrade_that_is_interrupted_is_made_again(
    url: str, older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_sql(url, older)
    before = await shape(url)
    steps = journal_schema._MIGRATIONS
    monkeypatch.setattr(journal_schema, "_MIGRATIONS", {**steps, 3: (*steps[3], "SELECT breaks FROM nowhere")})
    with pytest.raises(JournalUnavailable):
        await Journal(url, host=HOST).open()
    assert await shape(url) == before
    monkeypatch.undo()
    async with Journal(url, host=HOST) as journal:
        assert len((await journal.recent())[0]) == 3


async def test_a_journal_of_a_newer_version_is_left_alone(url: str) -> None:
    async with Journal(url, host=HOST) as journal:
        video = await begun(journal)
    await run_sql(url, "UPDATE hailuo_meta SET value = '99'")
    with pytest.raises(JournalUnavailable, match=r"newer version.*99.*Update hailuo-mcp"):
        await Journal(url, host=HOST).open()
    await run_sql(url, f"UPDATE hailuo_meta SET value = '{journal_schema.VERSION}'")
    async with Journal(url, host=HOST) as journal:
        assert await journal.find(video.id) == video


# Cost


async def test_no_question_reads_the_whole_journal(sqlite_url: str) -> None:
    asked: list[tuple[str, Any]] = []
    async with Journal(sqlite_url, host=HOST) as journal:
        engine = journal._connected().sync_engine
        event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        video, _ = await journal.begin(intent(), patience=60, daily_limit=5)
        await journal.submitted(video.id, "task")
        await journal.observed("task", state="Success")
        await journal.given_up("task", "why")
        await journal.recover()
        await journal.under_way()
        await journal.changed_since(0)
        await journal.recent(before=video.id)
        await journal.recent(state="Success", before=video.id)
        await journal.lease("me", seconds=60)
        await journal.lease("me", seconds=60, task_ids=["task"])
        await journal.release("me")
    questions = [(sql, values) for sql, values in asked if re.match("SELECT|UPDATE|WITH", sql)]
    assert len(questions) > 12
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        for sql, values in questions:
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            # Walking through a host's records in order is fine when the walk ends after a page.
            whole = r"SCAN hailuo_videos" if "LIMIT" in sql else r"SCAN hailuo_videos|.*\(host=\?\)"
            assert not [step for step in plan if re.match(whole, step)], (sql, plan)
