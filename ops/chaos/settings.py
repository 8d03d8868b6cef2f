"""What a chaos run is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventbus.errors import ConfigurationError
from ops.chaos.schedule import NODE_KINDS, Kind, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

SOAK_DEFAULT_S = 3600.0
MAX_ROUNDS = 1_000_000


@dataclass(frozen=True, slots=True)
class ChaosSettings:
    """One run. `rate` is dispatches per second and shard; `soak_s` replaces `rounds` by a time."""

    seed: int = 1
    rounds: int = 20
    first_round: int = 0
    rate: float = 50.0
    kinds: tuple[Kind, ...] = tuple(Kind)
    size: Size = field(default_factory=Size)
    soak_s: float | None = None
    amqp_url: str | None = None
    heartbeat_s: float = 10.0
    """Discord's heartbeat interval: one that comes late is a violation."""
    session_timeout_s: float = 75.0
    """Silence after which Discord ends a session: longer than a takeover from a frozen worker takes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """For every process of the fleet."""
    worker_shards: str = "auto"
    replay_age_s: float = 90.0
    replay_depth: int = 20_000
    has_links: bool = True
    """Whether proxies stand between the fleet and the broker; without them there are no faults of links."""


def read_settings(environment: Mapping[str, str], *, is_soak: bool = False) -> ChaosSettings:
    """The settings from CHAOS_SEED, CHAOS_ROUNDS, CHAOS_FIRST, CHAOS_RATE, CHAOS_SHARDS, CHAOS_FAULTS, SOAK_SECONDS.

    Raises ConfigurationError with a sentence for each problem.
    """
    problems: list[str] = []

    def number(name: str, default: float, low: float, high: float) -> float:
        text = environment.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            problems.append(f"{name} must be a number from {low:g} to {high:g}, not {text!r}")
            return default
        return value

    amqp_url = environment.get("AMQP_URL") or None
    kinds = _kinds(environment.get("CHAOS_FAULTS", ""), has_node=amqp_url is None, problems=problems)
    settings = ChaosSettings(
        seed=int(number("CHAOS_SEED", 1, 0, 2**53)),
        rounds=int(number("CHAOS_ROUNDS", 20, 1, MAX_ROUNDS)),
        first_round=int(number("CHAOS_FIRST", 0, 0, MAX_ROUNDS)),
        rate=number("CHAOS_RATE", 50, 0.1, 10_000),
        kinds=kinds,
        size=Size(shards=int(number("CHAOS_SHARDS", 4, 1, 64)), spared_count=1 if is_soak else 0),
        soak_s=number("SOAK_SECONDS", SOAK_DEFAULT_S, 10, 10**7) if is_soak else None,
        amqp_url=amqp_url,
    )
    if problems:
        raise ConfigurationError(problems)
    return settings


def _kinds(text: str, *, has_node: bool, problems: list[str]) -> tuple[Kind, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {kind.value for kind in Kind}
    for name in names:
        if name not in known:
            problems.append(f"CHAOS_FAULTS: there is no fault {name!r}: use {', '.join(sorted(known))}")
        elif not has_node and Kind(name) in NODE_KINDS:
            problems.append(f"CHAOS_FAULTS: {name} needs a private broker: unset AMQP_URL")
    chosen = [Kind(name) for name in names if name in known] or list(Kind)
    return tuple(kind for kind in dict.fromkeys(chosen) if has_node or kind not in NODE_KINDS)
