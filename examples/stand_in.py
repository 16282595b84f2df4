"""A stand-in for a language model, so that the agent examples run offline: it knows this one job by heart.

The agent examples use a real framework and the real tools; only the model is this function. Put a real model in its
place, and the same agent makes any video it is asked for.
"""

import re
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).parents[1] / "hailuo_mcp" / "simulator" / "pictures"
FIRST, LAST = (str(PICTURES / f"dandelion_{name}.jpg") for name in ("first", "last"))
WISH = f"Make a video from {FIRST} to {LAST}; the camera pushes in. Save it."
SERVER = ["serve", "--simulate", "--seconds", "3", "--allow", str(PICTURES)]  # arguments of hailuo-mcp


def next_step(done: list[tuple[str, str]]) -> tuple[str, dict[str, Any]] | str:
    """The next tool and its arguments, or the last words. `done`: each tool called so far, with its answer."""
    if not done:
        frames = {"first_frame_image": FIRST, "last_frame_image": LAST}
        return "generate_video", {"prompt": "[Push in] The evening sun reaches the dandelion", **frames}
    tool, answer = done[-1]
    task = re.search(r"\d{9,}", done[0][1])
    if not task or tool == "download_video":
        saved = re.search(r"Saved: .+?\.mp4", answer)
        return saved[0] if saved else answer
    if tool == "generate_video" or "processing" in answer.lower():
        return "check_status", {"task_id": task[0], "wait_seconds": 45}
    return "download_video", {"task_id": task[0]}
