"""What RabbitMQ's words say about a publish that it refused. Pure.

A refusal closes the channel and names no delivery tag: which publish it means stands in its sentence alone.
"""

from __future__ import annotations

import re

_NO_EXCHANGE = re.compile(r"NOT_FOUND - no exchange '([^']+)'")
_FORBIDDEN_EXCHANGE = re.compile(r"ACCESS_REFUSED - (?:access to|cannot publish to internal) exchange '([^']+)'")
_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def missing_exchange(reason: str) -> str | None:
    """The exchange that a publish went to and that is not there."""
    found = _NO_EXCHANGE.search(reason)
    return found[1] if found else None


def forbidden_exchange(reason: str) -> str | None:
    """The exchange that takes no publishes from us."""
    found = _FORBIDDEN_EXCHANGE.search(reason)
    return found[1] if found else None


def size_limit(reason: str) -> int | None:
    """The most bytes that a message may have, if one had more."""
    found = _TOO_LARGE.search(reason)
    return int(found[1]) if found else None
