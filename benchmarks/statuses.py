"""Row 3: a status query through a server against a direct call: alone, many at once, and beside slow ones."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from measure import cpu, interleaved, percentile
from peers import BARE, MINIMAX, NODE, OURS, Call
from report import Section
from stage import Script, Stage
from wire import Deaf, Server

AT_ONCE = 64
IN_A_ROW = 25
SLOW_MS = 1000
DIRECT, REQUESTS = "direct, httpx", "direct, requests"
AGAIN = f"{OURS}, asked again within 10 s"
# Ours asks the API about a video once in an interval and answers from its record meanwhile. Here each call is to ask.
ALWAYS_ASKS = {"HAILUO_POLL_INTERVAL": "0.02", "HAILUO_COLLECT": "false"}
RATIO_MAX = 3.0
PATIENCE_SECONDS = 2.0
HTTPX = "httpx alone"  # as layers.py calls it

Ask = Callable[[str], Call]


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who can be asked after one task, or after many at once; the answers are seconds."""

    pid: int
    one: Callable[[str], float]
    many: Callable[[list[str]], list[float]]


def statuses(stage: Stage) -> list[Section]:
    """All of row 3."""
    with ExitStack() as stack:
        contenders = {
            name: _script(stack.enter_context(stage.script(kind)))
            for name, kind in ((DIRECT, "httpx"), (REQUESTS, "requests"))
        }
        for name, peer in stage.peers.items():
            server = stage.start(name, **(ALWAYS_ASKS if name == OURS else {}))
            contenders[name] = _server(stack.enter_context(server), peer.status or _hello)
        again = _server(stack.enter_context(stage.start(OURS)), stage.peers[OURS].status or _hello)
        layers = dict(stage.layers("status", stage.url, stage.new_folder()))
        found = [_alone(stage, contenders | {AGAIN: again}, layers), _at_once(stage, contenders, layers)]
    return [*found, _beside_slow_ones(stage)]


def _hello(name: str) -> Call:
    return "hello", {"name": name}


def _script(script: Script) -> Contender:
    return Contender(script.pid, lambda task: script.do("status", task), lambda tasks: script.do("statuses", tasks))


def _server(server: Server, ask: Ask) -> Contender:
    def one(task_id: str) -> float:
        begin = time.perf_counter()
        server.call(*ask(task_id))
        return time.perf_counter() - begin

    def many(task_ids: list[str]) -> list[float]:
        sent = [(time.perf_counter(), server.start_call(*ask(task_id))) for task_id in task_ids]
        return [server.ask(number)[0] - at for at, number in sent]

    return Contender(server.pid, one, many)


def _alone(stage: Stage, contenders: Mapping[str, Contender], layers: Mapping[str, float]) -> Section:
    """One after the other."""
    pooled: dict[str, list[float]] = {name: [] for name in contenders}

    def act(name: str) -> Mapping[str, float]:
        begin = cpu(contenders[name].pid)
        taken = [1000 * contenders[name].one(f"p{at}") for at in range(IN_A_ROW)]
        pooled[name] += taken
        used = 1000 * (cpu(contenders[name].pid) - begin) / IN_A_ROW
        return {"p50": statistics.median(taken), "cpu": used}

    found = interleaved({name: lambda name=name: act(name) for name in contenders}, stage.rounds(30, 6), warm_up=2)
    columns = ("who", "p50 ms", "p99 ms", "CPU ms", "times the direct call, p50")
    section = Section("3a. check_status, one after the other", columns)
    for name, samples in found.items():
        numbers = [samples.median("p50"), percentile(pooled[name], 0.99), samples.median("cpu")]
        ratio = samples.ratio("p50", found[DIRECT])
        section.lines.append((name, *(f"{number:.2f}" for number in numbers), f"{ratio:.1f}"))
    words = ", ".join(f"{name} {cost:.2f} ms" for name, cost in layers.items())
    section.notes.append(
        f"Where a query's CPU time goes: the SDK and the pipe {found[BARE].median('cpu'):.2f} ms (the bare server, "
        f"which asks nobody), {words}. So nearly all of it is the SDK and httpx. {MINIMAX} has the same SDK and asks "
        "through requests, which needs less for a single call, and a thread for each; node's SDK and HTTP are faster "
        "than Python's."
    )
    ratio = found[OURS].ratio("p50", found[DIRECT])
    section.goal("status at most 3 times the direct call at p50", f"{ratio:.1f} times", ratio <= RATIO_MAX)
    section.ahead("status, p50", found, "p50", "ms", 2)
    return section


