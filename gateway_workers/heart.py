"""Heartbeats of one connection: when to beat, and whether the connection is a zombie.

Source: https://discord.com/developers/docs/events/gateway#sending-heartbeats
"""

from __future__ import annotations

BRIEF_S = 1.0
"""Pauses of less than that since a beat, or a quarter of the interval, hide no ACK."""
READ_ENOUGH_S = 5.0
"""So long after a pause, what had waited in the socket is read, at half of the interval at the latest."""


class Heart:
    """`now` is monotonic, in seconds; `jitter` in [0, 1) spreads first beats."""

    def __init__(self, *, interval_s: float, jitter: float, now: float) -> None:
        self.interval_s = interval_s
        self.next_beat_at = now + interval_s * jitter
        self._beat_at: float | None = None
        self._is_acked = True
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._was_unread = False
        self._resumed_at = now
        self.latency_s: float | None = None

    def is_zombie(self, now: float) -> bool:
        """Whether the last beat had no ACK although we read long enough, since then, to have come to it."""
        if self._is_acked or self._paused_at is not None:
            return False
        was_read_throughout = self._paused_s <= min(BRIEF_S, self.interval_s / 4)
        return was_read_throughout or now - self._resumed_at >= min(READ_ENOUGH_S, self.interval_s / 2)

    def on_beat(self, now: float) -> None:
        """A heartbeat was sent."""
        self._beat_at = now
        self._is_acked = False
        self._was_unread = self._paused_at is not None
        self._paused_s = 0.0
        if self._was_unread:
            self._paused_at = now
        self.next_beat_at = now + self.interval_s

    def on_ack(self, now: float) -> None:
        """A heartbeat ACK was read."""
        if self._beat_at is not None and not self._is_acked and not self._was_unread:
            self.latency_s = now - self._beat_at
        self._is_acked = True

    def on_reading_paused(self, now: float) -> None:
        """We stopped reading (back-pressure): a missing ACK of this beat proves nothing until we read again."""
        self._paused_at = now
        self._was_unread = True

    def on_reading_resumed(self, now: float) -> None:
        """We read again: an ACK that waited comes soon."""
        if self._paused_at is not None:
            self._paused_s += now - self._paused_at
        self._paused_at = None
        self._resumed_at = now
