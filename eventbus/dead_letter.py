"""One dead letter: what its headers say, where it came from, and what it is sent again with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from eventbus.names import is_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventbus.names import Names

RETRIED_HEADER = "retried"
_OURS = frozenset({"reason", "origin", "attempts", "failed_attempts", "unsettled_deliveries"})
_OF_THE_BROKER = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter as it lies in the queue; docs/wire.md says what its headers mean. Any of them may be missing or odd."""

    message_id: str | None
    event_type: str | None
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: bytes

    @property
    def shard(self) -> int | None:
        """The shard id."""
        return _integer(self.headers.get("shard"))

    @property
    def retried(self) -> int:
        """How often it was sent again before."""
        return max(0, _integer(self.headers.get(RETRIED_HEADER)) or 0)

    @property
    def origin(self) -> str | None:
        """The queue that it was delivered from: the consumer's word, else RabbitMQ's."""
        origin = self.headers.get("origin")
        origin = origin if origin is not None else self._death.get("queue")
        return str(origin) if origin is not None else None

    @property
    def reason(self) -> str:
        """Why it is here."""
        reason = self.headers.get("reason")
        if reason is not None:
            return str(reason)
        moved = self._death.get("reason")
        return f"RabbitMQ moved it here: {moved}" if moved is not None else "no reason given"

    @property
    def attempts(self) -> int | None:
        """How often it was delivered before it came here, if anybody counted."""
        return _integer(self.headers.get("attempts"))

    def age_s(self, now: float) -> float | None:
        """Seconds since RabbitMQ moved it here, else since a worker received it; `now` in seconds since the epoch."""
        moved_at = self._death.get("time")
        at = moved_at.timestamp() if isinstance(moved_at, datetime) else self.headers.get("received_at")
        return max(0.0, now - at) if isinstance(at, int | float) and not isinstance(at, bool) else None

    @property
    def _death(self) -> Mapping[str, Any]:
        deaths = self.headers.get("x-death")
        first = deaths[0] if isinstance(deaths, list) and deaths else None
        return first if isinstance(first, dict) else {}


def origin_problem(letter: DeadLetter, names: Names, group: str) -> str | None:
    """Why `letter` cannot be sent to its origin, or None: only queues of its own group get letters back."""
    origin = letter.origin
    if origin is None:
        return "it does not say which queue it came from"
    queue = names.group(group)
    if origin == queue or (origin.startswith(f"{queue}.") and is_name(origin.removeprefix(f"{queue}."))):
        return None
    return f"its origin {origin!r} is no queue of group {group!r}"


def retry_headers(letter: DeadLetter) -> dict[str, Any]:
    """The headers to send `letter` with: the dispatch's own, and how often it was sent again."""
    kept = {name: value for name, value in letter.headers.items() if not _is_of_the_dead(name)}
    return {**kept, RETRIED_HEADER: letter.retried + 1}


def _is_of_the_dead(name: str) -> bool:
    return name in _OURS or name.startswith(_OF_THE_BROKER)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
