"""The same job without MCP: checks, journal, watching and downloading as plain Python calls.

    python examples/as_a_library.py

It runs offline, against the simulated API. For real videos call `load_settings()` alone and set DMXAPI_API_KEY.
"""

import asyncio
from pathlib import Path

from hailuo_mcp import HailuoError, Request, Video, load_settings, open_studio
from hailuo_mcp.simulator import Simulator

PICTURES = Path(__file__).parents[1] / "hailuo_mcp" / "simulator" / "pictures"


async def show(waited: float, video: Video) -> None:
    print(f"  ... {video.upstream_status}, {waited:.0f} s")


async def main() -> None:
    async with Simulator(generation_seconds=3) as simulator:
        settings = load_settings(
            api_key="sk-simulated", base_url=simulator.base_url, allowed_dirs=(PICTURES,), poll_interval=1
        )
        async with open_studio(settings) as studio:
            request = Request(
                "[Push in] The evening sun reaches the dandelion",
                first_frame_image=str(PICTURES / "dandelion_first.jpg"),
                last_frame_image=str(PICTURES / "dandelion_last.jpg"),
            )
            try:
                submitted = await studio.generate(request)
                print(f"Task {submitted.video.task_id}: {submitted.prompt}")
                video = submitted.video
                while video.state == "Processing":
                    video = await studio.status(str(submitted.video.task_id), 45, show)
                video = await studio.download(str(video.task_id), "library.mp4", 45)
                print(f"Saved: {video.path}")
            except HailuoError as error:  # every failure that is foreseen, as a sentence that says what to do
                print(error)


asyncio.run(main())
