"""Discord's rate limits per route and major parameter: fixed windows, decided without a clock of their own.

Source: https://discord.com/developers/docs/topics/rate-limits
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import md5

_MOST_WINDOWS = 20_000


@dataclass(slots=True)
class _Window:
    ends_at: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one request was granted. `headers` go with every answer; `retry_after_s` is None unless refused."""

    headers: dict[str, str]
    retry_after_s: float | None


class RateLimits:
    """At most `limit` requests in `window_s` seconds for each (route, major parameter)."""

    def __init__(self, limit: int = 50, window_s: float = 1.0) -> None:
        if limit < 1 or window_s <= 0:
            msg = f"a rate limit needs at least 1 request and a window above 0 s, not {limit} and {window_s}"
            raise ValueError(msg)
        self.limit = limit
        self.window_s = window_s
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def take(self, route: str, major: str, now: float) -> Allowance:
        """Count one request to `route` (method and template) at `now`, in Unix seconds."""
        window = self._window((route, major), now)
        refused = window.used >= self.limit
        if not refused:
            window.used += 1
        reset_after_s = max(window.ends_at - now, 0.001)
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - window.used),
            "X-RateLimit-Reset": f"{window.ends_at:.3f}",
            "X-RateLimit-Reset-After": f"{reset_after_s:.3f}",
            "X-RateLimit-Bucket": md5(route.encode(), usedforsecurity=False).hexdigest(),
        }
        if refused:
            headers |= {"Retry-After": str(math.ceil(reset_after_s)), "X-RateLimit-Scope": "user"}
        return Allowance(headers, round(reset_after_s, 3) if refused else None)

    def _window(self, key: tuple[str, str], now: float) -> _Window:
        found = self._windows.get(key)
        if found is None or now >= found.ends_at:
            found = self._windows[key] = _Window(now + self.window_s)
            self._windows.move_to_end(key)
            if len(self._windows) > _MOST_WINDOWS:
                self._windows.popitem(last=False)
        return found
