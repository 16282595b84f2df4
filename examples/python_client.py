"""The whole job with nothing but an MCP client: two pictures and a camera move in, an MP4 out.

    python examples/python_client.py

It runs offline: `--simulate` gives the server a simulated API. For real videos take it away and set DMXAPI_API_KEY.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

PICTURES = Path(__file__).parents[1] / "hailuo_mcp" / "simulator" / "pictures"
SERVER = StdioServerParameters(
    command=sys.executable,
    args=["-m", "hailuo_mcp", "serve", "--simulate", "--seconds", "3", "--allow", str(PICTURES)],
    env=dict(os.environ),
)


async def show(progress: float, total: float | None, message: str | None) -> None:
    print(f"  ... {message}")


async def main() -> None:
    async with Client(SERVER) as client:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments, progress_callback=show)
            print(result.content[0].text)
            return {} if result.is_error else result.structured_content

        task = await call(
            "generate_video",
            prompt="[Push in] The evening sun reaches the dandelion",
            first_frame_image=str(PICTURES / "dandelion_first.jpg"),
            last_frame_image=str(PICTURES / "dandelion_last.jpg"),
        )
        while task.get("status") == "Processing":
            task = await call("check_status", task_id=task["task_id"], wait_seconds=45)
        if task.get("status") == "Success":
            await call("download_video", task_id=task["task_id"])


asyncio.run(main())
