"""A selector that knows how long ago the data read now may have arrived.

The simulator must not blame a client for its own delays: a payload that waited in the socket while the loop was busy
arrived at some moment since the loop last looked. The referee judges by the kindest moment within that span.
"""

from __future__ import annotations

import selectors
import time

_WAITED_S = 0.0005


class TimedSelector(selectors.DefaultSelector):
    """The default selector, with the time of the last look at the sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived_since = self._looked_at = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for sockets as every selector does."""
        entered_at = time.monotonic()
        ready = super().select(timeout)
        returned_at = time.monotonic()
        # If it had to wait, the data came just now; if not, it may have come at any time since the last look.
        self._arrived_since = returned_at if returned_at - entered_at > _WAITED_S else self._looked_at
        self._looked_at = returned_at
        return ready

    def uncertainty_s(self) -> float:
        """Return how long ago, at most, data arrived that is being handled now."""
        return time.monotonic() - self._arrived_since
