"""A real PostgreSQL server for tests: one that is given, or Debian's binaries run in a temporary folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GIVEN = "HAILUO_TEST_POSTGRES_URL"
START_SECONDS = 30.0
SETTINGS = {"listen_addresses": "127.0.0.1", "max_connections": "100", "fsync": "off"}  # nothing here is kept


@dataclass(frozen=True, slots=True)
class Server:
    """Where databases may be created, or why that is nowhere."""

    url: str | None
    reason: str = ""


@contextmanager
def postgres() -> Iterator[Server]:
    """A server for as long as the block lasts."""
    binaries = _binaries()
    if url := os.environ.get(GIVEN):
        yield Server(url)
    elif binaries is None:
        yield _nowhere("no server is installed (Debian: apt-get install postgresql)")
    elif _is_root() and _servant() is None:
        yield _nowhere("PostgreSQL refuses to run as root and there is no user `postgres` or `nobody`")
    else:
        with tempfile.TemporaryDirectory(prefix="hailuo-postgres-", ignore_cleanup_errors=True) as folder:
            yield from _run(binaries, Path(folder))


def _nowhere(why: str) -> Server:
    return Server(
        None, f"NOT TESTED ON POSTGRESQL: {why}. Or set {GIVEN}=postgresql://user:password@host:5432/postgres."
    )


def _binaries() -> Path | None:
    """The folder of initdb and postgres, of the newest version."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _is_root() -> bool:
    return hasattr(os, "getuid") and os.getuid() == 0


def _servant() -> str | None:
    """A user to run the server as."""
    import pwd  # not on Windows, where nobody is root

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _run(binaries: Path, folder: Path) -> Iterator[Server]:
    user = _servant() if _is_root() else None
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    initialise = [binaries / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "-N", "--locale=C"]
    made = subprocess.run(initialise, user=user, cwd=folder, capture_output=True, text=True)
    if made.returncode:
        yield _nowhere(f"initdb failed: {made.stderr.strip()}")
        return
    port = _free_port()
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder if os.name == "posix" else "", *options]
    with log.open("wb") as output:
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=output, stderr=output)
    try:
        answers = _await_answer(server, log)
        words = log.read_text(encoding="utf-8", errors="replace").strip()
        url = f"postgresql://tester@127.0.0.1:{port}/postgres"
        yield Server(url) if answers else _nowhere(f"the server did not start: {words}")
    finally:
        _stop(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_answer(server: "subprocess.Popen[bytes]", log: Path) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if b"ready to accept connections" in log.read_bytes():
            return True
        time.sleep(0.02)
    return False


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
