"""The send limit of one connection: at most 120 payloads in any 60 s, heartbeats included."""

from __future__ import annotations

from collections import deque

from gateway_sim.opcodes import MAX_SENDS, SEND_WINDOW_S


class SendWindow:
    """A sliding window over the arrival times of a connection's payloads."""

    __slots__ = ("_arrivals", "_window_s")

    def __init__(self, *, limit: int = MAX_SENDS, window_s: float = SEND_WINDOW_S) -> None:
        self._arrivals: deque[float] = deque(maxlen=limit)
        self._window_s = window_s

    def allows(self, now: float, *, uncertainty_s: float = 0.0) -> bool:
        """Count a payload that arrived at most `uncertainty_s` before `now`; False if it is certainly one too many."""
        full = len(self._arrivals) == self._arrivals.maxlen
        allowed = not full or now - self._arrivals[0] >= self._window_s
        self._arrivals.append(now - uncertainty_s)
        return allowed
