"""Row 6: drawing a preview and joining clips, against ffmpeg doing the same."""

import itertools
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import NOISE, Samples, cpu, interleaved
from peers import OURS
from report import Section
from stage import Script, Stage

FFMPEG, ENCODER = "ffmpeg", "the encoder alone"
PROMPT = "[Push in] A dandelion lets its seeds go, take"
_X264 = ["-c:v", "libx264", "-preset", "veryfast", "-threads", "2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
_ZOOM = "zoompan=z='1+0.28*on/143':x='(iw-iw/zoom)/2':y='(ih-ih/zoom)/2':d=144:s=682x384:fps=24"
_SKETCH = f"[0:v]{_ZOOM}[a];[1:v]{_ZOOM}[b];[a][b]xfade=transition=fade:duration=2.4:offset=1.8,format=yuv420p"
_SHEET = r"select='not(mod(n\,16))',scale=522:-2,tile=3x3"
_numbers = itertools.count(1)


def preview(stage: Stage) -> Section:
    """A sketch of six seconds from two photographs, and a sheet of nine of its pictures."""
    first, last = (str(stage.fixtures / name) for name in ("first.jpg", "last.jpg"))
    folder = stage.new_folder()

    def by_ffmpeg() -> Mapping[str, float]:
        clip, sheet = folder / "clip.mp4", folder / "sheet.jpg"
        inputs = ["-i", first, "-i", last, "-filter_complex", _SKETCH, "-t", "6"]
        return _ffmpeg([*inputs, *_X264, str(clip)], ["-i", str(clip), "-vf", _SHEET, "-frames:v", "1", str(sheet)])

    with stage.start(OURS) as server:

        def by_us() -> Mapping[str, float]:
            frames = {"first_frame_image": first, "last_frame_image": last}
            begin, used = time.perf_counter(), cpu(server.pid)
            server.call("preview_video", {"prompt": f"{PROMPT} {next(_numbers)}", **frames})
            return {"s": time.perf_counter() - begin, "cpu": cpu(server.pid) - used}

        found = interleaved({FFMPEG: by_ffmpeg, OURS: by_us}, stage.rounds(9, 3), warm_up=1)
    section = _section("6a. Preview: six seconds of 682x384, and nine pictures of it", found)
    ratio = found[OURS].ratio("s", found[FFMPEG])
    section.goal("preview as fast as ffmpeg", f"{ratio:.2f} times", ratio <= 1)
    return section


def joining(stage: Stage) -> Section:
    """Four clips of six seconds as one film: copied, and encoded anew."""
    clips = sorted(map(str, stage.fixtures.glob("clip*.mp4")))
    folder = stage.new_folder()
    script = Script(stage, "ours", "joiner.py")
    with script:
        copied = interleaved(
            {
                FFMPEG: lambda: _ffmpeg(_concat(clips, folder)),
                OURS: lambda: _join(script, clips, folder, "copied"),
            },
            stage.rounds(15, 5),
            warm_up=1,
        )
        encoded = interleaved(
            {
                FFMPEG: lambda: _ffmpeg(_encode(clips, folder)),
                OURS: lambda: _join(script, clips, folder, "anew"),
                ENCODER: lambda: _join(script, clips, folder, "encoder"),
            },
            stage.rounds(3, 1),
        )
    section = _section("6b. Joining four clips of 1364x768", copied, "copied")
    section.lines += _section("", encoded, "encoded anew").lines
    alone = encoded[ENCODER].ratio("s", encoded[FFMPEG])
    section.notes.append(
        "What ffmpeg takes includes its own start; a server is awake already. Nearly all of encoding anew is x264: the "
        f"one that comes with PyAV, on pictures that are in memory already, takes {alone:.2f} of the time that ffmpeg "
        "with the system's takes for everything."
    )
    for words, found in (("copying", copied), ("encoding anew", encoded)):
        ratio = found[OURS].ratio("s", found[FFMPEG])
        section.goal(f"joining as fast as ffmpeg, {words}", f"{ratio:.2f} times", ratio <= NOISE)
    return section


def _section(title: str, found: Mapping[str, Samples], how: str = "") -> Section:
    section = Section(title, ("who", "ms", "CPU ms", "times ffmpeg's time", "times its CPU time"))
    for name, samples in found.items():
        times = [f"{1000 * samples.median(quantity):.0f}" for quantity in ("s", "cpu")]
        ratios = [f"{samples.ratio(quantity, found[FFMPEG]):.2f}" for quantity in ("s", "cpu")]
        section.lines.append((f"{name}, {how}" if how else name, *times, *ratios))
    return section


def _join(script: Script, clips: Sequence[str], folder: Path, how: str) -> Mapping[str, float]:
    used = cpu(script.pid)
    seconds = script.do(clips, str(folder / "film.mp4"), how)
    return {"s": seconds, "cpu": cpu(script.pid) - used}


def _concat(clips: Sequence[str], folder: Path) -> list[str]:
    names = folder / "clips.txt"
    names.write_text("".join(f"file '{clip}'\n" for clip in clips))
    return ["-f", "concat", "-safe", "0", "-i", str(names), "-c", "copy", "-movflags", "+faststart", _film(folder)]


def _encode(clips: Sequence[str], folder: Path) -> list[str]:
    """Without each seam's doubled picture, in a quality that cannot be told from the clips'."""
    inputs = [part for clip in clips for part in ("-i", clip)]
    cut = "".join(f"[{at}:v]trim=start_frame={min(at, 1)},setpts=PTS-STARTPTS[v{at}];" for at in range(len(clips)))
    joined = "".join(f"[v{at}]" for at in range(len(clips))) + f"concat=n={len(clips)}"
    return [*inputs, "-filter_complex", cut + joined, *_X264, "-crf", "18", _film(folder)]


def _film(folder: Path) -> str:
    return str(folder / "film-by-ffmpeg.mp4")


def _ffmpeg(*commands: Sequence[str]) -> Mapping[str, float]:
    """Run one after the other."""
    begin, used = time.perf_counter(), 0.0
    for command in commands:
        process = subprocess.Popen(["ffmpeg", "-y", "-nostdin", "-loglevel", "error", *command])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0, command
        used += usage.ru_utime + usage.ru_stime
    return {"s": time.perf_counter() - begin, "cpu": used}
