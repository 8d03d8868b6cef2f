"""Settlements that RabbitMQ may hold back in a channel, and forgets if the channel closes.

RabbitMQ 3.10 has no answer to a settlement. With 32 of a channel on their way to a quorum queue
(`quorum_commands_soft_limit`), it keeps further ones in the channel's process until the queue has caught up: what was
settled comes again if the channel, or its connection, closes before that, in good order or not.
"""

from __future__ import annotations

from collections import deque

HELD_BACK_FROM = 32
SETTLED_S = 0.5
"""So long a queue may take to settle them."""


class HeldBack:
    """What was written on one channel lately; `now` is of one monotonic clock, in seconds."""

    __slots__ = ("_written_at",)

    def __init__(self) -> None:
        self._written_at: deque[float] = deque(maxlen=HELD_BACK_FROM)

    def wrote(self, now: float, count: int = 1) -> None:
        """So many frames that settle something were written."""
        self._written_at.extend([now] * count)

    def wait_s(self, now: float) -> float:
        """How long to wait before the channel may be closed."""
        written_at = self._written_at
        if len(written_at) < HELD_BACK_FROM or written_at[-1] - written_at[0] > SETTLED_S:
            return 0.0
        return max(0.0, written_at[-1] + SETTLED_S - now)
