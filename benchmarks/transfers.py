"""Rows 4 and 5: the heavy bytes. A picture of 19 MB going up, a video of 100 MB coming down."""

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measure import MEGABYTE, Samples, cpu, forget_peak, interleaved, peak, resident
from peers import BARE, OURS
from report import Section
from stage import Stage
from wire import Process

FLOOR, CURL, CURL_SYNCED = "floor", "curl", "curl, synced"
SCRIPTS = {FLOOR: "floor", "script, httpx": "httpx", "script, requests": "requests"}
SUBMIT_RATIO_MAX, SUBMIT_GROWTH_MAX = 1.7, 40.0
DOWNLOAD_SHARE_MIN, DOWNLOAD_GROWTH_MAX = 0.5, 10.0
_numbers = itertools.count(1)


def _transfers(process: Process, transfer: Callable[[], float], times: int) -> Mapping[str, float]:
    """The first transfer's peak above what was in use before it, in MB; then the best time of some more, in seconds."""
    before = resident(process.pid)
    forget_peak(process.pid)
    transfer()
    growth = peak(process.pid) - before
    begin = cpu(process.pid)
    taken = [transfer() for _ in range(times)]
    return {"s": min(taken), "cpu": (cpu(process.pid) - begin) / times, "growth": growth, "peak": before + growth}


def submit(stage: Stage) -> Section:
    """generate_video with a picture on disk, until the task's id is there."""
    picture = str(stage.fixtures / "heavy.jpg")
    size = Path(picture).stat().st_size

    def through(name: str) -> Mapping[str, float]:
        peer = stage.peers[name]
        with stage.start(name) as server:
            assert peer.status
            assert peer.submit
            server.call(*peer.status("p0"))
            return _transfers(server, lambda: _timed(server.call, *peer.submit(_prompt(), picture)), 4)

    def by_script(kind: str) -> Mapping[str, float]:
        with stage.script(kind) as script:
            return _transfers(script, lambda: script.do("submit", _prompt(), picture), 4)

    found = interleaved(_contenders(stage, through, by_script), stage.rounds(5, 2))
    assert stage.counts()["body"] > size * 4 / 3, "the whole picture must have arrived"
    floor, ours = found[FLOOR], found[OURS]
    columns = ("who", "ms", "CPU ms", "times the floor", "growth MB", "peak MB")
    section = Section(f"4. Submit with a picture of {size / MEGABYTE:.1f} MB", columns)
    for name, samples in found.items():
        times = [f"{1000 * samples.median(quantity):.0f}" for quantity in ("s", "cpu")]
        memory = [f"{samples.median(quantity):.0f}" for quantity in ("growth", "peak")]
        section.lines.append((name, *times, f"{samples.ratio('s', floor):.2f}", *memory))
    words = ", ".join(f"{name} {cost:.0f} ms" for name, cost in stage.layers("submit", picture))
    section.notes.append(
        "The floor reads, encodes and sends the picture in pieces with the standard library, and does nothing else. "
        f"Where our CPU time goes: {words}. The hash is what keeps the same request from being paid twice, and judging "
        "reads the whole picture: is it complete, and where is what tells where it was taken, which is left out."
    )
    ratio, growth = ours.ratio("s", floor), ours.median("growth")
    section.goal(f"submit within {SUBMIT_RATIO_MAX} times the floor", f"{ratio:.2f} times", ratio <= SUBMIT_RATIO_MAX)
    section.goal(f"submit within +{SUBMIT_GROWTH_MAX:.0f} MB", f"+{growth:.0f} MB", growth <= SUBMIT_GROWTH_MAX)
    section.ahead("submit, time", found, "s", "s", 2)
    section.ahead("submit, growth", found, "growth", "MB")
    return section


