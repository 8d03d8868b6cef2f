"""Whether a resume URL may be used: the bot token goes to where it leads. Pure.

Checkpoints come from the broker, where others can write. Discord's resume hosts are siblings of its general one:
https://discord.com/developers/docs/events/gateway#ready-event
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from yarl import URL

MIN_PARENT_LABELS = 2
_HOST = re.compile(r"[A-Za-z0-9.:-]+")


def is_trusted(resume_url: str, gateway_url: str) -> bool:
    """Whether `resume_url` has the host of the general `gateway_url` or its parent domain, and is no less secret."""
    try:
        resume, general = URL(resume_url), URL(gateway_url)
    except ValueError:
        return False
    host, known = resume.host or "", general.host or ""
    if resume.scheme not in ("wss", general.scheme) or resume.user is not None or _HOST.fullmatch(host) is None:
        return False
    if host == known or (_is_loopback(host) and _is_loopback(known)):
        return True
    parent = _parent_domain(known)
    return parent is not None and host.endswith(f".{parent}")


def _parent_domain(host: str) -> str | None:
    parent = host.partition(".")[2]
    is_domain = parent.count(".") + 1 >= MIN_PARENT_LABELS and not _is_address(host)
    return parent if is_domain else None


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
