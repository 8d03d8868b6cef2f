"""How much traffic is to be sent: a rate, a mix, a choice of shards, a total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway_sim.json_value import Json
from gateway_sim.traffic import Traffic

_MOST_DEBT_S = 1.0
_KEYS = frozenset({"rate", "mix", "shards", "total", "seed"})
_MAX_RATE = 1_000_000


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """`rate` is dispatches per second and shard, None as fast as the client reads; `total` is over all shards."""

    rate: float | None
    mix: str | Mapping[str, float]
    shards: frozenset[int] | None
    total: int | None
    seed: int

    def covers(self, shard_id: int) -> bool:
        """Whether this shard gets traffic."""
        return self.shards is None or shard_id in self.shards


def parse_traffic(body: Mapping[str, Json], *, default_mix: str, default_seed: int) -> TrafficPlan:
    """Return the plan that a control request asks for; ValueError says what to change."""
    if unknown := sorted(body.keys() - _KEYS):
        msg = f"unknown traffic option {', '.join(unknown)}: use {', '.join(sorted(_KEYS))}"
        raise ValueError(msg)
    mix = body.get("mix") or default_mix
    if not isinstance(mix, str | Mapping):
        msg = f"mix must be a name or an object of weights, not {mix!r}"
        raise ValueError(msg)  # noqa: TRY004 - every problem of a request is a ValueError
    return TrafficPlan(
        rate=parse_rate(body.get("rate", "max")),
        mix=mix,
        shards=_parse_shards(body.get("shards")),
        total=_parse_count(body.get("total"), "total"),
        seed=_parse_count(body.get("seed"), "seed") or default_seed,
    )


def parse_rate(value: Json) -> float | None:
    """Return dispatches per second, None for "max"."""
    if value == "max":
        return None
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = -1.0
    if not 0 <= rate <= _MAX_RATE:
        msg = f"rate must be a number from 0 to {_MAX_RATE}, or 'max', not {value!r}"
        raise ValueError(msg)
    return rate


def _parse_shards(value: Json) -> frozenset[int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(shard, int) for shard in value):
        msg = f"shards must be a list of shard ids or null, not {value!r}"
        raise ValueError(msg)
    return frozenset(value)


def _parse_count(value: Json, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or value < 0:
        msg = f"{name} must be a whole number of 0 or more, or null, not {value!r}"
        raise ValueError(msg)
    return value


class Pace:
    """How many dispatches of a shard are due. `now` in seconds; a debt of more than 1 s is dropped and counted."""

    __slots__ = ("_last_at", "_owed", "_rate", "dropped")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._last_at = now
        self._owed = 0.0
        self.dropped = 0.0

    def due(self, now: float) -> int:
        """Return the number of whole dispatches owed at `now`."""
        self._owed += (now - self._last_at) * self._rate
        self._last_at = now
        most = max(self._rate * _MOST_DEBT_S, 1.0)
        if self._owed > most:
            self.dropped += self._owed - most
            self._owed = most
        return int(self._owed)

    def paid(self, count: int) -> None:
        """Count dispatches that were sent."""
        self._owed -= count


@dataclass(slots=True)
class Source:
    """The traffic of one shard of the layout that sets the pace; `pace` is None at "max"."""

    shard_id: int
    shard_count: int
    traffic: Traffic
    pace: Pace | None
