"""Compare this server with what people would otherwise use: `python benchmarks/run.py`, on Linux.

Needs Python 3.11, node, npm, curl and ffmpeg. Installs the peers beside itself at the first run, and writes RESULTS.md.
"""

import argparse
import os
import time
from collections.abc import Callable

import growth
import media
import peers
import report
import starting
import statuses
import transfers
from report import Section
from stage import Stage, stage

RESULTS = peers.HERE / "RESULTS.md"
ROWS: dict[str, Callable[[Stage], list[Section]]] = {
    "start": lambda on: [starting.start(on)],
    "tools": lambda on: [starting.tools(on)],
    "status": statuses.statuses,
    "submit": lambda on: [transfers.submit(on)],
    "download": lambda on: [transfers.download(on)],
    "preview": lambda on: [media.preview(on)],
    "join": lambda on: [media.joining(on)],
    "growth": growth.growth,
}


def main() -> None:
    """Play all rows, or those asked for, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a measurement")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    peers.install()
    begin = time.time()
    sections = []
    with stage(options.quick) as on:
        for name in options.rows or ROWS:
            print(f"{name} ...", flush=True)
            sections += ROWS[name](on)
    text = report.markdown(_head(begin, options.quick), sections)
    if options.rows or options.quick:
        print(text)
    else:
        RESULTS.write_text(text)
        print(f"Written: {RESULTS}")


def _head(begin: float, quick: bool) -> list[str]:
    load, cores, took = os.getloadavg()[0], os.cpu_count(), (time.time() - begin) / 60
    return [
        f"{time.strftime('%Y-%m-%d')}, {'a quick look' if quick else 'a full run'} of `python benchmarks/run.py` in "
        f"{took:.0f} minutes; Linux, {cores} cores shared by everybody here, load {load:.1f} at the end.",
        "",
        "Everything is on one machine, API included. Who is compared takes turns in each round, and the order changes "
        "from round to round: figures are medians of the rounds, ratios the median of each round's ratio. Trust the "
        "ratios; times move with the machine.",
        "",
        *(f"- {line}" for line in peers.versions()),
    ]


if __name__ == "__main__":
    main()
