"""Row 7: how each grows with the videos under way, and how the journal grows with the videos of a life."""

import statistics
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from measure import cpu, interleaved, resident
from peers import BARE, INSIDE, OURS, python
from report import Section
from stage import Stage
from wire import Deaf, Server

UNDER_WAY = (1, 10, 100, 1000)
RECORDS = 100_000
PATIENCE_SECONDS = 3.0
AWAKE_SECONDS = 4.0  # the watch begins two seconds after the start
BESIDE_SECONDS = 11.0  # one turn of the watch
PEERS_BESIDE_SECONDS = 4.0
FLAT = 1.3  # times: what counts as not growing


def growth(stage: Stage) -> list[Section]:
    """Both."""
    return [_under_way(stage), _journal(stage)]


def _under_way(stage: Stage) -> Section:
    columns = (
        "server",
        "under way",
        "status p50 ms",
        "status max ms",
        "CPU, % of a core",
        "queries a second",
        "resident MB",
    )
    section = Section("7a. Videos under way", columns)
    many = UNDER_WAY[::3] if stage.quick else UNDER_WAY
    for name in stage.peers:
        if name == BARE:
            continue
        for count in many:
            with stage.start(name, _folder(stage, name, count)) as server:
                section.lines.append((name, str(count), *_beside(stage, name, server, count)))
    section.notes.append(
        "A video is under way where the server itself waits for it: here as a record of the journal that the watch "
        "asks after every 10 s, elsewhere as a call of generate_video that has not ended and asks every 20 s. "
        f"Deaf: a status query was not answered within {PATIENCE_SECONDS:g} s."
    )
    ours = [line for line in section.lines if line[0] == OURS]
    slowest = max(float(line[2]) for line in ours) / float(ours[0][2])
    section.goal(
        "status as fast with 1000 videos under way as with one (2 times at most)", f"{slowest:.1f} times", slowest <= 2
    )
    return section


def _folder(stage: Stage, name: str, count: int) -> Path:
    """Ours finds its videos in the journal."""
    folder = stage.new_folder()
    if name == OURS:
        _fill(stage, folder, under_way=count, finished=0)
    return folder


def _fill(stage: Stage, folder: Path, *, under_way: int, finished: int) -> None:
    (folder / "data").mkdir()
    arguments = [str(folder / "data" / "journal.db"), stage.url, str(under_way), str(finished)]
    subprocess.run([python("ours"), str(INSIDE / "journals.py"), *arguments], check=True)


def _beside(stage: Stage, name: str, server: Server, count: int) -> tuple[str, ...]:
    """Status queries, CPU and memory while so many videos are under way."""
    peer = stage.peers[name]
    assert peer.status
    try:
        for at in range(count if peer.under_way else 0):
            server.start_call(*peer.under_way(f"dandelion {at}"), patience=PATIENCE_SECONDS)
        time.sleep(AWAKE_SECONDS if name == OURS else 1)
        end = BESIDE_SECONDS if name == OURS else PEERS_BESIDE_SECONDS
        server.ask(server.start_call(*peer.status("p-0"), patience=PATIENCE_SECONDS), PATIENCE_SECONDS)
        used, asked, begin = cpu(server.pid), stage.counts().get("queries", 0), time.perf_counter()
        taken = []
        while time.perf_counter() < begin + end:
            sent = time.perf_counter()
            server.ask(server.start_call(*peer.status("p-0"), patience=PATIENCE_SECONDS), PATIENCE_SECONDS)
            taken.append(time.perf_counter() - sent)
            time.sleep(0.1)
    except Deaf:
        return "deaf", "deaf", "-", "-", f"{resident(server.pid):.0f}"
    seconds = time.perf_counter() - begin
    queries = max(0.0, stage.counts().get("queries", 0) - asked - len(taken)) / seconds
    times = [f"{1000 * statistics.median(taken):.1f}", f"{1000 * max(taken):.0f}"]
    return *times, f"{100 * (cpu(server.pid) - used) / seconds:.0f}", f"{queries:.1f}", f"{resident(server.pid):.0f}"


def _journal(stage: Stage) -> Section:
    """The same calls on a small journal and on a large one; of each round's calls the quickest counts."""
    sizes = {"20 records": 20, f"{RECORDS} records": RECORDS}
    calls = {
        "list_videos": ("list_videos", {"limit": 10}),
        "list_videos, by state": ("list_videos", {"state": "Processing"}),
        "check_status of one": ("check_status", {"task_id": "p-0"}),
        "check_status of all under way": ("check_status", {}),
    }
    with ExitStack() as stack:
        servers = {}
        for name, size in sizes.items():
            folder = stage.new_folder()
            _fill(stage, folder, under_way=3, finished=size)
            servers[name] = stack.enter_context(stage.start(OURS, folder))

        def act(server: Server) -> Mapping[str, float]:
            return {what: min(_times(server, *call)) for what, call in calls.items()}

        acts = {name: lambda server=server: act(server) for name, server in servers.items()}
        found = interleaved(acts, stage.rounds(15, 5), warm_up=1)
    small, large = found.values()
    section = Section("7b. The journal", ("call", *(f"{name}, ms" for name in sizes), "times"))
    for what in calls:
        times = [f"{1000 * samples.median(what):.2f}" for samples in (small, large)]
        section.lines.append((what, *times, f"{large.ratio(what, small):.2f}"))
    worst = max(large.ratio(what, small) for what in calls)
    section.goal(
        "list and status flat in journal size", f"at most {worst:.2f} times with {RECORDS} records", worst <= FLAT
    )
    return section


def _times(server: Server, tool: str, arguments: Mapping[str, object]) -> list[float]:
    taken = []
    for _ in range(15):
        begin = time.perf_counter()
        server.call(tool, arguments)
        taken.append(time.perf_counter() - begin)
    return taken
