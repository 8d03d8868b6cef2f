"""Which gateways the bot token may go to: Discord's, and the host that the operator named himself. Pure.

General and resume URLs come over the broker, where others can write. Discord's gateways are all under discord.gg:
https://discord.com/developers/docs/events/gateway#ready-event
"""

from __future__ import annotations

import re

from yarl import URL

from eventbus.loopback import is_loopback

DISCORDS_DOMAIN = ".discord.gg"
DISCORDS_PORT = 443
DISCORDS_REST_HOST = "discord.com"
_HOST = re.compile(r"[A-Za-z0-9.:-]+")


class TrustedGateways:
    """By the operator's REST URL: with another host than Discord's (a simulator's, a proxy's) that one is trusted too.

    It may have any port, as a simulator has several, and be unencrypted where the REST URL is.
    """

    def __init__(self, rest_url: str) -> None:
        own = URL(rest_url)
        self._own_host = "" if own.host in (None, DISCORDS_REST_HOST) else str(own.host)
        self._own_schemes = ("ws", "wss") if own.scheme == "http" else ("wss",)

    def __contains__(self, url: str) -> bool:
        """Whether the bot token may go to `url`."""
        try:
            asked = URL(url)
            host, port = asked.host or "", asked.port
        except ValueError:
            return False
        if asked.user is not None or _HOST.fullmatch(host) is None:
            return False
        if host.endswith(DISCORDS_DOMAIN):
            return (asked.scheme, port) == ("wss", DISCORDS_PORT)
        return asked.scheme in self._own_schemes and self._is_own(host)

    def _is_own(self, host: str) -> bool:
        return host == self._own_host or (is_loopback(host) and is_loopback(self._own_host))

    def __str__(self) -> str:
        """What is trusted, for a sentence."""
        discords = f"wss://*{DISCORDS_DOMAIN}"
        return f"{discords} and the host {self._own_host} of --rest-url (GW_REST_URL)" if self._own_host else discords

    def refusal(self, gateway_url: str) -> str:
        """Why a general URL is refused, and what to do."""
        return (
            f"the coordinator names {gateway_url[:200]!r} as the gateway, and the bot token goes only to {self}: set"
            " --rest-url (GW_REST_URL) of this worker to the REST API of the same host, as the coordinator has it"
        )
