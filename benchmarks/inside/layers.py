"""CPU time inside one process, layer upon layer. Usage: layers.py status URL FOLDER, or layers.py submit PICTURE."""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from hailuo_mcp import frames
from hailuo_mcp.app import App
from hailuo_mcp.settings import load_settings
from hailuo_mcp.surface.tools import Tools


async def _cost(act: Callable[[], Awaitable[object]], times: int = 300) -> float:
    """Milliseconds of CPU time, after some calls to get warm."""
    for _ in range(times // 15):
        await act()
    begin = time.process_time()
    for _ in range(times):
        await act()
    return 1000 * (time.process_time() - begin) / times


async def status(url: str, folder: Path) -> dict[str, float]:
    """One status query, from the inside out."""
    app = App(load_settings(api_key="sk-benchmark", base_url=url, data_dir=folder, output_dir=folder, collect=False))
    tool = next(tool for tool in Tools(app).all() if tool.name == "check_status")
    query = f"{url}/v1/query/video_generation?task_id=p1"
    try:
        await app.studio()
        async with httpx.AsyncClient() as client:
            found = {"httpx alone": await _cost(lambda: client.get(query))}
        found["the whole tool, without the protocol"] = await _cost(lambda: tool.run({"task_id": "p1"}, None, True))
    finally:
        await app.close()
    return found


async def submit(picture: Path, content: bytes) -> dict[str, float]:
    """What becomes of a picture before it is sent."""

    def judge() -> frames.Frame:
        judged = frames.judge_file("first_frame_image", picture.name, picture.open("rb"))
        assert judged.frame
        return judged.frame

    async def hashed() -> None:
        hashlib.sha256(content).digest()

    async def judged() -> None:
        judge().close()

    async def encoded() -> None:
        frame = judge()
        async for _ in frame.encoded():
            pass
        frame.close()

    hashing, judging, both = [await _cost(act, 15) for act in (hashed, judged, encoded)]
    return {"its hash": hashing, "judging it": judging - hashing, "encoding it in a thread": both - judging}


if __name__ == "__main__":
    kind, *given = sys.argv[1:]
    work = status(given[0], Path(given[1])) if kind == "status" else submit(Path(given[0]), Path(given[0]).read_bytes())
    sys.stdout.write(json.dumps(asyncio.run(work)) + "\n")
