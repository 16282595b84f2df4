"""Joins clips as the server does, in a process that is awake. Lines as in plain_scripts.py: clips, target, how.

How: `copied`, `anew`, or `encoder`, which times the encoder alone, on pictures that are in memory already.
"""

import json
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from hailuo_mcp import video
from hailuo_mcp.media.joining import join


def main() -> None:
    """Join what stdin says, line by line."""
    sys.stdout.write("0\n")
    sys.stdout.flush()
    for line in sys.stdin:
        names, target, how = json.loads(line)
        clips = [Path(name) for name in names]
        if how == "encoder":
            seconds = encoder(clips, Path(target))
        else:
            begin = time.perf_counter()
            join(clips, Path(target), exact=how == "anew")
            seconds = time.perf_counter() - begin
        sys.stdout.write(f"{seconds}\n")
        sys.stdout.flush()


def encoder(clips: Sequence[Path], target: Path) -> float:
    """Seconds that the encoder needs for all pictures."""
    frames = [*chain.from_iterable(_pictures(path) for path in clips)]
    begin = time.perf_counter()
    with av.open(str(target), "w", format="mp4") as film:
        stream = video.add_stream(film, (frames[0].width, frames[0].height), 24, crf="18")
        for at, frame in enumerate(frames):
            frame.pts, frame.time_base, frame.pict_type = at, Fraction(1, 24), 0
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return time.perf_counter() - begin


def _pictures(path: Path) -> list[av.VideoFrame]:
    with video.opened(path) as (container, stream):
        return [*container.decode(stream)]


if __name__ == "__main__":
    main()
