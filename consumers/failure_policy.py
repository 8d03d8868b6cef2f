"""What becomes of a dispatch that a listener failed on, or that comes again and again unsettled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

MAX_DELAY_S = 64
MAX_ATTEMPTS = 20
STALE_INTERACTION_S = 15 * 60
"""https://discord.com/developers/docs/interactions/receiving-and-responding#followup-messages: the token's life."""
ISOLATE_AFTER = 2
"""Deliveries that ended unsettled until a dispatch is handled alone: one may be a deploy, two are a suspicion."""

ISOLATE_LATE = 3
"""The same where the order counts: what is isolated loses its place, and two processes may end one after another."""


class OnError(StrEnum):
    """What to do with a dispatch of which a listener raised."""

    DEAD_LETTER = "dead-letter"
    RETRY = "retry"
    ACK = "ack"


class Admission(Enum):
    """What to do with a delivery before anything of it is handled."""

    HANDLE = "handle"
    ISOLATE = "isolate"
    DEAD_LETTER = "dead letter"


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """Attempts are handlings that ended; deliveries are those that did not, since nobody settled them."""

    on_error: OnError = OnError.DEAD_LETTER
    max_attempts: int = 5
    max_deliveries: int = 5
    isolate_after: int = ISOLATE_AFTER

    def admit(self, *, unsettled_count: int, is_isolated: bool) -> Admission:
        """`unsettled_count`: how often it was delivered before and never settled."""
        if unsettled_count >= self.max_deliveries:
            return Admission.DEAD_LETTER
        if unsettled_count >= self.isolate_after and not is_isolated:
            return Admission.ISOLATE
        return Admission.HANDLE

    def retry_delay_s(self, *, attempt_count: int, interaction_age_s: float | None) -> int | None:
        """Seconds until a failed dispatch is tried again; None: it becomes a dead letter.

        `attempt_count` includes the failed one; `interaction_age_s` is None for what is no interaction.
        """
        if self.on_error is not OnError.RETRY or attempt_count >= self.max_attempts:
            return None
        delay_s = delay_after(attempt_count)
        if interaction_age_s is not None and interaction_age_s + delay_s > STALE_INTERACTION_S:
            return None
        return delay_s


def delay_after(attempt_count: int) -> int:
    """Seconds after the n-th failed attempt: 1, 2, 4 … up to MAX_DELAY_S."""
    return min(1 << (attempt_count - 1), MAX_DELAY_S)
