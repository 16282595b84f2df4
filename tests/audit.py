"""Known vulnerabilities of all that the lock files name, asked of OSV (by `uv audit`) and of npm (by `npm audit`).

    .venv/bin/python tests/audit.py

Any vulnerability is a failure. Where a service cannot be asked, it says so loudly and fails nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NODE_FOLDERS = ("tests/player", "tests/conformance", "examples")
PATIENCE_SECONDS = 60
OSV = "https://api.osv.dev"
NPM = ""  # the registry that npm is set to


class NotRun(Exception):
    """The service could not be asked, and why."""


def python(service: str = OSV, patience: float = PATIENCE_SECONDS) -> str:
    """What is known of the packages in uv.lock: nothing, or a report."""
    done = _run("uv", "audit", "--frozen", "--service-url", service, patience=patience)
    if done.returncode == 1:
        return done.stdout
    if done.returncode and service in done.stderr:  # it names the address that it did not reach
        raise NotRun(f"uv could not ask {service}:\n{done.stderr.strip()}")
    if done.returncode:
        raise SystemExit(f"uv audit failed:\n{done.stderr}")
    return ""


def node(folder: Path, registry: str = NPM, patience: float = PATIENCE_SECONDS) -> str:
    """What is known of the packages in a folder's package-lock.json: nothing, or a report."""
    where = ("--registry", registry) if registry else ()
    words = ("npm", "audit", "--package-lock-only", "--json", "--fetch-retries=0", "--prefix", str(folder), *where)
    done = _run(*words, patience=patience)
    answer: dict[str, Any] = json.loads(done.stdout)
    if "vulnerabilities" in answer:
        found = [f"{name} {about['range']}: {about['severity']}" for name, about in answer["vulnerabilities"].items()]
        return "\n".join(found)
    if "message" in answer:  # of the request; what is wrong with the folder has an error code and no message
        raise NotRun(f"npm could not ask its registry: {answer['message']}")
    raise SystemExit(f"npm audit failed:\n{done.stderr}")


def _run(program: str, *words: str, patience: float) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    found = shutil.which(program, path=path)
    if found is None:
        raise NotRun(f"{program} is not installed")
    environment = os.environ | {"UV_HTTP_RETRIES": "1"}
    try:
        return subprocess.run(
            [found, *words],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=patience,
            cwd=ROOT,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"no answer within {patience:g} s") from error


def main(osv: str = OSV, registry: str = NPM) -> int:
    """Ask for every lock file; exit code 1 when anything is known."""
    asks = {"uv.lock": lambda: python(osv)}
    asks |= {f"{name}/package-lock.json": lambda name=name: node(ROOT / name, registry) for name in NODE_FOLDERS}
    amiss = False
    for lock, ask in asks.items():
        try:
            report = ask()
        except NotRun as reason:
            print(f"AUDIT NOT RUN for {lock}: {reason}")
            continue
        print(f"{lock}: {report or 'nothing is known against it'}")
        amiss |= bool(report)
    return int(amiss)


if __name__ == "__main__":
    sys.exit(main())
