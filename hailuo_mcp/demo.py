"""The whole job as an MCP client does it, against the simulator: no key, no network beyond this machine."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult

from hailuo_mcp.simulator import Simulator

PICTURES = Path(__file__).parent / "simulator" / "pictures"
PROMPT = "[Push in] A dandelion in the evening light; the camera moves close, and the seeds are about to fly."
GENERATION_SECONDS = 4.0
WAIT_SECONDS = 45


class _Stopped(Exception):
    """A tool refused, and has said why."""


async def run_demo(folder: Path, say: Callable[[str], None]) -> Path | None:
    """Two photographs and a camera move in, a checked MP4 in `folder` out; returns its path, None if a tool failed."""
    async with Simulator(generation_seconds=GENERATION_SECONDS) as simulator:
        say(f"A simulated API listens at {simulator.base_url}; nothing leaves this machine and nothing is paid.")
        async with Client(_server(simulator.base_url, folder)) as client:
            say(
                f"The server runs over stdio and offers {', '.join(t.name for t in (await client.list_tools()).tools)}."
            )
            try:
                return await _make_video(client, say)
            except _Stopped:
                return None


def _server(base_url: str, folder: Path) -> StdioServerParameters:
    environment = {
        "DMXAPI_API_KEY": "sk-simulated",
        "HAILUO_BASE_URL": base_url,
        "HAILUO_OUTPUT_DIR": str(folder),
        "HAILUO_DATA_DIR": str(folder / "journal"),
        "HAILUO_ALLOWED_DIRS": str(PICTURES),
        "HAILUO_POLL_INTERVAL": "1",
        "HAILUO_COLLECT": "0",  # this client saves the video itself
    }
    # A person's settings for the real thing, such as a budget or a shared journal, are not for the demo.
    others = {name: value for name, value in os.environ.items() if not name.startswith("HAILUO_")}
    return StdioServerParameters(command=sys.executable, args=["-m", "hailuo_mcp", "serve"], env=others | environment)


async def _make_video(client: Client, say: Callable[[str], None]) -> Path:
    async def tell(progress: float, total: float | None, message: str | None) -> None:
        say(f"     ... {message}")

    async def call(tool: str, **arguments: Any) -> dict[str, Any]:
        say(f"\n  -> {tool}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})")
        result = await client.call_tool(tool, arguments, progress_callback=tell)
        say("  <- " + _text(result).replace("\n", "\n     "))
        if result.is_error or result.structured_content is None:
            raise _Stopped
        return dict(result.structured_content)

    task = await call(
        "generate_video",
        prompt=PROMPT,
        first_frame_image=str(PICTURES / "dandelion_first.jpg"),
        last_frame_image=str(PICTURES / "dandelion_last.jpg"),
    )
    status = task
    while status["status"] == "Processing":
        status = await call("check_status", task_id=task["task_id"], wait_seconds=WAIT_SECONDS)
    await call("get_download_url", task_id=task["task_id"])
    saved = await call("download_video", task_id=task["task_id"], filename="dandelion.mp4")
    return Path(saved["path"])


def _text(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")
