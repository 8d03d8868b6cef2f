"""Handlers of one guild's (or shard's) dispatches start in the order in which these came, whatever each waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.names import INTERACTION_CREATE

if TYPE_CHECKING:
    from consumers.frame import Frame

_ITS_OWN_ID = frozenset({"GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE"})


def guild_of(frame: Frame) -> str | None:
    """The guild that a dispatch is about, as its payload writes it; None for what concerns none."""
    if not isinstance(frame.payload, dict):
        return None
    found = frame.payload.get("id" if frame.dispatch.type in _ITS_OWN_ID else "guild_id")
    return found if isinstance(found, str) else None


class Place:
    """One dispatch's place in the line of its guild or shard; `leave` must be called."""

    __slots__ = ("_gone", "_key", "_line", "_previous")

    def __init__(self, line: dict[str, Place], key: str) -> None:
        self._line = line
        self._key = key
        self._previous = line.get(key)
        self._gone = asyncio.Event()
        line[key] = self

    async def come(self) -> None:
        """Wait for all that stand in front."""
        previous = self._previous
        while previous is not None:
            await previous._gone.wait()  # noqa: SLF001 - of this class
            previous = previous._previous  # noqa: SLF001 - None, unless it left before it came
        self._previous = None

    def leave(self) -> None:
        """It has started, or never will."""
        self._gone.set()
        if self._line.get(self._key) is self:
            del self._line[self._key]


class StartOrder:
    """The lines of one process: of all guilds, or with `by_shard` of all shards."""

    def __init__(self, *, by_shard: bool = False) -> None:
        self._by_shard = by_shard
        self._line: dict[str, Place] = {}

    def line_up(self, frame: Frame) -> Place | None:
        """Take a place behind what came before; None if there is nothing to keep in order, or no time to wait."""
        if frame.dispatch.type == INTERACTION_CREATE:
            return None
        key = f"{frame.dispatch.shard}/{frame.dispatch.shard_count}" if self._by_shard else guild_of(frame)
        return None if key is None else Place(self._line, key)
