"""What an answer shows besides its text: a small picture, a link to a file."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_types import ImageContent, ResourceLink

if TYPE_CHECKING:
    from hailuo_mcp.films.film import Film


def picture(jpeg: bytes) -> ImageContent:
    """A JPEG to look at."""
    return ImageContent(type="image", data=base64.b64encode(jpeg).decode(), mime_type="image/jpeg")


def video_link(path: Path, size: int | None) -> ResourceLink:
    """A video's file, of `size` bytes."""
    return ResourceLink(type="resource_link", uri=path.as_uri(), name=path.name, mime_type="video/mp4", size=size)


def picture_link(path: Path) -> ResourceLink:
    """A picture's file."""
    return ResourceLink(type="resource_link", uri=path.as_uri(), name=path.name, mime_type="image/png")


def film_links(film: "Film") -> list[ResourceLink]:
    """The film's file, once it is joined."""
    record = film.record
    return [video_link(Path(record.path), record.bytes)] if record.finished and record.path else []
