"""Whether the environment names a proxy for HTTP."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from yarl import URL

from eventbus.loopback import is_loopback

_SCHEMES = frozenset({"http", "https", "all"})


def is_proxied(url: str) -> bool:
    """Whether aiohttp is to look at the environment (HTTPS_PROXY, NO_PROXY) for `url`: never for this machine.

    Only where it is needed, because aiohttp then reads `~/.netrc` for each request, in a thread of the default pool.
    """
    return not getproxies().keys().isdisjoint(_SCHEMES) and not is_loopback(URL(url).host or "")


def proxy_passwords() -> tuple[str, ...]:
    """The passwords in the URLs of the environment's proxies, as they stand there and as they are meant."""
    found = []
    for url in getproxies().values():
        try:
            password = urlsplit(url).password
        except ValueError:
            continue
        if password:
            found += [password, unquote(password)]
    return tuple(found)
