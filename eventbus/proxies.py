"""Whether the environment names a proxy for HTTP."""

from __future__ import annotations

from urllib.request import getproxies

from yarl import URL

from eventbus.loopback import is_loopback


def is_proxied(url: str) -> bool:
    """Whether aiohttp is to look at the environment (HTTPS_PROXY, NO_PROXY) for `url`: never for this machine.

    Only where it is needed, because aiohttp then reads `~/.netrc` for each request, in a thread of the default pool.
    """
    return bool(getproxies()) and not is_loopback(URL(url).host or "")
