"""Discord's limit on sending: 120 payloads in any 60 s of a connection, heartbeats included.

A sliding window, because a fixed one can burst 240; a reserve is kept for heartbeats.
Source: https://discord.com/developers/docs/events/gateway#rate-limiting
"""

from __future__ import annotations

from collections import deque

LIMIT = 120
WINDOW_S = 60.0
HEARTBEAT_RESERVE = 10
MARGIN_S = 3.0
"""The network may bring sends closer together than they were sent: a burst may be held up by a lost packet."""


class SendWindow:
    """The sends of one connection; `now` is monotonic, in seconds."""

    def __init__(self, *, limit: int = LIMIT, window_s: float = WINDOW_S, reserve: int = HEARTBEAT_RESERVE) -> None:
        self._limit = limit
        self._window_s = window_s + MARGIN_S
        self._reserve = reserve
        self._sent: deque[float] = deque()

    def try_command(self, now: float) -> float:
        """Count a send that may use all but the reserve. 0.0 if it may go now, else the seconds to wait."""
        return self._try(now, self._limit - self._reserve)

    def try_heartbeat(self, now: float) -> float:
        """Count a heartbeat, Identify or Resume, which may use the reserve too. As `try_command`."""
        return self._try(now, self._limit)

    def _try(self, now: float, limit: int) -> float:
        while self._sent and self._sent[0] <= now - self._window_s:
            self._sent.popleft()
        if len(self._sent) < limit:
            self._sent.append(now)
            return 0.0
        return self._sent[len(self._sent) - limit] + self._window_s - now
