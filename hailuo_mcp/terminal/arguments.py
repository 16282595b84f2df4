"""What can be asked for on the command line. Imports next to nothing: every start passes through here."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hailuo_mcp.rules import DEFAULT_DURATION, DEFAULT_RESOLUTION, DURATIONS, RESOLUTIONS, one_of
from hailuo_mcp.terminal.exits import EXITS

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

SIMULATED_SECONDS = 20.0
LIST_LIMIT = 20
COUNT_MAX = 999  # also of takes, as the tools have it
STATES = ("Submitting", "Unconfirmed", "Processing", "Success", "Failed", "Refused")
_FRAMES = (
    "FIRST and LAST are paths or URLs of pictures, or frames of earlier videos "
    "(hailuo://videos/TASK/last-frame); leave one out, or write - for it, to do without."
)
HOSTS = ("claude-desktop", "claude-code", "cursor", "vscode")


def read(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line as options; what is wrong with it ends the program with a usage message."""
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    reader = parser(servers_only=given[:1] in ([], ["serve"]))
    options = reader.parse_args(given)
    if options.command in ("generate", "check", "preview"):
        for name in ("first", "last"):
            if getattr(options, f"{name}_place") and getattr(options, name):
                reader.error(f"the {name} picture is given twice, as {name.upper()} and as --{name}")
            setattr(options, name, getattr(options, name) or getattr(options, f"{name}_place"))
    return options