def _at_once(stage: Stage, contenders: Mapping[str, Contender], layers: Mapping[str, float]) -> Section:
    """Many different videos asked for at the same moment, from an API that answers at once, and after 50 ms."""
    now, later = ([f"{prefix}{at}" for at in range(AT_ONCE)] for prefix in ("p", "w50-"))

    def act(contender: Contender) -> Mapping[str, float]:
        taken = [1000 * seconds for seconds in contender.many(now)]
        late = 1000 * max(contender.many(later))
        return {"p50": statistics.median(taken), "p99": percentile(taken, 0.99), "late": late}

    acts = {name: lambda contender=contender: act(contender) for name, contender in contenders.items()}
    found = interleaved(acts, stage.rounds(10, 3), warm_up=1)
    columns = ("who", "p50 ms", "p99 ms", "all, API answers after 50 ms", "times the direct calls, p99")
    section = Section(f"3b. check_status, {AT_ONCE} at once", columns)
    for name, samples in found.items():
        numbers = [f"{samples.median(quantity):.0f}" for quantity in ("p50", "p99", "late")]
        section.lines.append((name, *numbers, f"{samples.ratio('p99', found[DIRECT]):.1f}"))
    sdk, requests = found[BARE].median("p99"), AT_ONCE * layers[HTTPX]
    section.notes.append(
        f"The SDK needs {sdk:.0f} ms for {AT_ONCE} calls that ask nobody, and httpx {requests:.0f} ms of CPU time for "
        "as many requests one after the other. At once they take it longer, as the direct calls show: for each its "
        "pool goes through all connections and all that wait, so ours go through several pools. "
        f"{MINIMAX} asks through requests, which needs less, in a thread for each call."
    )
    section.ahead(f"status, {AT_ONCE} at once, p99", found, "p99", "ms", beside=(NODE,))
    section.ahead(f"status, {AT_ONCE} at once, an API of 50 ms", found, "late", "ms", beside=(NODE,))
    return section


def _beside_slow_ones(stage: Stage) -> Section:
    """The slowest of the quick calls while slow ones hang at the API."""

    def act(name: str, slow: int) -> float:
        ask = stage.peers[name].status or _hello
        with stage.start(name, **(ALWAYS_ASKS if name == OURS else {})) as server:
            server.call(*ask("p1"))
            for at in range(slow):
                server.start_call(*ask(f"w{SLOW_MS}-{at}"))
            time.sleep(0.4 * SLOW_MS / 1000)  # until all of them hang
            end, worst = time.perf_counter() + 0.4 * SLOW_MS / 1000, 0.0
            while time.perf_counter() < end:
                begin = time.perf_counter()
                try:
                    server.ask(server.start_call(*ask("p1")), PATIENCE_SECONDS)
                except Deaf:
                    return PATIENCE_SECONDS * 1000
                worst = max(worst, time.perf_counter() - begin)
        return 1000 * worst

    names = [name for name in stage.peers if name != BARE]
    acts = {name: lambda name=name: {str(slow): act(name, slow) for slow in (0, 1, AT_ONCE)} for name in names}
    found = interleaved(acts, stage.rounds(3, 1))
    columns = ("server", "none slow, ms", "1 slow", f"{AT_ONCE} slow")
    section = Section(f"3c. The slowest quick call while others hang for {SLOW_MS} ms", columns)
    for name, samples in found.items():
        section.lines.append((name, *(f"{samples.median(quantity):.0f}" for quantity in samples.of)))
    section.notes.append(f"Who has not answered after {PATIENCE_SECONDS * 1000:.0f} ms is not waited for any longer.")
    one, many = (found[OURS].median(str(slow)) for slow in (1, AT_ONCE))
    said = f"at worst {one:.0f} ms beside one, {many:.0f} ms beside {AT_ONCE}"
    section.goal("no slow call ever delays another", said, max(one, many) < SLOW_MS / 4)
    return section
