"""Changing a host's configuration file: read strictly, shown as a difference, kept as a backup, written whole."""

import difflib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hailuo_mcp.setup.hosts import ConfigurationRefused

_SECRET = re.compile(r'("[^"]*(?:key|token|secret|password|auth)[^"]*"\s*:\s*)"(?!\$\{)[^"]*"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HostFile:
    """A configuration file as it was read. `path` is the file itself, also where the host's name for it is a link."""

    path: Path
    raw: bytes | None  # None: there is none yet
    document: dict[str, Any]

    def text_of(self, document: dict[str, Any]) -> str:
        """A document written the way this file is: its indentation, line ends and letters."""
        old = (self.raw or b"").decode("utf-8-sig")
        indent = re.search(r"\{\r?\n([ \t]+)", old)
        flat = bool(old.strip()) and "\n" not in old.strip() and old.strip() != "{}"
        ascii_only = old.isascii() and "\\u" in old
        text = json.dumps(document, ensure_ascii=ascii_only, indent=None if flat else indent[1] if indent else 2)
        end = "\n" if not old or old.endswith("\n") else ""
        return (text + end).replace("\n", "\r\n") if "\r\n" in old else text + end

    def difference(self, document: dict[str, Any]) -> list[str]:
        """What would change, line by line, with what looks like a secret hidden."""
        before = [] if self.raw is None else json.dumps(self.document, ensure_ascii=False, indent=2).splitlines()
        after = json.dumps(document, ensure_ascii=False, indent=2).splitlines()
        lines = difflib.unified_diff(before, after, str(self.path), f"{self.path} (new)", lineterm="")
        return [_SECRET.sub(r'\1"[hidden]"', line) for line in lines]

    def write(self, document: dict[str, Any]) -> Path | None:
        """Replace the file as a whole, after a copy of the old one; returns the copy's path."""
        mark = b"\xef\xbb\xbf" if (self.raw or b"").startswith(b"\xef\xbb\xbf") else b""
        if self.raw is not None and not self.path.stat().st_mode & stat.S_IWUSR:
            _refuse(self.path, "is marked as read-only")
        try:
            data = mark + self.text_of(document).encode()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            backup = self._back_up()
            self._replace(data)
        except UnicodeEncodeError:
            _refuse(self.path, "holds broken characters (half a surrogate pair)")
        except OSError as error:
            raise ConfigurationRefused(
                f"{self.path} could not be written ({error.strerror or error}); it is as it was. Close the program "
                "that has it open, or make it writable, then try again."
            ) from error
        return backup

    def _back_up(self) -> Path | None:
        if self.raw is None:
            return None
        backup = self.path.with_name(f"{self.path.name}.hailuo-backup")
        shutil.copy2(self.path, backup)
        return backup

    def _replace(self, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)  # for its owner only
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if self.raw is not None:
                shutil.copymode(self.path, new)
            if _read(self.path) != self.raw:
                raise ConfigurationRefused(f"{self.path} was changed by another program just now; try again.")
            new.replace(self.path)
        finally:
            with suppress(FileNotFoundError):
                new.unlink()


def open_host_file(path: Path) -> HostFile:
    """Read a host's file; raises ConfigurationRefused for what could not be written back without loss."""
    try:
        path = path.resolve()
        raw = _read(path)
    except (OSError, RuntimeError) as error:  # the latter is how older Pythons speak of a link to itself
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationRefused(f"{path} cannot be read: {reason}.") from error
    if raw is None or not raw.strip():
        return HostFile(path, raw, {})
    try:
        text = raw.decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant) if text.strip() else {}
    except UnicodeDecodeError:
        _refuse(path, "is not UTF-8 text")
    except json.JSONDecodeError as error:
        broken = f"is not valid JSON (line {error.lineno}: {error.msg})"
        _refuse(path, "has comments, which would be lost" if any(_comments(text)) else broken)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"is not plain JSON ({error})")
    if not isinstance(document, dict):
        _refuse(path, "is not a JSON object")
    return HostFile(path, raw, document)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _refuse(path: Path, why: str) -> NoReturn:
    raise ConfigurationRefused(
        f"{path} {why}, so it was left as it is. Mend it, or add by hand the entry that `hailuo-mcp install print` "
        "shows."
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _comments(text: str) -> Iterator[str]:
    """Comments outside of strings."""
    for found in re.finditer(r'"(?:\\.|[^"\\])*"|(//[^\n]*|/\*)', text):
        if found[1]:
            yield found[1]
