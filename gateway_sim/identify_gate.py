"""Discord's side of the identify limits: one Identify per bucket and window, and a daily budget."""

from __future__ import annotations

import enum
from dataclasses import dataclass

DAY_S = 86_400.0


class IdentifyAnswer(enum.Enum):
    """What an Identify meets."""

    ALLOWED = "allowed"
    TOO_SOON = "too_soon"
    BUDGET_EXCEEDED = "budget_exceeded"


@dataclass(frozen=True, slots=True)
class IdentifyRuling:
    """The answer to one Identify; `since_last_s` is the time since the bucket's previous one (None: the first)."""

    answer: IdentifyAnswer
    bucket: int
    since_last_s: float | None


class IdentifyGate:
    """Counts Identifies. `now` is any clock that only grows, in seconds."""

    def __init__(self, *, max_concurrency: int, total: int, remaining: int, window_s: float, now: float) -> None:
        if max_concurrency < 1 or total < 1 or not 0 <= remaining <= total or window_s < 0:
            msg = (
                f"Identify limits need max_concurrency >= 1, total >= 1, 0 <= remaining <= total and window >= 0, not "
                f"{max_concurrency}, {total}, {remaining} and {window_s}."
            )
            raise ValueError(msg)
        self.max_concurrency = max_concurrency
        self._total = total
        self._remaining = remaining
        self._window_s = window_s
        self._resets_at = now + DAY_S
        self._last_at: dict[int, float] = {}

    def identify(self, shard_id: int, now: float, *, uncertainty_s: float = 0.0) -> IdentifyRuling:
        """Count one Identify of `shard_id`, which arrived at most `uncertainty_s` before `now`, and rule on it.

        Of all moments it can have arrived at, the ruling takes the kindest.
        """
        self._roll(now)
        bucket = shard_id % self.max_concurrency
        last_at = self._last_at.get(bucket)
        since_last_s = None if last_at is None else now - last_at
        self._last_at[bucket] = now - uncertainty_s
        if self._remaining <= 0:
            return IdentifyRuling(IdentifyAnswer.BUDGET_EXCEEDED, bucket, since_last_s)
        self._remaining -= 1
        too_soon = since_last_s is not None and since_last_s < self._window_s
        answer = IdentifyAnswer.TOO_SOON if too_soon else IdentifyAnswer.ALLOWED
        return IdentifyRuling(answer, bucket, since_last_s)

    def session_start_limit(self, now: float) -> dict[str, int]:
        """Return `session_start_limit` of GET /gateway/bot; `reset_after` in milliseconds."""
        self._roll(now)
        return {
            "total": self._total,
            "remaining": self._remaining,
            "reset_after": int((self._resets_at - now) * 1000),
            "max_concurrency": self.max_concurrency,
        }

    def _roll(self, now: float) -> None:
        if now >= self._resets_at:
            self._resets_at = now + DAY_S
            self._remaining = self._total
