"""Intents as operators write them: a number, or hikari's names joined by `|`, in any case."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BITS = {
    "GUILDS": 0,
    "GUILD_MEMBERS": 1,
    "GUILD_MODERATION": 2,
    "GUILD_EMOJIS": 3,
    "GUILD_INTEGRATIONS": 4,
    "GUILD_WEBHOOKS": 5,
    "GUILD_INVITES": 6,
    "GUILD_VOICE_STATES": 7,
    "GUILD_PRESENCES": 8,
    "GUILD_MESSAGES": 9,
    "GUILD_MESSAGE_REACTIONS": 10,
    "GUILD_MESSAGE_TYPING": 11,
    "DM_MESSAGES": 12,
    "DM_MESSAGE_REACTIONS": 13,
    "DM_MESSAGE_TYPING": 14,
    "MESSAGE_CONTENT": 15,
    "GUILD_SCHEDULED_EVENTS": 16,
    "AUTO_MODERATION_CONFIGURATION": 20,
    "AUTO_MODERATION_EXECUTION": 21,
    "GUILD_MESSAGE_POLLS": 24,
    "DIRECT_MESSAGE_POLLS": 25,
}
_PRIVILEGED = ("GUILD_MEMBERS", "GUILD_PRESENCES", "MESSAGE_CONTENT")


def _union(names: Iterable[str]) -> int:
    return sum(1 << _BITS[name] for name in names)


_DMS = [name for name in _BITS if name.startswith(("DM_", "DIRECT_"))]
_GUILDS = [name for name in _BITS if name.startswith("GUILD")]
_ALL = _union(_BITS)
DEFAULT_INTENTS = _ALL - _union(_PRIVILEGED)

KNOWN: Mapping[str, int] = {
    "NONE": 0,
    **{name: 1 << bit for name, bit in _BITS.items()},
    "ALL_GUILDS_UNPRIVILEGED": _union(name for name in _GUILDS if name not in _PRIVILEGED),
    "ALL_GUILDS_PRIVILEGED": _union(name for name in _GUILDS if name in _PRIVILEGED),
    "ALL_GUILDS": _union(_GUILDS),
    "ALL_DMS": _union(_DMS),
    "ALL_MESSAGES": _union(("GUILD_MESSAGES", "DM_MESSAGES")),
    "ALL_POLLS": _union(("GUILD_MESSAGE_POLLS", "DIRECT_MESSAGE_POLLS")),
    "ALL_MESSAGE_REACTIONS": _union(("GUILD_MESSAGE_REACTIONS", "DM_MESSAGE_REACTIONS")),
    "ALL_MESSAGE_TYPING": _union(("GUILD_MESSAGE_TYPING", "DM_MESSAGE_TYPING")),
    "ALL_AUTO_MODERATION": _union(("AUTO_MODERATION_CONFIGURATION", "AUTO_MODERATION_EXECUTION")),
    "ALL_UNPRIVILEGED": DEFAULT_INTENTS,
    "ALL_PRIVILEGED": _union(_PRIVILEGED),
    "ALL": _ALL,
}
"""By hikari's names, which bots use. hikari itself takes a second to import, too long for a coordinator's start."""
_NUMBER = re.compile(r"\d{1,19}|0[xX][0-9a-fA-F]{1,16}|0[bB][01]{1,64}", re.ASCII)


def parse_intents(text: str) -> int:
    """The intents that `text` names. Raises ValueError with a sentence that says what to change."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _checked(int(text) if text.isdigit() else int(text, 0))
    value = 0
    for part in text.split("|"):
        value |= _named(part.strip())
    return value


def _checked(number: int) -> int:
    unknown = number & ~_ALL
    if unknown:
        raise ValueError(f"{number} has bits that are no intents ({unknown}): the largest useful number is {_ALL}")
    return number


def _named(name: str) -> int:
    if name.upper() in KNOWN:
        return KNOWN[name.upper()]
    if not name:
        raise ValueError("an intent's name is missing: write a number or names such as GUILDS|GUILD_MESSAGES")
    close = get_close_matches(name.upper(), KNOWN, n=1)
    hint = f"did you mean {close[0]}?" if close else "write a number or names such as GUILDS|GUILD_MESSAGES"
    raise ValueError(f"{name!r} is no intent: {hint}")
