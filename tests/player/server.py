"""The server over HTTP on a simulated API that renders small videos quickly; the first line on stdout is its address.

Arguments: a folder to live in, the folder that frames may be read from, the seconds that a video takes.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path

from hailuo_mcp.hosting import build_app, build_servers, serve_http
from hailuo_mcp.settings import load_settings
from hailuo_mcp.simulator import Simulator

SHORT_SIDE = 480  # pixels: larger than the small copy, much smaller than the real thing


async def main(home: Path, pictures: Path, seconds: float) -> None:
    async with Simulator(generation_seconds=seconds, short_side=SHORT_SIDE) as simulator:
        settings = load_settings(
            api_key="sk-simulated",
            base_url=simulator.base_url,
            output_dir=home / "videos",
            data_dir=home / "data",
            allowed_dirs=(pictures,),
            poll_interval=0.5,
        )
        app = build_app(build_servers(settings, "127.0.0.1"), "127.0.0.1")
        await serve_http(app, "127.0.0.1", 0, partial(print, flush=True))


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
