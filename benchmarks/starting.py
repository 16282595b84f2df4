"""Rows 1 and 2: from nothing to the list of tools, and what that list costs a model."""

import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from measure import NOISE, Samples, cpu, interleaved, resident
from peers import BARE, ENVIRONMENTS, INSIDE, NODE, OLDER, OURS, python
from report import Section
from stage import Stage

TOOLS_BYTES_BELOW = 14_000


def start(stage: Stage) -> Section:
    """Spawn, hello, tools/list: how long, and how much memory is in use then."""

    def act(name: str) -> Mapping[str, float]:
        begin = time.perf_counter()
        with stage.start(name) as server:
            server.request("tools/list")
            wall = time.perf_counter() - begin
            return {"ms": 1000 * wall, "cpu": 1000 * cpu(server.pid), "MB": resident(server.pid)}

    found = interleaved({name: lambda name=name: act(name) for name in stage.peers}, stage.rounds(15, 4), warm_up=1)
    section = Section(
        "1. Start to tools/list", ("server", "ms", "CPU ms", "times the bare server", "in CPU time", "resident MB")
    )
    for name, samples in found.items():
        ratios = [f"{samples.ratio(quantity, found[BARE]):.2f}" for quantity in ("ms", "cpu")]
        section.lines.append((name, *_numbers(samples, "ms", "cpu"), *ratios, *_numbers(samples, "MB")))
    _goals(section, found)
    section.notes += [_where_the_time_goes()]
    return section


def _numbers(samples: Samples, *names: str) -> list[str]:
    return [f"{samples.median(name):.0f}" for name in names]


def _goals(section: Section, found: dict[str, Samples]) -> None:
    ours = found[OURS]
    ratio, cpu_ratio = ours.ratio("ms", found[BARE]), ours.ratio("cpu", found[BARE])
    words = "start no slower than the bare server on the same SDK"
    # Starting is nothing but computing, and CPU time does not count what else the machine does.
    section.goal(words, f"{ratio:.2f} times in time, {cpu_ratio:.2f} in CPU time", cpu_ratio <= NOISE)
    section.ahead("start, CPU time", found, "cpu", "ms", beside=(OLDER, NODE))
    section.ahead("memory after the start", found, "MB", "MB", beside=(OLDER, NODE))


def _where_the_time_goes() -> str:
    """The start by Python's own import profile: what is the SDK's, and what is ours."""
    code = "import hailuo_mcp.server"
    command = [python("ours"), "-X", "importtime", "-c", code]
    profile = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    own: dict[str, int] = {}
    for line in profile.splitlines():
        micro, _, module = (part.strip() for part in line.removeprefix("import time:").split("|"))
        if micro.isdecimal():
            package = module.split(".")[0]
            own[package] = own.get(package, 0) + int(micro)
    total = sum(own.values())
    largest = sorted(own, key=lambda package: -own[package])[:6]
    shares = ", ".join(f"{package} {own[package] / total:.0%}" for package in largest)
    return (
        "Where a start goes in which all models are built at once, as in the bare server (`python -X importtime`, each "
        f"package's own modules): {shares}; all of `hailuo_mcp` {own['hailuo_mcp'] / total:.0%}. The SDK and what "
        "it imports are the start. Ours has their models built when they are first used; node has none."
    )


def tools(stage: Stage) -> Section:
    """The list of tools in bytes, as sent, and in tokens."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for name in stage.peers:
        with stage.start(name) as server:
            listed[name] = server.request("tools/list")[0]["tools"]
    sizes = {name: _bytes(found) for name, found in listed.items()}
    columns = ("server", "tools", "bytes", "tokens", "tokens of its video tools")
    section = Section("2. What tools/list costs a model", columns)
    texts = [_text(found) for found in listed.values()]
    texts += [_text([tool for tool in found if _is_video(stage, name, tool)]) for name, found in listed.items()]
    texts += [_text([tool]) for tool in listed[OURS]]
    tokens = _tokens(texts)
    for at, (name, found) in enumerate(listed.items()):
        video = str(tokens[len(listed) + at]) if name != BARE else "-"
        section.lines.append((name, str(len(found)), str(sizes[name]), str(tokens[at]), video))
    each = zip(listed[OURS], tokens[2 * len(listed) :], strict=True)
    section.notes.append(
        "Tool by tool: "
        + ", ".join(f"`{tool['name']}` {_bytes([tool])} bytes, {count} tokens" for tool, count in each)
        + "."
    )
    section.notes.append("Tokens are of the JSON as sent, in the encoding o200k_base; result schemas are part of it.")
    found = f"{sizes[OURS]} bytes"
    section.goal("all tools together under 14 KB of tools/list", found, sizes[OURS] < TOOLS_BYTES_BELOW)
    return section


def _is_video(stage: Stage, name: str, tool: Mapping[str, Any]) -> bool:
    return name == OURS or tool["name"] in stage.peers[name].video_tools


def _text(tools: list[dict[str, Any]]) -> str:
    return json.dumps({"tools": tools}, ensure_ascii=False, separators=(",", ":"))


def _bytes(tools: list[dict[str, Any]]) -> int:
    return len(_text(tools).encode())


def _tokens(texts: list[str]) -> list[int]:
    command = ["node", str(INSIDE / "tokens.mjs"), str(ENVIRONMENTS / "node")]
    done = subprocess.run(command, input=json.dumps(texts), check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))
