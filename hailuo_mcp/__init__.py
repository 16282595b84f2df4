"""AI video from a first and a last picture, as a library; `python -m hailuo_mcp` serves the same studio over MCP.

async with open_studio(load_settings()) as studio:
    submitted = await studio.generate(Request("[Push in] dawn", first_frame_image="/pictures/dawn.jpg"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hailuo_mcp.app import open_studio
    from hailuo_mcp.errors import HailuoError
    from hailuo_mcp.records import Video
    from hailuo_mcp.review import Request
    from hailuo_mcp.settings import Settings, load_settings
    from hailuo_mcp.studio import Studio, Submitted

__all__ = ["HailuoError", "Request", "Settings", "Studio", "Submitted", "Video", "load_settings", "open_studio"]
_HOMES = {
    "HailuoError": "errors",
    "Request": "review",
    "Settings": "settings",
    "Studio": "studio",
    "Submitted": "studio",
    "Video": "records",
    "load_settings": "settings",
    "open_studio": "app",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: whoever starts the server or a command pays for none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
