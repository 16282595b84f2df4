import os
from collections.abc import Iterator

import pytest
import stamina


@pytest.fixture(autouse=True)
def quick_retries() -> Iterator[None]:
    """Retries happen, without their pauses."""
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests counts."""
    for name in [name for name in os.environ if name.startswith(("HAILUO_", "DMXAPI_")) and "TEST" not in name]:
        monkeypatch.delenv(name)
