"""Whether the environment names a proxy for HTTP."""

from __future__ import annotations

import base64
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
    """The passwords in the URLs of the environment's proxies: as they stand there, are meant, and are sent."""
    found = []
    for url in getproxies().values():
        try:
            parts = urlsplit(url)
        except ValueError:
            continue
        if parts.password:
            plain = unquote(parts.password)
            login = f"{unquote(parts.username or '')}:{plain}".encode("latin-1", "replace")  # as aiohttp encodes it
            found += [parts.password, plain, base64.b64encode(login).decode()]
    return tuple(found)
