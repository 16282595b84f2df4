"""What is installed is bounded, locked and audited; the locks are in step and lead to the public registries only."""

import json
import re
import shutil
import socket
import sysconfig
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import audit
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = audit.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
NAMES = {package["name"] for package in LOCK["package"]}
OWN = PROJECT["project"]["name"]
(OURS,) = (package for package in LOCK["package"] if package["name"] == OWN)
VERSIONS = {name: [package["version"] for package in LOCK["package"] if package["name"] == name] for name in NAMES}
NODE = [ROOT / name for name in audit.NODE_FOLDERS]
RELOCK = "run `.venv/bin/uv lock`, without an index or a mirror set, and review what changed"


def name_of(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def wanted() -> list[tuple[str, Requirement]]:
    """What pyproject asks for, and by which extra."""
    groups = {"": PROJECT["project"]["dependencies"], **PROJECT["project"]["optional-dependencies"]}
    return [(extra, Requirement(line)) for extra, lines in groups.items() for line in lines]


def test_every_range_ends_before_what_may_break() -> None:
    build = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
    asked = [*build, *(requirement for _, requirement in wanted() if requirement.name != OWN)]
    assert len(asked) > 20
    for requirement in asked:
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators & {">=", "==", "~="}, f"{requirement} has no beginning"
        assert operators & {"<", "<=", "==", "~="}, f"{requirement} has no end"


def test_the_lock_was_made_from_these_ranges() -> None:
    locked = {
        (
            extra[1] if (extra := re.search(r"extra == '(\w+)'", entry.get("marker", ""))) else "",
            entry["name"],
            SpecifierSet(entry.get("specifier", "")),
            frozenset(entry.get("extras", ())),
        )
        for entry in OURS["metadata"]["requires-dist"]
    }
    asked = {(extra, name_of(line), line.specifier, frozenset(line.extras)) for extra, line in wanted()}
    assert asked == locked, RELOCK
    assert OURS["version"] == PROJECT["project"]["version"], RELOCK
    for _, line in wanted():
        assert any(line.specifier.contains(version) for version in VERSIONS[name_of(line)]), RELOCK


def test_the_lock_leads_to_the_public_index_and_knows_every_file() -> None:
    others = [package for package in LOCK["package"] if package["name"] != OWN]
    assert {json.dumps(package["source"]) for package in others} == {'{"registry": "https://pypi.org/simple"}'}, RELOCK
    for package in others:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        assert files
        for file in files:
            assert file["url"].startswith("https://files.pythonhosted.org/packages/"), RELOCK
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"])


def test_every_folder_of_node_packages_is_locked_and_audited() -> None:
    skipped = {"node_modules", ".venv", ".environments", "build"}
    found = {path.parent for path in ROOT.rglob("package.json") if not skipped & {*path.relative_to(ROOT).parts}}
    assert found == set(NODE)


@pytest.mark.parametrize("folder", NODE, ids=audit.NODE_FOLDERS)
def test_the_node_lock_is_in_step_and_knows_every_file(folder: Path) -> None:
    asked = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    packages = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    root = packages.pop("")
    for kind in ("dependencies", "devDependencies", "optionalDependencies"):
        assert root.get(kind) == asked.get(kind), f"run `npm install --package-lock-only` in {folder.name}"
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert package.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/"), name


class Service(BaseHTTPRequestHandler):
    """What OSV and the npm registry answer when asked about many packages, in their own formats; one is bad."""

    bad = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/querybatch"):
            names = [query["package"]["name"] for query in json.loads(body)["queries"]]
            known = [{"vulns": [{"id": "PYSEC-0-1", "modified": "2026-01-01T00:00:00Z"}]}, {}]
            self._answer({"results": [known[name != self.bad] for name in names]})
        else:
            flaw = {"id": 1, "url": "", "title": "A flaw", "severity": "low", "vulnerable_versions": "*"}
            self._answer({self.bad: [flaw]} if self.bad else {})

    def do_GET(self) -> None:
        if self.path.startswith("/v1/vulns/"):
            self._answer({"id": "PYSEC-0-1", "summary": "A flaw", "modified": "2026-01-01T00:00:00Z", "affected": []})
        else:  # npm wants to know whether another version would be better
            self._answer({"name": self.bad, "dist-tags": {}, "versions": {}})

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said on stderr."""


@contextmanager
def service(bad: str = "") -> Iterator[str]:
    handler = type("Knowing", (Service,), {"bad": bad})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=["uv", "npm"])
def ask(request: pytest.FixtureRequest) -> Any:
    """The audit of one kind of lock, with a package that it names."""
    program = str(request.param)
    if not (shutil.which(program) or shutil.which(program, path=sysconfig.get_path("scripts"))):
        pytest.skip(f"NOT RUN: needs {program}")
    if program == "uv":
        return audit.python, "h11"
    return lambda *given: audit.node(NODE[0], *given), "axe-core"


def test_a_known_vulnerability_is_reported(ask: Any) -> None:
    audited, package = ask
    with service(bad=package) as url:
        assert package in audited(url)


def test_nothing_is_reported_where_nothing_is_known(ask: Any) -> None:
    audited, _ = ask
    with service() as url:
        assert audited(url) == ""


def test_a_service_that_is_not_there_is_said_to_be_missing(ask: Any) -> None:
    audited, _ = ask
    with service() as url:
        pass
    with pytest.raises(audit.NotRun, match=re.escape(url)):
        audited(url)


def test_a_service_that_hangs_is_not_waited_for(ask: Any) -> None:
    audited, _ = ask
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(audit.NotRun, match="no answer within 2 s"):
        audited(f"http://127.0.0.1:{silent.getsockname()[1]}", 2)


def test_one_vulnerability_fails_the_audit_and_a_missing_service_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    if not shutil.which("uv", path=sysconfig.get_path("scripts")):
        pytest.skip("NOT RUN: needs uv")
    with service() as nowhere:
        pass
    with service(bad="h11") as url:
        assert audit.main(url, nowhere) == 1
    assert audit.main(nowhere, nowhere) == 0
    assert capsys.readouterr().out.count("AUDIT NOT RUN for uv.lock") == 1
