"""The stage that every row is played on: the stand-in API, the files, and processes with folders of their own."""

import itertools
import json
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import INSIDE, Peer, peers, python
from wire import Process, Server

_counter = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a row needs; `quick` asks for fewer rounds."""

    url: str
    folder: Path
    quick: bool
    peers: dict[str, Peer] = field(default_factory=peers)

    @property
    def fixtures(self) -> Path:
        return self.folder / "fixtures"

    def rounds(self, many: int, few: int) -> int:
        return few if self.quick else many

    def new_folder(self) -> Path:
        """An empty folder."""
        folder = self.folder / f"run{next(_counter)}"
        folder.mkdir()
        return folder

    def start(self, name: str, folder: Path | None = None, **settings: str) -> Server:
        """A server that has said hello; `folder` is where it keeps what it keeps, `settings` are of its environment."""
        peer, folder = self.peers[name], folder or self.new_folder()
        places = {"url": self.url, "folder": folder, "fixtures": self.fixtures}
        given = {key: value.format(**places) for key, value in peer.environment.items()}
        return Server(peer.command, _bare_environment(folder) | given | settings, folder)

    def script(self, kind: str) -> "Script":
        """A plain script: httpx, requests or floor."""
        return Script(self, "plain", "plain_scripts.py", kind, self.url)

    def layers(self, *arguments: object) -> list[tuple[str, float]]:
        """Milliseconds of CPU time that parts of our own code take."""
        command = [python("ours"), str(INSIDE / "layers.py"), *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return list(json.loads(done.stdout).items())

    def counts(self) -> dict[str, Any]:
        """What the stand-in API has seen so far."""
        with urllib.request.urlopen(f"{self.url}/counts") as answer:
            return dict(json.load(answer))


class Script(Process):
    """A script that does what a line says and tells how long that took."""

    def __init__(self, stage: Stage, environment: str, program: str, *arguments: str) -> None:
        command = [python(environment), str(INSIDE / program), *arguments]
        super().__init__(command, _bare_environment(stage.folder), stage.folder)
        self.read()  # it is awake

    def do(self, *order: object) -> Any:
        """Seconds, or a list of them."""
        self.write(order)
        return json.loads(self.read())


def _bare_environment(folder: Path) -> dict[str, str]:
    """As hosts start a server: next to nothing."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}


@contextmanager
def stage(quick: bool) -> Iterator[Stage]:
    """Files made, the stand-in API running; everything gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hailuo-benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        fixtures = folder / "fixtures"
        fixtures.mkdir()
        subprocess.run([python("ours"), str(INSIDE / "fixtures.py"), str(fixtures)], check=True)
        command = [python("plain"), str(INSIDE / "upstream.py"), str(fixtures / "heavy.mp4")]
        with Process(command, _bare_environment(folder), folder) as upstream:
            yield Stage(json.loads(upstream.read()), folder, quick)
