"""When the environment's proxy counts."""

from __future__ import annotations

import pytest

from eventbus.proxies import is_proxied


@pytest.mark.parametrize(
    ("url", "named", "expected"),
    [
        ("https://discord.com/api/v10", "http://proxy.internal:3128", True),
        ("https://discord.com/api/v10", None, False),
        ("http://127.0.0.1:8080/api/v10", "http://proxy.internal:3128", False),
        ("http://localhost:8080/api/v10", "http://proxy.internal:3128", False),
    ],
)
def test_it_counts_where_there_is_one_and_never_for_this_machine(
    url: str, named: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if named is not None:
        monkeypatch.setenv("HTTPS_PROXY", named)

    assert is_proxied(url) is expected
