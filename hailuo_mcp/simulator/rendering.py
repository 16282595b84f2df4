"""The video of a task: real, of the length and proportions asked for, and from the first picture to the last."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hailuo_mcp import camera
from hailuo_mcp.simulator.contract import Order


@dataclass(frozen=True, slots=True)
class Video:
    """A finished file: width and height in pixels, bytes, and a tag of its content."""

    path: Path
    size: tuple[int, int]
    length: int
    etag: str


def render(order: Order, target: Path) -> Video:
    """Make the video, or find it made already. Slow: call it in a thread."""
    from hailuo_mcp import video  # late: loading FFmpeg takes a moment, and not every simulator renders
    from hailuo_mcp.media import animatic

    leading = order.first or order.last
    size = video.output_size(leading.size if leading else None, order.short_side)
    if not target.exists():
        part = target.with_name(f"{target.stem}.part{target.suffix}")
        reading = camera.read(order.prompt)
        animatic.render(
            part,
            first=order.first.image() if order.first else None,
            last=order.last.image() if order.last else None,
            moves=reading.moves,
            prompt_length=len(reading.prompt),
            seconds=order.duration,
            size=size,
            caption="simulated, AI-generated" if order.watermark else "simulated",
        )
        part.replace(target)
    content = target.read_bytes()
    tag = hashlib.md5(content, usedforsecurity=False).hexdigest().upper()  # what OSS uses
    return Video(target, size, len(content), tag)
