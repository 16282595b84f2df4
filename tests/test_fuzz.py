"""Input of every kind, made up and found by the fuzzer: never a crash, a hang, or a paid call for what is invalid."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parent / "fuzz"
sys.path.append(str(FUZZ))

import seeds  # noqa: E402 - lies beside the fuzzer, which is a program of its own
import targets  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
EXAMPLES = {"tool": 60, "answer": 150, "frame": 150}


@pytest.fixture(scope="module", autouse=True)
def ending() -> Iterator[None]:
    yield
    targets.close()


@st.composite
def spoilt(draw: st.DrawFn, name: str) -> bytes:
    """A seed of that target with a few pieces replaced, or nothing but noise."""
    data = bytearray(draw(st.sampled_from([b"", *seeds.SEEDS[name]()])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8) | st.sampled_from(seeds.WORDS[name]))
    return bytes(data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_made_up_input_breaks_no_promise(name: str) -> None:
    @settings(max_examples=EXAMPLES.get(name, 300), deadline=None, derandomize=True, database=None)
    @given(spoilt(name))
    def play(data: bytes) -> None:
        targets.TARGETS[name](data)

    play()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_fuzzing_starts_from_and_what_it_once_found_break_no_promise(name: str) -> None:
    found = [path.read_bytes() for path in (FUZZ / "found").glob(f"{name}-*")]
    for data in [*seeds.SEEDS[name](), *found]:
        targets.TARGETS[name](data)


def test_the_fuzzer_runs_and_finds_nothing(tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed (pip install -e '.[fuzz]', on Linux): nothing is fuzzed by coverage")
    options = ["-runs=500", "-max_total_time=20", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    run = subprocess.run(
        [sys.executable, FUZZ / "fuzz.py", "all", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert re.search(r"Done \d+ runs", run.stderr)
