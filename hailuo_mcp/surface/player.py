"""The page that shows a video in the conversation (MCP Apps), and the tools that serve the page alone."""

import base64
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from mcp.server.apps import APP_MIME_TYPE, Apps, ResourceCsp, client_supports_apps
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.resources import FileResource
from mcp_types import BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent
from pydantic import BaseModel

from hailuo_mcp import camera
from hailuo_mcp.app import App
from hailuo_mcp.rules import TYPICAL_MINUTES
from hailuo_mcp.settings import is_loopback
from hailuo_mcp.surface.contract import Clip, answer
from hailuo_mcp.surface.tool import HailuoTool

if TYPE_CHECKING:
    from hailuo_mcp.frames import FrameName
    from hailuo_mcp.records import Intent

PLAYER = "ui://hailuo/player.html"
SHOWN_BY = ("generate_video", "check_status", "preview_video", "create_film")
# Where the links of finished videos lead: the API document's example, and every one seen, is on Alibaba's object
# store, under a bucket and region that differ. A host that allows less, or a link elsewhere, gets the small copy.
LINK_HOSTS = ("https://*.aliyuncs.com",)


class Card(BaseModel):
    prompt: str
    request: dict[str, Any] | None
    camera: list[dict[str, Any]]
    pictures: list[str]
    age_seconds: float | None
    poll_seconds: float
    typical_minutes: list[int]


class SmallCopy(BaseModel):
    seconds: float
    is_whole: bool


class Player(Apps):
    """The extension: its page, and what only clients that declare it see."""

    def __init__(self, app: App, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._app = app
        self._clock = clock
        # A FileResource is read when it is asked for, so that the page costs a start nothing.
        csp = ResourceCsp(resource_domains=link_origins(app.settings.base_url)).model_dump(
            by_alias=True, exclude_none=True
        )
        self.add_resource(
            FileResource(
                uri=PLAYER,
                name="player",
                title="Player",
                description="Shows how a video is made, and plays it",
                mime_type=APP_MIME_TYPE,
                path=Path(__file__).with_name("player.html"),
                meta={"ui": {"csp": csp, "prefersBorder": True}},
            )
        )

    def attached(self, tools: Sequence[HailuoTool]) -> list[HailuoTool]:
        """The tools, those that the page shows bound to it, and the page's own."""
        for tool in tools:
            if tool.name in SHOWN_BY:
                tool.meta = {"ui": {"resourceUri": PLAYER}, "ui/resourceUri": PLAYER}  # the second for older hosts
        own = [
            HailuoTool.of(self.player_card, "Facts and frames for the player", read_only=True),
            HailuoTool.of(self.player_clip, "A small copy for the player", read_only=False, destructive=False),
        ]
        for tool in own:
            tool.meta = {"ui": {"resourceUri": PLAYER, "visibility": ["app"]}}
        return [*tools, *own]

    async def hide(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: clients that do not declare the extension see neither the page nor its tools in a list."""
        result = await call_next(ctx)
        if (
            ctx.method in ("tools/list", "resources/list")
            and isinstance(result, dict)
            and not client_supports_apps(ctx)
        ):
            for kind in {"tools", "resources"} & result.keys():
                result[kind] = [item for item in result[kind] if not _for_the_page(item)]
        return result

    async def player_card(
        self, task_id: str = "", prompt: str = "", first_frame_image: str = "", last_frame_image: str = ""
    ) -> Annotated[CallToolResult, Card]:
        """What the player shows of a video or, without task_id, of a request: its words and small frames; free."""
        studio = await self._app.studio()
        request, age = None, None
        seen: dict[FrameName, bytes] = {}
        if task_id:
            video = await studio.find(task_id)
            age = self._clock() - video.created_at
            if video.intent:  # else it was submitted elsewhere, and nobody here knows what was asked
                request, prompt = _request(video.intent), video.intent.prompt
                seen = await studio.glimpses_of(video.intent)
        else:
            seen = await studio.glimpses(first_frame_image, last_frame_image)
        reading = camera.read(prompt)
        result = Card(
            prompt=reading.prompt,
            request=request,
            camera=[_move(move) for move in reading.moves],
            pictures=list(seen),
            age_seconds=age,
            poll_seconds=self._app.settings.poll_interval,
            typical_minutes=list(TYPICAL_MINUTES),
        )
        return answer(f"{len(seen)} frames to see.", result, *map(_jpeg, seen.values()))

    async def player_clip(self, task_id: Clip) -> Annotated[CallToolResult, SmallCopy]:
        """A small copy of a finished video, without sound, and its first picture; free."""
        small = await (await self._app.studio()).miniature(task_id.strip())
        clip = BlobResourceContents(
            uri="ui://hailuo/clip.mp4", mime_type="video/mp4", blob=base64.b64encode(small.clip).decode()
        )
        result = SmallCopy(seconds=round(small.seconds, 2), is_whole=small.is_whole)
        return answer(
            "A small copy of the video.",
            result,
            _jpeg(small.poster),
            EmbeddedResource(type="resource", resource=clip),
        )


def for_models(meta: dict[str, Any] | None) -> bool:
    """Whether a tool with that `_meta` is meant for models, not for the page alone."""
    return "model" in (meta or {}).get("ui", {}).get("visibility", ["model"])


def link_origins(base_url: str) -> list[str]:
    """Where the page may load a finished video from: the known hosts, and a simulated API on this machine."""
    parts = urlsplit(base_url)
    simulated = [f"{parts.scheme}://{parts.netloc}"] if is_loopback(parts.hostname or "") else []
    return [*LINK_HOSTS, *simulated]


def _for_the_page(item: dict[str, Any]) -> bool:
    return item.get("uri") == PLAYER or not for_models(item.get("_meta"))


def _request(intent: "Intent") -> dict[str, Any]:
    names = ("prompt", "duration", "resolution", "prompt_optimizer", "aigc_watermark", "take")
    frames = {"first_frame_image": intent.first_frame or "", "last_frame_image": intent.last_frame or ""}
    return {name: getattr(intent, name) for name in names} | frames


def _move(move: camera.Move) -> dict[str, Any]:
    sent = f"[{','.join(command.text for command in move.commands)}]"
    return {"sent": sent, "commands": [command.english for command in move.commands]}


def _jpeg(data: bytes) -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type="image/jpeg")
