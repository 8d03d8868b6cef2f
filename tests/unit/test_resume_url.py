"""Where the bot token may go: Discord's own hosts, or the one that was configured."""

from __future__ import annotations

import pytest

from gateway_workers.resume_url import is_trusted

DISCORD = "wss://gateway.discord.gg"


@pytest.mark.parametrize(
    "url",
    [
        "wss://gateway.discord.gg",
        "wss://gateway-us-east1-b.discord.gg",
        "wss://gateway-us-east1-b.discord.gg/?v=10",
        "wss://GATEWAY-us-east1-b.Discord.GG:443/",
    ],
)
def test_hosts_of_discords_domain_are_trusted(url: str) -> None:
    assert is_trusted(url, DISCORD)


@pytest.mark.parametrize(
    "url",
    [
        "wss://evil.example",
        "wss://discord.gg.evil.example",
        "wss://evildiscord.gg",
        "wss://discord.gg",
        "wss://gateway.discord.gg@evil.example",
        "wss://evil.example\\.discord.gg",
        "wss://evil.example/.discord.gg",
        "wss://evil.example?.discord.gg",
        "wss://evil.example#.discord.gg",
        "wss://user@gateway-us.discord.gg",
        "ws://gateway-us-east1-b.discord.gg",
        "https://gateway-us-east1-b.discord.gg",
        "file:///etc/passwd",
        "gateway-us-east1-b.discord.gg",
        "wss://",
        "wss://[",
        "wss://gateway.discord.gg:99999999",
        "",
    ],
)
def test_every_other_host_is_not(url: str) -> None:
    assert not is_trusted(url, DISCORD)


def test_a_simulator_on_loopback_may_use_another_port() -> None:
    assert is_trusted("ws://127.0.0.1:4001/resume", "ws://127.0.0.1:4000")
    assert is_trusted("ws://localhost:4001", "ws://127.0.0.1:4000")
    assert not is_trusted("ws://127.0.0.2.evil.example:4001", "ws://127.0.0.1:4000")


def test_addresses_and_short_names_have_no_siblings() -> None:
    assert is_trusted("ws://simulator:4001", "ws://simulator:4000")
    assert not is_trusted("ws://10.0.0.2", "ws://10.0.0.1")
    assert not is_trusted("ws://evil.local", "ws://gateway.local")
    assert not is_trusted("ws://other", "ws://simulator")
