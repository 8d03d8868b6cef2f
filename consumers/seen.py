"""Which dispatches this process handles or has handled, so that a second copy is not handled again."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from consumers.recent_keys import RECENT_COUNT, RecentKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    OnEnd = Callable[[], None]


class Sighting(Enum):
    """What is known of a dispatch that came: not handled yet, being handled, or handled."""

    FIRST = "first"
    RUNNING = "running"
    HANDLED = "handled"


class SeenDispatches:
    """What is running is never forgotten; of what was handled, the newest are known."""

    def __init__(self, count: int = RECENT_COUNT) -> None:
        self._running: dict[str, list[OnEnd]] = {}
        self._handled = RecentKeys(count)

    def begin(self, message_id: str) -> Sighting:
        """A copy came. FIRST: it is to be handled, and `end` must be called."""
        if message_id in self._running:
            return Sighting.RUNNING
        if message_id in self._handled:
            return Sighting.HANDLED
        self._running[message_id] = []
        return Sighting.FIRST

    def when_ended(self, message_id: str, on_end: OnEnd) -> None:
        """Have `on_end()` called once, when the running one has ended: then `begin` tells what came of it."""
        self._running[message_id].append(on_end)

    def end(self, message_id: str, *, handled: bool) -> None:
        """The running one has ended; if it was not `handled`, the next copy is the first again."""
        waiting = self._running.pop(message_id)
        if handled:
            self._handled.add(message_id)
        for on_end in waiting:
            on_end()