def download(stage: Stage) -> Section:
    """The finished video on disk: asked for by its task, or by its link."""
    size = (stage.fixtures / "heavy.mp4").stat().st_size
    folder = stage.new_folder()
    link, target = f"{stage.url}/video.mp4", folder / "video.mp4"

    def through(name: str) -> Mapping[str, float]:
        peer = stage.peers[name]
        home = stage.new_folder()
        with stage.start(name, home) as server:
            assert peer.status
            assert peer.download

            def transfer() -> float:
                taken = _timed(server.call, *peer.download(f"s{next(_numbers)}", home))
                _remove_videos(home, size)
                return taken

            server.call(*peer.status("p0"))
            return _transfers(server, transfer, 3)

    def by_script(kind: str) -> Mapping[str, float]:
        def transfer() -> float:
            taken = script.do("download", link, str(target))
            _remove_videos(folder, size)
            return float(taken)

        with stage.script(kind) as script:
            return _transfers(script, transfer, 3)

    contenders = {
        CURL: lambda: _curl(link, target, size),
        CURL_SYNCED: lambda: _curl(link, target, size, synced=True),
    } | _contenders(stage, through, by_script)
    found = interleaved(contenders, stage.rounds(5, 2))
    title = f"5. Download of {size / MEGABYTE:.0f} MB"
    section = Section(title, ("who", "MB/s", "CPU ms", "share of curl's speed", "growth MB", "peak MB"))
    for name, samples in found.items():
        numbers = [f"{size / MEGABYTE / samples.median('s'):.0f}", f"{1000 * samples.median('cpu'):.0f}"]
        memory = [f"{samples.median(quantity):.0f}" for quantity in ("growth", "peak")]
        section.lines.append((name, *numbers, f"{1 / samples.ratio('s', found[CURL]):.2f}", *memory))
    synced = 1 / found[OURS].ratio("s", found[CURL_SYNCED])
    section.notes.append(
        "Ours counts a video as saved once its boxes are whole and the journal has been told where it is, in a commit "
        "that is synced to disk; on some file systems that waits for the video's own bytes. Beside a curl whose file "
        f"is synced too we reach {synced:.2f} of its speed. A file below 80 MB, as all of this API's are, is also "
        "decoded once, so that a damaged one is not called saved: about a second for 6 s of 1080P."
    )
    _download_goals(section, found)
    return section


def _download_goals(section: Section, found: dict[str, Samples]) -> None:
    share, growth = 1 / found[OURS].ratio("s", found[CURL]), found[OURS].median("growth")
    words = f"download at {DOWNLOAD_SHARE_MIN} of curl's speed or better"
    section.goal(words, f"{share:.2f}", share >= DOWNLOAD_SHARE_MIN)
    words = f"download within +{DOWNLOAD_GROWTH_MAX:.0f} MB"
    section.goal(words, f"+{growth:.0f} MB", growth <= DOWNLOAD_GROWTH_MAX)
    section.ahead("download, time", found, "s", "s", 2)
    section.ahead("download, growth", found, "growth", "MB")


def _contenders(
    stage: Stage,
    through: Callable[[str], Mapping[str, float]],
    by_script: Callable[[str], Mapping[str, float]],
) -> dict[str, Callable[[], Mapping[str, float]]]:
    acts: dict[str, Callable[[], Mapping[str, float]]] = {
        name: lambda kind=kind: by_script(kind) for name, kind in SCRIPTS.items()
    }
    return acts | {name: lambda name=name: through(name) for name in stage.peers if name != BARE}


def _prompt() -> str:
    return f"A dandelion, number {next(_numbers)}"


def _timed(act: Callable[..., Any], *arguments: Any) -> float:
    begin = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - begin


def _remove_videos(folder: Path, size: int) -> None:
    """Check that the whole file came, and make room."""
    files = list(folder.rglob("*.mp4"))
    assert [file.stat().st_size for file in files] == [size], f"not one whole video: {files}"
    files[0].unlink()


def _curl(link: str, target: Path, size: int, *, synced: bool = False) -> Mapping[str, float]:
    def transfer() -> tuple[float, float, float]:
        begin = time.perf_counter()
        process = subprocess.Popen(["curl", "-s", "-o", str(target), link])
        _, status, used = os.wait4(process.pid, 0)
        if synced:
            with target.open("rb") as file:
                os.fsync(file)
        taken = time.perf_counter() - begin
        process.returncode = status
        assert status == 0
        _remove_videos(target.parent, size)
        return taken, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MEGABYTE

    taken = [transfer() for _ in range(3)]
    seconds, used, memory = (min(values) for values in zip(*taken, strict=True))
    return {"s": seconds, "cpu": used, "growth": memory, "peak": memory}
