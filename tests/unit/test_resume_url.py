"""Where the bot token may go: Discord's own gateways, or the host that the operator named."""

from __future__ import annotations

import pytest

from gateway_workers.resume_url import TrustedGateways

DISCORD = TrustedGateways("https://discord.com/api/v10")
SIMULATOR = TrustedGateways("http://127.0.0.1:4000/api/v10")
URLS = [
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
    "wss://gateway.discord.gg:8443",
    "ws://gateway-us-east1-b.discord.gg",
    "ws://gateway-us-east1-b.discord.gg:443",
    "https://gateway-us-east1-b.discord.gg",
    "wss://discord.com",
    "file:///etc/passwd",
    "gateway-us-east1-b.discord.gg",
    "wss://",
    "wss://[",
    "wss://gateway.discord.gg:99999999",
    "",
]


@pytest.mark.parametrize("trusted", [DISCORD, SIMULATOR])
@pytest.mark.parametrize(
    "url",
    [
        "wss://gateway.discord.gg",
        "wss://gateway-us-east1-b.discord.gg",
        "wss://gateway-us-east1-b.discord.gg/?v=10",
        "wss://GATEWAY-us-east1-b.Discord.GG:443/",
    ],
)
def test_discords_gateways_are_trusted(trusted: TrustedGateways, url: str) -> None:
    assert url in trusted


@pytest.mark.parametrize("trusted", [DISCORD, SIMULATOR])
@pytest.mark.parametrize("url", URLS)
def test_every_other_host_is_not(trusted: TrustedGateways, url: str) -> None:
    assert url not in trusted


def test_with_discords_rest_api_no_loopback_host_is_trusted() -> None:
    assert "ws://127.0.0.1:4000" not in DISCORD
    assert "wss://localhost:443" not in DISCORD


def test_a_simulator_on_loopback_may_use_any_port() -> None:
    assert "ws://127.0.0.1:4001/resume" in SIMULATOR
    assert "ws://localhost:4001" in SIMULATOR
    assert "ws://[::1]:4001" in SIMULATOR
    assert "http://127.0.0.1:4001" not in SIMULATOR
    assert "ws://0.0.0.0:4001" not in SIMULATOR
    assert "ws://127.0.0.2.evil.example:4001" not in SIMULATOR


def test_another_host_of_the_operator_is_trusted_and_has_no_siblings() -> None:
    trusted = TrustedGateways("http://gateway.x.co.uk/api/v10")
    assert "ws://gateway.x.co.uk:4001" in trusted
    assert "wss://gateway.x.co.uk" in trusted
    assert "wss://resume.x.co.uk" not in trusted
    assert "wss://evil.co.uk" not in trusted
    assert "ws://127.0.0.1" not in trusted
    assert "ws://10.0.0.2" not in TrustedGateways("http://10.0.0.1")


def test_an_encrypted_rest_api_means_an_encrypted_gateway() -> None:
    trusted = TrustedGateways("https://proxy.example/api/v10")
    assert "wss://proxy.example:8443" in trusted
    assert "ws://proxy.example" not in trusted


def test_the_refusal_names_the_url_and_the_setting() -> None:
    assert "'wss://evil.example'" in DISCORD.refusal("wss://evil.example")
    assert "--rest-url (GW_REST_URL)" in DISCORD.refusal("wss://evil.example")
    assert "127.0.0.1" in SIMULATOR.refusal("wss://evil.example")
    assert len(DISCORD.refusal("wss://" + "x" * 100_000)) < 600
