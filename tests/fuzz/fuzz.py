"""Fuzzes one target, guided by coverage: `python tests/fuzz/fuzz.py TARGET [libFuzzer options] [corpus folders]`.

Without options it goes on until it finds something, which it writes to `tests/fuzz/found/`: from then on the tests
play that input, too. The target `all` is every one of them, chosen by an input's first byte.
"""

import importlib
import logging
import pkgutil
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
OPTIONS = ["-timeout=30", "-report_slow_units=30", "-rss_limit_mb=3000", "-max_len=20000", "-len_control=0"]


def _escaped(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def main() -> None:
    """Load everything with instruments, write the seeds down, and fuzz until the options or a finding end it."""
    name, *given = sys.argv[1:] or [""]
    sys.path.insert(0, str(HERE.parent))
    # Temporary files lie in one place, emptied first: libFuzzer ends the process without cleaning up.
    tempfile.tempdir = str(Path(tempfile.gettempdir()) / f"hailuo-fuzz-{name.replace('/', '_')}")
    shutil.rmtree(tempfile.tempdir, ignore_errors=True)
    Path(tempfile.tempdir).mkdir()
    with atheris.instrument_imports(include=["hailuo_mcp", "PIL"]):
        import hailuo_mcp

        for module in pkgutil.walk_packages(hailuo_mcp.__path__, "hailuo_mcp."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        import seeds
        import targets

    names = [*targets.TARGETS] if name == "all" else [name]
    if not targets.TARGETS.keys() >= set(names):
        sys.exit(f"fuzz.py TARGET [libFuzzer options] [corpus folders]; targets: {', '.join(targets.TARGETS)}, all")
    logging.disable(logging.WARNING)
    (HERE / "found").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="hailuo-seeds-"))
    words = folder.with_suffix(".dict")
    for at, each in enumerate(names):
        for number, seed in enumerate(seeds.SEEDS[each]()):
            (folder / f"{each}-{number}").write_bytes(bytes([at]) + seed if len(names) > 1 else seed)
        with words.open("a", encoding="ascii") as file:
            file.writelines(_escaped(word) for word in seeds.WORDS[each])
    options = [*OPTIONS, f"-dict={words}", f"-artifact_prefix={HERE}/found/{name}-", *given]
    atheris.Setup([sys.argv[0], *options, str(folder)], targets.TARGETS.get(name, targets.any_of_them))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
