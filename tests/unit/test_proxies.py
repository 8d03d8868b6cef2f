"""When the environment's proxy counts."""

from __future__ import annotations

import base64

import pytest

from eventbus.proxies import is_proxied, proxy_passwords


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


def test_the_passwords_of_proxies_are_secrets_in_all_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSS_PROXY", "http://user:p%40ss-word@proxy.internal:3128")
    sent = base64.b64encode(b"user:p@ss-word").decode()
    assert {"p%40ss-word", "p@ss-word", sent} <= set(proxy_passwords())


def test_exceptions_alone_are_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "internal")
    assert not is_proxied("https://discord.com/api/v10")
