"""The identify gate: identify buckets, spaced, and the daily identify budget with a reserve. Pure.

Algorithm: Discord allows one Identify per identify bucket (`shard_id % max_concurrency`) per 5 s
(https://discord.com/developers/docs/events/gateway#rate-limiting) and `session_start_limit.total` per day
(https://discord.com/developers/docs/events/gateway#session-start-limit-object); past the total it ends every session
and resets the bot token. As in twilight's gateway queue, a bucket is the instant at which its next slot opens; unlike
there nobody queues: a request is granted or told the exact time after which to ask again, so a coordinator that dies
takes no queue along, and its successor learns its permits. A permit is used within `valid_s` of its request or
not at all; hence slots are 5 s + `valid_s` + a margin for the network apart: PERMIT_VALID_S makes IDENTIFY_SPACING_S,
and who gets answers later asks for more. All instants are of one monotonic clock, in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from eventbus.messages import MAX_PERMIT_VALID_S, PERMIT_VALID_S

BARE_SPACING_S = 5.1
IDENTIFY_SPACING_S = BARE_SPACING_S + PERMIT_VALID_S
LONGEST_SPACING_S = BARE_SPACING_S + MAX_PERMIT_VALID_S
BUDGET_DAY_S = 86_400.0
RESET_MARGIN_S = 5.0  # Discord's clock, not ours, ends the day
RESERVE_SHARE = 10  # one in ten
REFRESH_INTERVAL_S = 300.0
LOW_REFRESH_INTERVAL_S = 30.0
RETRY_REFRESH_S = 5.0
UNKNOWN_RETRY_S = 1.0
LOW_BUDGET = 20
# After this time an Identify that was sent under a predecessor's permit is in Discord's count.
SETTLED_S = 3.5 + MAX_PERMIT_VALID_S
LONG_PAST_S = 60.0  # further than the clocks of a fleet's machines are apart
_CLOCK_GRAIN_S = 1e-6  # whoever asks again after exactly `retry_after_s` is not late by a rounding error


@dataclass(frozen=True, slots=True)
class IdentifyLimit:
    """Discord's `session_start_limit`: `total` a day, `remaining` of it, refilled in `reset_after_s` seconds."""

    total: int
    remaining: int
    reset_after_s: float
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one Identify within `valid_s`, or the wait before asking again and its reason."""

    granted: bool
    valid_s: float = 0.0
    retry_after_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PermitNews:
    """Another coordinator's permit for `shard`, and what it knew of the day's budget behind it."""

    shard: int
    max_concurrency: int
    remaining: int
    total: int
    reset_after_s: float
    valid_s: float = PERMIT_VALID_S


def identify_reserve(total: int, asked: int | None) -> int:
    """How much of the day is kept for recovery: `asked`, else a tenth, at least 1; but never the whole day."""
    reserve = max(1, total // RESERVE_SHARE) if asked is None else asked
    return max(0, min(reserve, total - 1))


class IdentifyGate:
    """Grants identify permits.

    `refresh_at` is when Discord should be asked again for the limit; give the answer to `learn`.
    """

    def __init__(self, limit: IdentifyLimit, *, asked_at: float, reserve: int | None = None) -> None:
        self._asked_reserve = reserve
        self._opens_at: dict[int, float] = {}
        self._used_by: deque[float] = deque()
        self._held_until = float("-inf")
        self._settled_at = float("-inf")
        self._is_known = True
        self.max_concurrency = limit.max_concurrency
        self.remaining = 0
        self.total = 0
        self.reset_at = 0.0
        self.refresh_at = 0.0
        self._take(limit, asked_at)

    @property
    def reserve(self) -> int:
        """Identifies of the day that only recoveries may use."""
        return identify_reserve(self.total, self._asked_reserve)

    def hold(self, now: float) -> None:
        """Nobody told what was granted just now: no permit for the longest spacing, nor before the budget is known."""
        self._held_until = now + LONGEST_SPACING_S
        self._settled_at = now + SETTLED_S
        self._is_known = False
        self.refresh_at = self._settled_at

    def request(self, shard_id: int, now: float, *, recovery: bool, valid_s: float = PERMIT_VALID_S) -> Permit:
        """Decide on one Identify of `shard_id`, within `valid_s`; `recovery` may use the reserve."""
        self._refill(now)
        bucket = shard_id % self.max_concurrency
        opens_at = max(self._opens_at.get(bucket, now), self._held_until)
        if opens_at > now + _CLOCK_GRAIN_S:
            return _refusal(opens_at - now, f"identify bucket {bucket} opens in {opens_at - now:.1f} s")
        if not self._is_known:
            return _refusal(UNKNOWN_RETRY_S, "Discord has not said yet how many identifies are left today")
        if self.remaining <= (0 if recovery else self.reserve):
            return self._spent(now, recovery=recovery)
        return self._grant(bucket, now, valid_s)

    def learn(self, limit: IdentifyLimit, *, asked_at: float) -> None:
        """Take Discord's own count, as of `asked_at`; permits of the last moments may not be in it yet."""
        if limit.max_concurrency != self.max_concurrency:
            self.max_concurrency = limit.max_concurrency  # other buckets: none has a known slot
            self._opens_at.clear()
            self._held_until = max(self._held_until, asked_at + LONGEST_SPACING_S)
        self._take(limit, asked_at)

    def learn_permit(self, news: PermitNews, *, read_at: float, age_s: float) -> None:
        """Take another coordinator's permit, read now; `age_s` is what its writer's clock makes of its age.

        One that is long past changes nothing: its slot is over, and Discord has counted it since. Of any other the
        age is unsure, so its bucket is closed for its spacing from now.
        """
        if age_s > LONG_PAST_S:
            return
        self._refill(read_at)
        opens_at = read_at + BARE_SPACING_S + news.valid_s
        if news.max_concurrency == self.max_concurrency:
            self._opens_at[news.shard % self.max_concurrency] = opens_at
        else:
            self._held_until = max(self._held_until, opens_at)
        self._remember(read_at + news.valid_s)
        self.remaining = min(self.remaining, news.remaining)
        self.total = news.total
        self.reset_at = read_at + news.reset_after_s

    def lead(self, now: float) -> None:
        """We decide from now on, by what was learned: Discord is asked soon, and nobody waits for its answer."""
        self.refresh_at = min(self.refresh_at, now)

    def refresh_failed(self, now: float) -> None:
        """Discord did not say; ask again soon."""
        self.refresh_at = now + (LOW_REFRESH_INTERVAL_S if self._is_known else RETRY_REFRESH_S)

    def _take(self, limit: IdentifyLimit, asked_at: float) -> None:
        uncounted = sum(used_by > asked_at - BARE_SPACING_S for used_by in self._used_by)
        self.total = limit.total
        self.remaining = max(0, limit.remaining - uncounted)
        self.reset_at = asked_at + limit.reset_after_s + RESET_MARGIN_S
        self._is_known = asked_at >= self._settled_at
        wait_s = REFRESH_INTERVAL_S if self._is_known else RETRY_REFRESH_S
        self.refresh_at = asked_at + (min(wait_s, LOW_REFRESH_INTERVAL_S) if self._is_low() else wait_s)

    def _grant(self, bucket: int, now: float, valid_s: float) -> Permit:
        self.remaining -= 1
        self._opens_at[bucket] = now + BARE_SPACING_S + valid_s
        self._remember(now + valid_s)
        if self._is_low():
            self.refresh_at = min(self.refresh_at, now + LOW_REFRESH_INTERVAL_S)
        return Permit(granted=True, valid_s=valid_s)

    def _remember(self, used_by: float) -> None:
        self._used_by.append(used_by)
        while self._used_by[0] < used_by - REFRESH_INTERVAL_S:
            self._used_by.popleft()

    def _is_low(self) -> bool:
        return self.remaining <= self.reserve + LOW_BUDGET

    def _refill(self, now: float) -> None:
        if now >= self.reset_at:
            self.remaining = self.total
            self.reset_at = now + BUDGET_DAY_S
            self.refresh_at = min(self.refresh_at, now)

    def _spent(self, now: float, *, recovery: bool) -> Permit:
        wait_s = self.reset_at - now
        kept = "" if recovery else f" but the {self.remaining} kept for recovery"
        return _refusal(
            wait_s, f"all {self.total} identifies of the day are used{kept}: Discord refills in {wait_s:.0f} s"
        )


def _refusal(retry_after_s: float, reason: str) -> Permit:
    return Permit(granted=False, retry_after_s=retry_after_s, reason=reason)
