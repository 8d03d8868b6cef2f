"""Whether a host is this machine. Pure."""

from __future__ import annotations

from ipaddress import ip_address

from yarl import URL


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: `localhost`, 127.0.0.0/8 or ::1."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def may_need_proxy(url: str) -> bool:
    """Whether a proxy that the environment names (HTTPS_PROXY) is to be used for `url`: not for this machine."""
    return not is_loopback(URL(url).host or "")
