"""The simulator as a process of its own: `python -m hailuo_mcp.simulator --port 8800`."""

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from hailuo_mcp.simulator import Simulator


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hailuo_mcp.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--key", action="append", help="a key that is accepted; may be given again")
    parser.add_argument("--ledger", type=Path, help="file of bills, also read at the start")
    parser.add_argument("--folder", type=Path, help="where videos are rendered; a temporary folder by default")
    parser.add_argument("--generation-seconds", type=float, default=30.0)
    parser.add_argument("--link-seconds", type=float, default=32400.0)
    parser.add_argument("--short-side", type=int, help="pixels, instead of 768 or 1080")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    simulator = Simulator(
        keys=options.key or ("sk-simulated",),
        generation_seconds=options.generation_seconds,
        short_side=options.short_side,
        port=options.port,
        folder=options.folder,
        ledger=options.ledger,
        link_seconds=options.link_seconds,
    )
    async with simulator:
        sys.stdout.write(simulator.base_url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: the temporary folder is removed
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(_options()))
