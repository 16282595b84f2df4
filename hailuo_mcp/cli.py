"""The command line: which command does what. Each command's own modules load when it runs."""

import argparse
import asyncio
import dataclasses
import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

from hailuo_mcp.errors import HailuoError, NotConfigured
from hailuo_mcp.redaction import Redacting
from hailuo_mcp.terminal.arguments import read
from hailuo_mcp.terminal.console import Console, OutputLost
from hailuo_mcp.terminal.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, code_of

if TYPE_CHECKING:
    from hailuo_mcp.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Without a command it serves over stdio, as hosts start it."""
    options = read(arguments)
    try:
        code = asyncio.run(run(options, Console()))
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who reads, such as `head`, has had enough. Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    sys.exit(code)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Run a command; whatever is foreseen becomes a sentence on stderr and an exit code."""
    command = {
        "demo": _demo,
        "simulate": _simulate,
        "generate": _make_videos,
        "status": _make_videos,
        "list": _make_videos,
        "download": _make_videos,
        "check": _make_videos,
        "preview": _make_videos,
        "film": _make_videos,
        "retake": _make_videos,
        "install": _install,
        "uninstall": _install,
        "doctor": _doctor,
        "bundle": _bundle,
    }.get(options.command, _serve)
    try:
        return await (_version if options.version else command)(options, console)
    except OutputLost as error:
        console.fail(error)
        return code_of(error)
    except HailuoError as error:
        code, sentence = code_of(error), str(error)
    except asyncio.CancelledError:
        if not options.json:
            raise
        code, sentence = EXIT_INTERRUPTED, "Stopped."
    console.fail(sentence)
    if options.json:
        console.document({"error": sentence, "exit_code": code, "task_id": options.task})
    return code


async def _version(_options: argparse.Namespace, console: Console) -> int:
    import importlib.metadata

    console.result(f"hailuo-mcp {importlib.metadata.version('hailuo-mcp')}")
    return EXIT_OK


async def _make_videos(options: argparse.Namespace, console: Console) -> int:
    from hailuo_mcp.films.script import is_film
    from hailuo_mcp.terminal import films, looking, typed, videos

    command = {
        "generate": videos.generate,
        "status": videos.status,
        "list": videos.list_videos,
        "download": videos.download,
        "check": looking.check,
        "preview": looking.preview,
        "film": films.film,
        "retake": films.retake,
    }[options.command]
    if options.command == "status" and options.task and is_film(options.task):
        command = films.status
    async with AsyncExitStack() as stack:
        settings = await _settings(stack, options)
        _log_to_stderr(settings)
        try:
            return await command(options, settings, console)
        except HailuoError as error:
            raise typed.in_our_words(error) from error.__cause__


async def _install(options: argparse.Namespace, console: Console) -> int:
    from hailuo_mcp.setup import installing

    command = installing.install if options.command == "install" else installing.uninstall
    return command(options, console)


async def _doctor(options: argparse.Namespace, console: Console) -> int:
    from hailuo_mcp.setup import doctor

    logging.getLogger("stamina").setLevel(logging.ERROR)
    findings = []
    async for finding in doctor.examine():
        findings.append(finding)
        if not options.json:
            colour = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.state]
            lines = [f"{finding.check}: {finding.found}", *([finding.advice] if finding.advice else [])]
            console.listed(f"{finding.state:<6}", colour, lines)
    failed = sum(finding.state == "fail" for finding in findings)
    if options.json:
        console.document({"ok": not failed, "checks": [dataclasses.asdict(finding) for finding in findings]})
    else:
        doubtful = sum(finding.state == "warn" for finding in findings)
        mended = f"To be mended: {failed}." if failed else "Nothing has to be mended."
        console.say(f"\n{mended}{f' To be looked at: {doubtful}.' if doubtful else ''}")
    return EXIT_FAILED if failed else EXIT_OK


async def _bundle(options: argparse.Namespace, console: Console) -> int:
    from hailuo_mcp.setup.bundle import write_bundle

    path = await write_bundle(options.output)
    console.result(str(path))
    console.say("Open it with Claude Desktop, or drop it on Settings, Extensions.")
    return EXIT_OK


async def _serve(options: argparse.Namespace, console: Console) -> int:
    # The SDK makes hundreds of thousands of objects that stay: collecting garbage meanwhile only delays the start.
    gc.disable()
    with _built_when_needed():
        from hailuo_mcp.server import build_server

    async with AsyncExitStack() as stack:
        settings = await _settings(stack, options)
        # Before the SDK does: its own handler would print wide, coloured tracebacks.
        _log_to_stderr(settings)
        if options.transport == "stdio":
            server = build_server(settings)
            gc.freeze()  # else the first collection would walk through all of them
            gc.enable()
            await server.run_stdio_async()
        else:
            await _serve_http(settings, options, console)
    return EXIT_OK


@contextmanager
def _built_when_needed() -> Iterator[None]:
    """The models that are imported meanwhile get their validators when first used (pydantic's `defer_build`).

    The SDK has some 600 of them, for two revisions of the protocol, of which a conversation uses a few.
    """
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]


async def _serve_http(settings: "Settings", options: argparse.Namespace, console: Console) -> None:
    from hailuo_mcp import hosting

    servers = hosting.build_servers(settings, options.host)
    gc.enable()
    app = hosting.build_app(
        servers,
        options.host,
        tokens=settings.http_callers(),
        names=settings.http_hosts,
        rate=settings.http_rate,
    )
    await hosting.serve_http(app, options.host, options.port, console.say)


async def _settings(stack: AsyncExitStack, options: argparse.Namespace) -> "Settings":
    """Settings from the environment and the command line; with `--simulate` those of an embedded simulator."""
    from hailuo_mcp.settings import is_reference, load_settings

    allowed = [folder for folder in options.allow or () if not is_reference(folder)]
    given: dict[str, object] = {"allowed_dirs": tuple(allowed)} if allowed else {}
    settings = load_settings(**given)
    if not options.simulate:
        return settings
    from hailuo_mcp.simulator import Simulator

    simulator = await stack.enter_async_context(Simulator(generation_seconds=options.seconds))
    return load_settings(
        **given,
        api_key="sk-simulated",
        base_url=simulator.base_url,
        data_dir=settings.data_dir / "simulated",  # a journal of its own
        database_url=None,
        poll_interval=1.0,
    )


def _log_to_stderr(settings: "Settings") -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(levelname)s %(name)s: %(message)s", settings.secrets()))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.getLogger("stamina").setLevel(logging.ERROR)  # a retry is no news; its failure is told by the tool


async def _simulate(options: argparse.Namespace, console: Console) -> int:
    from hailuo_mcp.simulator import Simulator

    async with AsyncExitStack() as stack:
        try:
            simulator = await stack.enter_async_context(
                Simulator(port=options.port, generation_seconds=options.seconds)
            )
        except (OSError, OverflowError) as error:
            raise NotConfigured(f"cannot listen at port {options.port}; choose another --port ({error})") from error
        console.result(f"The simulated API listens at {simulator.base_url}; its key is sk-simulated.")
        console.result(f"Use it with: HAILUO_BASE_URL={simulator.base_url} DMXAPI_API_KEY=sk-simulated hailuo-mcp")
        await asyncio.Event().wait()
    return EXIT_OK


async def _demo(options: argparse.Namespace, console: Console) -> int:
    from hailuo_mcp.demo import run_demo

    path = await run_demo(options.output.expanduser().absolute(), console.result)
    if path is None:
        return EXIT_FAILED
    console.result(f"\nThe video is at {path}")
    return EXIT_OK
