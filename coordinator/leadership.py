"""Leadership: whether this coordinator leads, by the broker's single active consumer. Pure.

Whoever gets a delivery leads; it first reads what its predecessors wrote, learns what the workers hold, then grants.
"""

from __future__ import annotations

from enum import Enum

LEARN_S = 1.0
FIRST_TERM_S = 5.0
"""Who leads so soon in a namespace that it found empty leads first, also on a slow machine."""
# Workers come back from a lost broker with a back-off of up to 5 s.
LEARN_AFTER_LOSS_S = 6.0


class Phase(Enum):
    """Where a coordinator stands."""

    STAND_BY = "stand_by"
    CATCHING_UP = "catching_up"
    LEARNING = "learning"
    LEADING = "leading"


class Leadership:
    """The phase and its changes. `connected_at` is when this process's first broker connection was set up."""

    def __init__(self) -> None:
        self.phase = Phase.STAND_BY
        self._connected_at = 0.0
        self._connect_count = 0
        self.began_at = 0.0

    @property
    def is_leading(self) -> bool:
        """Whether leases and permits may be granted."""
        return self.phase is Phase.LEADING

    def on_connected(self, now: float) -> None:
        """A new connection to the broker: who gets the deliveries is open again."""
        self.phase = Phase.STAND_BY
        self._connected_at = now
        self._connect_count += 1

    @property
    def knows_the_stream(self) -> bool:
        """Whether we lead and know all that our predecessors wrote: before that no request is answered."""
        return self.phase in (Phase.LEARNING, Phase.LEADING)

    def on_delivery(self) -> bool:
        """A request was delivered to us; True if we begin to lead by it, which `on_caught_up` ends."""
        if self.phase is not Phase.STAND_BY:
            return False
        self.phase = Phase.CATCHING_UP
        return True

    def on_caught_up(self, now: float) -> bool:
        """All that our predecessors wrote is read; False if the broker was lost meanwhile."""
        if self.phase is not Phase.CATCHING_UP:
            return False
        self.phase, self.began_at = Phase.LEARNING, now
        return True

    def step_back(self) -> None:
        """We do not lead after all: the next delivery begins anew."""
        self.phase = Phase.STAND_BY

    @property
    def began_at_once(self) -> bool:
        """Whether we began to lead at most FIRST_TERM_S after the process's first and only connect."""
        return self._connect_count == 1 and self.began_at - self._connected_at <= FIRST_TERM_S

    def try_to_lead(self, now: float, *, is_every_shard_held: bool, is_count_doubtful: bool = False) -> bool:
        """End learning if it is time; after a loss of the broker, holders get the time to come back.

        `is_count_doubtful`: they may be those of a fleet with another shard count, whose sessions would be lost.
        """
        if self.phase is not Phase.LEARNING or now - self.began_at < LEARN_S:
            return False
        may_come_back = self._connect_count > 1 or is_count_doubtful
        is_after_loss = may_come_back and self.began_at - self._connected_at < LEARN_AFTER_LOSS_S
        if not is_after_loss or is_every_shard_held or now - self.began_at >= LEARN_AFTER_LOSS_S:
            self.phase = Phase.LEADING
            return True
        return False
