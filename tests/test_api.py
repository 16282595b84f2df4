import pytest

from hailuo_mcp.answers import expiry, pixels
from hailuo_mcp.api import HailuoApi
from hailuo_mcp.errors import NotConfigured


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:7890", "http://127.0.0.1:7890"])
async def test_a_proxy_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    await HailuoApi("https://www.dmxapi.cn", lambda: "sk-x").close()


def test_a_proxy_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890")
    with pytest.raises(NotConfigured, match="ALL_PROXY"):
        HailuoApi("https://www.dmxapi.cn", lambda: "sk-x")


@pytest.mark.parametrize(
    ("query", "epoch"),
    [
        ("Expires=1763571243&Signature=x", 1763571243.0),
        ("X-Amz-Date=20251119T000000Z&X-Amz-Expires=3600", 1763514000.0),
        ("x-oss-date=20251119T000000Z&x-oss-expires=60", 1763510460.0),
        ("Expires=soon", None),
        ("Expires=²", None),
        ("", None),
    ],
)
def test_when_a_signed_link_ends_is_read_from_it(query: str, epoch: float | None) -> None:
    assert expiry(f"https://bucket.example.com/a.mp4?{query}") == epoch


@pytest.mark.parametrize(
    ("value", "size"), [(768, 768), ("768", 768), (0, None), (True, None), ("²", None), (None, None)]
)
def test_a_size_is_a_number_of_pixels_or_unknown(value: object, size: int | None) -> None:
    assert pixels(value) == size
