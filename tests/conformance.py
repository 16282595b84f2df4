"""The referees from outside: the conformance suite of MCP in both revisions, and the Inspector's lint of the schemas.

    .venv/bin/python tests/conformance.py

It needs npm, which fetches what `conformance/package-lock.json` names; without it nothing is judged, and it says so.
What does not apply to this server, and why, stands in `conformance/expected-failures.yml`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from test_process import bare

HERE = Path(__file__).parent
FOLDER = HERE / "conformance"
EXPECTED = FOLDER / "expected-failures.yml"
REVISIONS = ("2025-11-25", "2026-07-28")
SUITE, INSPECTOR = "conformance/dist/index.js", "inspector/clients/launcher/build/index.js"
SERVER = (sys.executable, "-m", "hailuo_mcp", "serve", "--simulate")
OVER_HTTP = (*SERVER, "--transport", "streamable-http", "--port", "0")
FIXTURES = (sys.executable, str(HERE / "conformance_server.py"))
# The fixtures that stream while a call goes on, beside all that the suite has for tasks.
TALKING = {
    REVISIONS[0]: ("tools-call-with-progress", "tools-call-elicitation", "tools-call-sampling"),
    REVISIONS[1]: ("tools-call-with-progress",),
}
# Of results only, which no model has to be told: `anyOf` would make the list of tools a tenth dearer for every model.
NULLABLE = re.compile(
    r'^Warning: tool ".+"\n +Path: outputSchema\..+\n +Issue: `type` is an array \(\["\w+","null"\]\)'
)
START_SECONDS = 60
TASKS_AT_LEAST = 10
INSTALL_SECONDS = 600
SUITE_SECONDS = 300
# What npm says when it is the registry that cannot be reached, and not the lock that is wrong.
UNREACHABLE = re.compile(r"code (E[45]\d\d|ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|E(HOST|NET)UNREACH|ERR_SOCKET\w+)")


class NotRun(Exception):
    """The referees cannot be had here."""


def install() -> None:
    """Fetch the referees, exactly as locked; what they would run at installation is not run."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotRun("npm is not installed")
    command = [npm, "ci", "--prefix", str(FOLDER), "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"npm took longer than {INSTALL_SECONDS} s") from error
    if done.returncode and (trouble := UNREACHABLE.search(done.stderr)):
        raise NotRun(f"the registry of npm cannot be reached ({trouble[1]})")
    if done.returncode:
        sys.exit(f"npm ci failed:\n{done.stderr}")


def played(package: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a referee, with the Node.js that is locked beside it, or the machine's own where there is none for it."""
    modules = FOLDER / "node_modules"
    node = shutil.which("node", path=os.pathsep.join([str(modules / ".bin"), os.environ["PATH"]]))
    script = modules / "@modelcontextprotocol" / package
    if node is None:
        raise NotRun("Node.js is not installed")
    return subprocess.run(
        [node, str(script), *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SUITE_SECONDS,
        env=bare(folder) | {"NO_COLOR": "1"},
        cwd=folder,
    )


def suite(url: str, *words: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Counter[str]]]:
    """Play the suite, or one scenario of it, against a server; how many checks of each scenario ended how."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        done = played(SUITE, "server", "--url", url, "--output-dir", out, *words, folder=folder)
        return done, {
            re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\dZ-]+$", "", path.parent.name): Counter(
                check["status"] for check in json.loads(path.read_text(encoding="utf-8"))
            )
            for path in sorted(Path(out).rglob("checks.json"))
        }


@contextmanager
def serving(command: Sequence[str], home: Path) -> Iterator[str]:
    """A server process of its own; where it serves."""
    home.mkdir()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=bare(home), cwd=home
    )
    assert process.stdout
    too_late = threading.Timer(START_SECONDS, process.kill)
    too_late.start()
    try:
        url = next((found[1] for line in process.stdout if (found := re.search(r"serves at (http://\S+)", line))), "")
        too_late.cancel()
        if not url:
            sys.exit(f"{' '.join(command)} ended before it served")
        threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop the server
        yield url
    finally:
        too_late.cancel()
        process.terminate()
        process.wait(30)


def judge_server(url: str, folder: Path) -> bool:
    """The whole suite against the real server, in each revision; what must fail is listed, and nothing else is."""
    fine, played_at_all = True, set()
    for revision in REVISIONS:
        words = ("--suite", "all", "--spec-version", revision, "--expected-failures", str(EXPECTED))
        done, scenarios = suite(url, *words, folder=folder)
        played_at_all |= scenarios.keys()
        failing = {name for name, checks in scenarios.items() if checks["FAILURE"]}
        print(
            f"conformance {revision}: {len(scenarios)} scenarios, {len(scenarios) - len(failing)} passed, "
            f"{len(failing)} do not; {sum(checks['SUCCESS'] for checks in scenarios.values())} checks passed"
        )
        if done.returncode or not scenarios:
            fine = False
            print(done.stdout.partition("=== SUMMARY ===")[2], done.stderr[-2000:], sep="\n")
    listed = re.findall(r"^ +- ([\w-]+)", EXPECTED.read_text(encoding="utf-8"), re.MULTILINE)
    if unknown := sorted(set(listed) - played_at_all):
        print(f"{EXPECTED.name} names what is no scenario: {', '.join(unknown)}")
    return fine and not unknown


def judge_fixtures(url: str, folder: Path) -> bool:
    """The scenarios of tasks, and those that talk in the middle of a call, through this project's code; all pass."""
    names = played(SUITE, "list", "--server", folder=folder).stdout
    tasks = re.findall(r"^ +- (tasks-[\w-]+)", names, re.MULTILINE)
    runs = [(name, ()) for name in tasks]
    runs += [(name, ("--spec-version", revision)) for revision, talking in TALKING.items() for name in talking]
    total: Counter[str] = Counter()
    failed = [] if len(tasks) >= TASKS_AT_LEAST else ["tasks-* (the suite lists too few)"]
    for name, words in runs:
        done, scenarios = suite(url, "--scenario", name, *words, folder=folder)
        checks = scenarios.get(name, Counter())
        total += checks
        if done.returncode or checks["FAILURE"] or checks["WARNING"] or not checks:
            failed.append(name)
            print(done.stdout[-6000:], done.stderr[-2000:], sep="\n")
    print(f"conformance of fixtures: {len(runs)} scenarios, {len(failed)} failed; {dict(total)}")
    return not failed


def judge_schemas(url: str, folder: Path) -> bool:
    """The Inspector's lint, over both transports in both eras: no error, and no warning but of nullable results."""
    fine, tolerated = True, set()
    for target in (("--", *SERVER), (url,)):
        for era in ("legacy", "modern"):
            words = ("--cli", "--strict", "--method", "tools/list", "--protocol-era", era, *target)
            done = played(INSPECTOR, *words, folder=folder)
            findings = re.findall(r"^(?:Warning|Error): tool .*(?:\n .*)*", done.stderr, re.MULTILINE)
            amiss = [finding for finding in findings if not NULLABLE.match(finding)]
            tolerated.add(len(findings) - len(amiss))
            way = "stdio" if target[0] == "--" else "HTTP"
            print(f"schemas over {way}, {era}: {len(amiss)} findings, beside {len(findings) - len(amiss)} tolerated")
            if done.returncode or amiss or '"generate_video"' not in done.stdout:
                fine = False
                print(*amiss, done.stderr[-2000:], sep="\n")
    if tolerated == {0}:
        print("Nothing has to be tolerated any more: take NULLABLE out")
    return fine and tolerated != {0}


def main() -> None:
    """Let all of them judge; exit code 1 when something is amiss, 0 also where nothing could be judged."""
    try:
        install()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch)
            with serving(OVER_HTTP, folder / "server") as url:
                fine = judge_server(url, folder)
                fine &= judge_schemas(url, folder)
            with serving(FIXTURES, folder / "fixtures") as url:
                fine &= judge_fixtures(url, folder)
    except NotRun as error:
        print(f"CONFORMANCE NOT RUN: {error}")
        return
    sys.exit(not fine)


if __name__ == "__main__":
    main()
