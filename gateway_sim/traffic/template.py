"""A dispatch rendered once, into which each call patches a fresh id and moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "~ID~"
"""Stands in a payload where the fresh snowflake goes; it may be part of a longer text."""
TIMESTAMP = "~TS~"
"""Stands in a payload where the moment goes, as ISO 8601 text."""
UNIX_TIME = "~UX~"
"""Stands in a payload as a whole value where the moment goes, in whole Unix seconds."""

_SLOTS = re.compile(rb'(~ID~|~TS~|"~UX~")')
_VALUE_OF_SLOT = {b"~ID~": 0, b"~TS~": 1, b'"~UX~"': 2}


@dataclass(frozen=True, slots=True)
class Draft:
    """One event as the kinds draw it: `data` is `d`, with markers. `entity_id` ID means: the fresh snowflake.

    `interaction` is (Discord's interaction type, channel id) for interactions, which REST must learn of.
    """

    type: str
    guild_id: int
    data: dict[str, Any]
    intents: int
    entity_id: str = ID
    interaction: tuple[int, int] | None = None


class Template:
    """A draft, rendered and cut at its markers."""

    __slots__ = ("entity_id", "guild_id", "intents", "interaction", "parts", "pick", "type")

    def __init__(self, draft: Draft) -> None:
        self.type = draft.type
        self.guild_id = draft.guild_id
        self.intents = draft.intents
        self.entity_id = None if draft.entity_id == ID else draft.entity_id
        self.interaction = draft.interaction
        self.parts: list[bytes] = _SLOTS.split(orjson.dumps(draft.data))
        self.pick: Callable[[tuple[bytes, bytes, bytes]], tuple[bytes, ...]] = _picker(self.parts)

    def render(self, values: tuple[bytes, bytes, bytes]) -> bytes:
        """The JSON of `d` with (id, ISO timestamp, Unix seconds) in place."""
        parts = self.parts.copy()
        parts[1::2] = self.pick(values)
        return b"".join(parts)


def _picker(parts: list[bytes]) -> Callable[[tuple[bytes, bytes, bytes]], tuple[bytes, ...]]:
    """What chooses each slot's value, in order of appearance, in one call into C."""
    slots = [_VALUE_OF_SLOT[slot] for slot in parts[1::2]]
    if not slots:
        msg = "a draft without a marker would give the same dispatch again and again: put ID into its payload"
        raise ValueError(msg)
    if len(slots) == 1:
        only = slots[0]
        return lambda values: (values[only],)
    return itemgetter(*slots)
