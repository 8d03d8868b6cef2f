"""Which dispatches are too old to be handled: interactions that nobody can answer any more, and a backlog by policy.

An interaction's age is counted from its id, which Discord's clock made, to this machine's clock. The two differ, so
what the worker's clock said when it came, less the id's time, is taken for the difference: the lowest of the last ones
that were not replayed, since the rest of it is the time that the dispatch was on its way. The clocks of workers and
consumers must agree to about a second.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from consumers.failure_policy import STALE_INTERACTION_S

if TYPE_CHECKING:
    from consumers.frame import Frame

FIRST_ANSWER_S = 3.0
"""https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-callback"""
LAG_COUNT = 100
SHORTEST_S = 1.0


class Skip(Enum):
    """Why a dispatch is not handled."""

    STALE_INTERACTION = "stale interaction"
    MAX_AGE = "max age"


class Staleness:
    """`max_age_s` 0: nothing is too old; `max_interaction_age_s` 0: interactions only when their token has ended."""

    def __init__(self, *, max_age_s: float = 0.0, max_interaction_age_s: float = FIRST_ANSWER_S) -> None:
        self._max_age_s = max_age_s
        self._max_interaction_age_s = max_interaction_age_s
        self._lags: deque[float] = deque(maxlen=LAG_COUNT)

    def skip(self, frame: Frame, now: float) -> Skip | None:
        """Why it is not to be handled; None: it is. `now` is in seconds since the epoch."""
        dispatch = frame.dispatch
        made_at = frame.interaction_made_at
        if made_at is not None and self._interaction_age_s(frame, made_at, now) > self._longest_s(frame):
            return Skip.STALE_INTERACTION
        is_begun = dispatch.attempt > 1
        if self._max_age_s and not is_begun and now - dispatch.received_at > self._max_age_s:
            return Skip.MAX_AGE
        return None

    def answerable_s(self, frame: Frame, now: float) -> float:
        """How long an interaction can still be answered by whoever begins with it; at least SHORTEST_S."""
        age_s = (frame.interaction_age_s(now) or 0.0) - min(self._lags, default=0.0)
        return max(SHORTEST_S, self._longest_s(frame) - age_s)

    def _interaction_age_s(self, frame: Frame, made_at: float, now: float) -> float:
        if not frame.dispatch.replayed and frame.dispatch.attempt == 1:  # a copy has its time without the fraction
            self._lags.append(frame.dispatch.received_at - made_at)
        return now - made_at - min(self._lags, default=0.0)

    def _longest_s(self, frame: Frame) -> float:
        """One that was delivered before may have been answered: then its token lives on."""
        dispatch = frame.dispatch
        is_first = dispatch.attempt == 1 and not dispatch.redelivered and not frame.unsettled_before
        return self._max_interaction_age_s if is_first and self._max_interaction_age_s else STALE_INTERACTION_S
