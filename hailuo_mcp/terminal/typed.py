"""What a person typed, as a request and a place; and what the studio says, in the terms of the command line."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hailuo_mcp import files
from hailuo_mcp.errors import DownloadFailed, HailuoError, NotConfigured, NotReady
from hailuo_mcp.review import Request
from hailuo_mcp.settings import KEY_VARIABLE, Settings

# The studio speaks to a model; at a terminal the same things have other names.
_CALLS = {
    r"retake_shot\(film_id=\"([^\"]+)\", shot=(\d+), task_id=\.\.\.\)": r"`hailuo-mcp retake \1 \2 --found TASK`",
    r"retake_shot\(film_id=\"([^\"]+)\", shot=(\d+)\)": r"`hailuo-mcp retake \1 \2`",
    r"check_status\(task_id=[\"']([^\"']+)[\"'](, wait_seconds=\d+)?\)": r"`hailuo-mcp status \1 --wait`",
    r"the same call with confirm=true\. preview=true draws it": "the same with --pay. --preview draws it",
}
_NAMES = {
    "check_status with its task_id and record=": "`hailuo-mcp status` with its task_id and --record ",
    "check_status": "`hailuo-mcp status`",
    "download_video": "`hailuo-mcp download`",
    "list_videos": "`hailuo-mcp list`",
    "generate_video with take=": "`hailuo-mcp generate` with --take ",
    "generate_video": "`hailuo-mcp generate`",
    "first_frame_image": "FIRST",
    "last_frame_image": "LAST",
}


def request(options: argparse.Namespace, settings: Settings) -> tuple[Request, Settings]:
    """The request, and the settings that let its pictures be read."""
    sources = [_source(source) for source in (options.first, options.last)]
    first, last = (str(source) if source else None for source in sources)
    asked = Request(
        options.prompt,
        first,
        last,
        options.duration,
        options.resolution,
        not options.no_prompt_optimizer,
        options.watermark,
        options.take,
        mend=not options.no_mend,
    )
    return asked, _may_read(settings, sources)


def pictures(given: Sequence[str], settings: Settings) -> tuple[list[str], Settings]:
    """Pictures in order, empty where there is none, and the settings that let them be read."""
    sources = [_source(source) for source in given]
    return [str(source) if source else "" for source in sources], _may_read(settings, sources)


def _source(given: str | None) -> Path | str | None:
    """A frame as the person named it: nothing, a URL as it is, or a path from the folder that they are in."""
    if not given or not given.strip() or given.strip() == "-":
        return None
    path = Path(given).expanduser()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", given.strip()) and not path.exists():
        return given
    return Path(os.path.abspath(path))  # noqa: PTH100 - not resolved: the person's own words come back in messages


def _may_read(settings: Settings, sources: Sequence[Path | str | None]) -> Settings:
    """Who names a picture at their own terminal allows its folder."""
    named = [source.resolve().parent for source in sources if isinstance(source, Path)]
    allowed = settings.allowed_dirs if settings.allowed_dirs is not None else (Path.home(),)
    return settings.model_copy(update={"allowed_dirs": (*allowed, *named)})


@dataclass(frozen=True, slots=True)
class Place:
    """Where the person wants the video; None is what the settings and the task say."""

    folder: Path | None = None
    name: str | None = None

    def into(self, settings: Settings) -> Settings:
        """The settings with the folder that the person named."""
        return settings.model_copy(update={"output_dir": self.folder}) if self.folder else settings


def place(given: str | None) -> Place:
    """A name in the output folder, a folder, or a path; raises RequestRejected for a name that no file may have."""
    if not given:
        return Place()
    path = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - as the person wrote it, links and all
    if path.is_dir() or given.endswith(("/", os.sep)):
        return Place(path)
    return Place(None if path.name == given else path.parent, files.video_name(path.name))


def save(picture: bytes, given: str) -> Path:
    """Write a JPEG to the place that the person named, never over a file; raises DownloadFailed."""
    path = Path(given).expanduser().absolute()
    name = path.name if path.suffix.lower() in (".jpg", ".jpeg") else f"{path.name}.jpg"
    try:
        with files.draft(path.parent, name) as draft:
            draft.path.write_bytes(picture)
            return draft.publish()
    except OSError as error:
        raise DownloadFailed(f"The picture could not be saved as {path}: {error.strerror or error}.") from error


def in_our_words(error: HailuoError) -> HailuoError:
    """The same failure in the words of the command line."""
    words = in_our_terms(str(error))
    if isinstance(error, NotReady):
        words = words.replace(" and wait_seconds 45 until the status is Success, then try again", " and --wait")
    if isinstance(error, NotConfigured) and KEY_VARIABLE in words:
        words = f"No API key is set, so nothing was sent. Put the key into the environment variable {KEY_VARIABLE}."
    error.args = (words, *error.args[1:])
    return error


def in_our_terms(words: str) -> str:
    """A sentence with the command line's names for things."""
    for pattern, command in _CALLS.items():
        words = re.sub(pattern, command, words)
    for tool, command in _NAMES.items():
        words = words.replace(tool, command)
    return words