def parser(*, servers_only: bool = False) -> argparse.ArgumentParser:
    """Every command with its arguments; `servers_only`: what a host starts, which waits for none of the others."""
    codes = "\n".join(f"  {code:<4}{meaning}" for code, meaning in EXITS.items())
    parser = argparse.ArgumentParser(
        prog="hailuo-mcp",
        description="First/last-frame AI video as an MCP server, and for a person at a terminal.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="tell which version this is")
    parser.set_defaults(
        command="serve", transport="stdio", simulate=False, seconds=SIMULATED_SECONDS, allow=None, json=False, task=None
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_servers(commands)
    if not servers_only:
        _add_videos(commands)
        _add_films(commands)
        _add_set_up(commands)
    return parser


def _add_servers(commands: "Commands") -> None:
    serve = commands.add_parser("serve", help="run the MCP server (what hosts start; the default)")
    serve.add_argument("--transport", choices=("stdio", "streamable-http"), default="stdio")
    serve.add_argument("--host", default="127.0.0.1", help="for streamable-http (default: this machine only)")
    serve.add_argument("--port", type=int, default=8000, help="for streamable-http; 0 takes a free one (default: 8000)")
    serve.add_argument(
        "--allow", nargs="*", metavar="FOLDER", help="folders that frames may be read from, as HAILUO_ALLOWED_DIRS"
    )
    _add_simulate(serve)
    demo = commands.add_parser("demo", help="watch the whole job, with no key and no network")
    demo.add_argument("--output", type=Path, default=Path("hailuo-demo"), help="folder for the video")
    simulate = commands.add_parser("simulate", help="run the simulated API alone")
    simulate.add_argument("--port", type=int, default=8765)
    _add_seconds(simulate)


def _add_videos(commands: "Commands") -> None:
    generate = commands.add_parser(
        "generate",
        help="make a video: pay, wait, save",
        description=f"Pay for a video, wait for it and save it; the last line is its path. {_FRAMES}",
    )
    _add_request(generate)
    _add_output(generate)
    _add_json(generate)
    _add_simulate(generate)
    check = commands.add_parser(
        "check",
        help="see what is wrong before paying; free",
        description=f"Judge the pictures and the prompt as `generate` will, without sending anything. {_FRAMES}",
    )
    _add_request(check)
    check.add_argument("-o", "--output", metavar="FILE", help="save a picture of the frames side by side, as JPEG")
    _add_json(check)
    preview = commands.add_parser(
        "preview",
        help="draw a sketch of the move on this machine; free",
        description=f"Draw a small, flat sketch of the shot as MP4; the last line is its path. {_FRAMES}",
    )
    _add_request(preview)
    _add_output(preview)
    _add_json(preview)
    status = commands.add_parser("status", help="see how a video or a film stands, or which are under way")
    status.add_argument("task", metavar="TASK", nargs="?", help="a task's or a film's id")
    status.add_argument("--wait", action="store_true", help="wait until the video has ended")
    status.add_argument(
        "--record", default="", help="the unconfirmed request that TASK, found at the provider, belongs to"
    )
    _add_json(status)
    listing = commands.add_parser("list", help="list earlier videos, newest first")
    listing.add_argument("--state", choices=STATES)
    listing.add_argument("--limit", type=_count, default=LIST_LIMIT, help=f"how many (default: {LIST_LIMIT})")
    listing.add_argument("--cursor", help="where the page before ended")
    _add_json(listing)
    download = commands.add_parser("download", help="save a finished video")
    download.add_argument("task", metavar="TASK")
    _add_output(download)
    _add_json(download)


def _add_films(commands: "Commands") -> None:
    film = commands.add_parser(
        "film",
        help="make a film of shots that lead from picture to picture",
        description="Plan a film, which is free; with --pay make it. N pictures and N-1 prompts make N-1 shots. Write "
        "- for a picture to leave a shot's end open: the next shot goes on from there.",
    )
    film.add_argument("keyframes", metavar="PICTURE", nargs="*", help="the keyframes in order: paths, URLs or -")
    film.add_argument("--prompt", action="append", required=True, help="what happens in a shot; once for each shot")
    film.add_argument(
        "--duration",
        type=int,
        action="append",
        help=f"seconds, once for all shots or once for each: {one_of(DURATIONS)}",
    )
    film.add_argument("--resolution", type=str.upper, default=DEFAULT_RESOLUTION, help=one_of(RESOLUTIONS))
    film.add_argument("--exact", action="store_true", help="join at a constant frame rate, encoded anew")
    film.add_argument("--add-to", metavar="FILM", help="add the shots to that film")
    film.add_argument("--take", type=_count, default=1, help="raise by 1 to pay for the same once more")
    film.add_argument("--no-mend", action="store_true", help="refuse pictures that cannot be sent as they are")
    film.add_argument("--storyboard", metavar="FILE", help="save a picture of the plan, as JPEG")
    what = film.add_mutually_exclusive_group()
    what.add_argument("--preview", action="store_true", help="draw the whole film as a sketch on this machine; free")
    what.add_argument("--pay", action="store_true", help="pay for every shot, wait, and join them")
    retake = commands.add_parser("retake", help="pay for one shot of a film again; the others stay")
    retake.add_argument("film", metavar="FILM")
    retake.add_argument("shot", metavar="SHOT", type=_count, help="its number")
    retake.add_argument("--prompt", help="what happens instead")
    retake.add_argument("--duration", type=int, help=f"seconds: {one_of(DURATIONS)}")
    retake.add_argument("--first", help="another opening picture")
    retake.add_argument("--last", help="another closing picture")
    retake.add_argument("--found", metavar="TASK", help="the task of an unconfirmed shot, found at the provider; free")
    for command in (film, retake):
        _add_json(command)
        _add_simulate(command)


def _count(word: str) -> int:
    """A number as a person counts; argparse says what is wrong with anything else."""
    if not word.isdecimal() or not 1 <= int(word) <= COUNT_MAX:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {COUNT_MAX} (got {word!r})")
    return int(word)


def _add_request(command: argparse.ArgumentParser) -> None:
    command.add_argument("first_place", metavar="FIRST", nargs="?", help="the opening picture")
    command.add_argument("last_place", metavar="LAST", nargs="?", help="the closing picture")
    command.add_argument("--first", help="the opening picture, by name")
    command.add_argument("--last", help="the closing picture, by name")
    command.add_argument("--prompt", required=True, help="what happens; camera moves in brackets: [Push in]")
    command.add_argument(
        "--duration",
        type=int,
        default=DEFAULT_DURATION,
        help=f"seconds: {one_of(DURATIONS)} (default: {DEFAULT_DURATION})",
    )
    command.add_argument(
        "--resolution",
        type=str.upper,
        default=DEFAULT_RESOLUTION,
        help=f"{one_of(RESOLUTIONS)} (default: {DEFAULT_RESOLUTION})",
    )
    command.add_argument("--no-prompt-optimizer", action="store_true", help="send the prompt as it is")
    command.add_argument("--watermark", action="store_true", help="mark the video as made by AI")
    command.add_argument("--take", type=_count, default=1, help="raise by 1 to pay for the same once more")
    command.add_argument("--no-mend", action="store_true", help="refuse pictures that cannot be sent as they are")


def _add_set_up(commands: "Commands") -> None:
    install = commands.add_parser("install", help="add this server to an assistant's configuration")
    install.add_argument("target", metavar="HOST", choices=(*HOSTS, "print"), help=f"{', '.join(HOSTS)} or print")
    install.add_argument("--with-key", action="store_true", help="write the key into the file, too")
    install.add_argument("--simulate", action="store_true", help="an entry for trying out: no key, nothing paid")
    uninstall = commands.add_parser("uninstall", help="take this server out of an assistant's configuration")
    uninstall.add_argument("target", metavar="HOST", choices=HOSTS, help=", ".join(HOSTS))
    for command in (install, uninstall):
        command.add_argument("--name", default="hailuo", help="the entry's name (default: hailuo)")
        command.add_argument("--dry-run", action="store_true", help="only show what would change")
    doctor = commands.add_parser("doctor", help="find what is wrong, in plain words")
    _add_json(doctor)
    bundle = commands.add_parser("bundle", help="make the one-click extension for Claude Desktop")
    bundle.add_argument("--output", type=Path, help="the .mcpb file to write")


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", "--name", metavar="NAME", help="the video's name in the output folder, or a path of your own"
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="answer with one JSON document on stdout, for scripts")


def _add_simulate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--simulate", action="store_true", help="use an embedded simulated API: no key, nothing paid")
    _add_seconds(command)


def _add_seconds(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seconds",
        type=float,
        default=SIMULATED_SECONDS,
        help=f"how long a simulated video takes (default: {SIMULATED_SECONDS:g})",
    )
