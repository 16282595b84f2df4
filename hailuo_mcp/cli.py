"""The command line: serve, simulate, demo. The only place with `print`."""

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
SIMULATED_SECONDS = 20.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Without a command it serves over stdio, as hosts start it."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hailuo-mcp", description="First/last-frame AI video as an MCP server.")
    parser.set_defaults(command="serve", transport="stdio", host="127.0.0.1", port=8000, simulate=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the MCP server (what hosts start; the default)")
    serve.add_argument("--transport", choices=("stdio", "streamable-http"), default="stdio")
    serve.add_argument("--host", default="127.0.0.1", help="for streamable-http (default: this machine only)")
    serve.add_argument("--port", type=int, default=8000, help="for streamable-http (default: 8000)")
    serve.add_argument("--simulate", action="store_true", help="use an embedded simulated API: no key, nothing paid")
    demo = commands.add_parser("demo", help="watch the whole job, with no key and no network")
    demo.add_argument("--output", type=Path, default=Path("hailuo-demo"), help="folder for the video")
    simulate = commands.add_parser("simulate", help="run the simulated API alone")
    simulate.add_argument("--port", type=int, default=8765)
    simulate.add_argument("--seconds", type=float, default=SIMULATED_SECONDS, help="how long a video takes")
    return parser


async def _run(options: argparse.Namespace) -> None:
    command = {"demo": _demo, "simulate": _simulate}.get(options.command or "serve", _serve)
    await command(options)


async def _serve(options: argparse.Namespace) -> None:
    # The SDK makes hundreds of thousands of objects that stay: collecting garbage meanwhile only delays the start.
    gc.disable()
    from hailuo_mcp.errors import NotConfigured
    from hailuo_mcp.server import build_server, serve_http
    from hailuo_mcp.settings import load_settings

    gc.enable()
    async with AsyncExitStack() as stack:
        try:
            settings = load_settings()
            if options.simulate:
                settings = load_settings(**await _simulated(stack, settings.data_dir))
        except NotConfigured as error:
            print(f"hailuo-mcp: {error}", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        # Before the SDK does: its own handler would print wide, coloured tracebacks.
        logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("stamina").setLevel(logging.ERROR)  # a retry is no news; its failure is told by the tool
        server = build_server(settings, options.transport)
        if options.transport == "stdio":
            await server.run_stdio_async()
        else:
            print(f"hailuo-mcp serves at http://{options.host}:{options.port}/mcp", file=sys.stderr)
            await serve_http(server, options.host, options.port)


async def _simulated(stack: AsyncExitStack, data_dir: Path) -> dict[str, object]:
    """Settings that point at an embedded simulator, with a journal of its own."""
    from hailuo_mcp.simulator import Simulator

    simulator = await stack.enter_async_context(Simulator(generation_seconds=SIMULATED_SECONDS))
    return {
        "api_key": "sk-simulated",
        "base_url": simulator.base_url,
        "data_dir": data_dir / "simulated",
        "poll_interval": 1.0,
    }


async def _simulate(options: argparse.Namespace) -> None:
    from hailuo_mcp.simulator import Simulator

    async with Simulator(port=options.port, generation_seconds=options.seconds) as simulator:
        print(f"The simulated API listens at {simulator.base_url}; its key is sk-simulated.")
        print(f"Use it with: HAILUO_BASE_URL={simulator.base_url} DMXAPI_API_KEY=sk-simulated hailuo-mcp", flush=True)
        await asyncio.Event().wait()


async def _demo(options: argparse.Namespace) -> None:
    from hailuo_mcp.demo import run_demo

    path = await run_demo(options.output.absolute(), print)
    print(f"\nThe video is at {path}")
