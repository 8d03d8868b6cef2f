"""Intents as operators write them: a number, or hikari's names joined by `|`, in any case."""

from __future__ import annotations

import re
from difflib import get_close_matches

import hikari

DEFAULT_INTENTS = int(hikari.Intents.ALL_UNPRIVILEGED)

_KNOWN = {name.upper(): int(value) for name, value in hikari.Intents.__members__.items()}
_ALL = int(hikari.Intents.ALL)
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
    if name.upper() in _KNOWN:
        return _KNOWN[name.upper()]
    if not name:
        raise ValueError("an intent's name is missing: write a number or names such as GUILDS|GUILD_MESSAGES")
    close = get_close_matches(name.upper(), _KNOWN, n=1)
    hint = f"did you mean {close[0]}?" if close else "write a number or names such as GUILDS|GUILD_MESSAGES"
    raise ValueError(f"{name!r} is no intent: {hint}")
