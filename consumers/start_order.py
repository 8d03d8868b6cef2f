"""Handlers of one guild's dispatches start in the order in which the dispatches came, whatever each waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
    """One dispatch's place in the line of its guild; `leave` must be called."""

    __slots__ = ("_gone", "_guild", "_line", "_previous")

    def __init__(self, line: dict[str, Place], guild: str) -> None:
        self._line = line
        self._guild = guild
        self._previous = line.get(guild)
        self._gone = asyncio.Event()
        line[guild] = self

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
        if self._line.get(self._guild) is self:
            del self._line[self._guild]


class StartOrder:
    """The lines of all guilds in one process."""

    def __init__(self) -> None:
        self._line: dict[str, Place] = {}

    def line_up(self, frame: Frame) -> Place | None:
        """Take a place behind what came before; None if there is nothing to keep in order."""
        guild = guild_of(frame)
        return None if guild is None else Place(self._line, guild)
