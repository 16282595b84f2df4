"""What is sent to make a video, and its body, which encodes the pictures while it goes out."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hailuo_mcp.rules import MODEL


class Picture(Protocol):
    """A frame that is sent in pieces: `head`, then `encoded_bytes` bytes of base64 text."""

    @property
    def name(self) -> str: ...
    @property
    def head(self) -> str: ...
    @property
    def encoded_bytes(self) -> int: ...
    def encoded(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Submission:
    """What `POST /v1/video_generation` is told."""

    prompt: str
    duration: int  # seconds
    resolution: str
    prompt_optimizer: bool
    aigc_watermark: bool
    frames: Sequence[Picture] = ()

    def payload(self) -> dict[str, Any]:
        """Every field but the frames."""
        return {
            "model": MODEL,
            "prompt": self.prompt,
            "duration": self.duration,
            "resolution": self.resolution,
            "prompt_optimizer": self.prompt_optimizer,
            "aigc_watermark": self.aigc_watermark,
        }


class RequestBody:
    """A submission as JSON, encoded while it is sent, so that a large picture is never held in memory as a whole.

    The frames follow the other fields, so that no prompt can forge their place.
    """

    def __init__(self, submission: Submission) -> None:
        self._json = json.dumps(submission.payload(), ensure_ascii=False).encode()[:-1]
        self._frames = [
            (f', "{frame.name}": {json.dumps(frame.head)[:-1]}'.encode(), frame) for frame in submission.frames
        ]
        self.length = len(self._json) + 1 + sum(len(head) + frame.encoded_bytes + 1 for head, frame in self._frames)
        self.whole = False  # until then nothing can be paid: what was sent is not JSON yet

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._json
        for head, frame in self._frames:
            yield head
            async for piece in frame.encoded():
                yield piece
            yield b'"'
        self.whole = True
        yield b"}"
