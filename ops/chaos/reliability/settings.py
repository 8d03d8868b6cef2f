"""Which run, how long, with which seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eventbus.errors import ConfigurationError
from ops.chaos.reliability import (
    broker_outages,
    consumer_kills,
    coordinator_kills,
    freezes,
    hand_overs,
    poison,
    worker_kills,
)
from ops.chaos.schedule import Size
from ops.chaos.settings import ChaosSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ops.chaos.reliability.scene import Scenario

NEED_A_NODE = ("broker_outages",)
MAX_COUNT = 100_000
FULL_RATE = 1_000
FLEET = ChaosSettings(
    kinds=(),
    size=Size(shards=8, workers=4, consumers=2, coordinators=2, standbys=2),
    heartbeat_s=20.0,
    has_links=False,
)
"""8 shards, held by two workers; two more stand by. No proxies: they would cost CPU for each dispatch."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of the runs; `count` is of its own unit: kills, hand-overs, seconds."""

    make: Callable[[int, ChaosSettings], Scenario]
    full_count: int
    unit: str


RUNS: Mapping[str, Run] = {
    "worker_kills": Run(worker_kills.WorkerKills, worker_kills.FULL_COUNT, "kills"),
    "hand_overs": Run(hand_overs.HandOvers, hand_overs.FULL_COUNT, "workers handed over"),
    "coordinator_kills": Run(coordinator_kills.CoordinatorKills, coordinator_kills.FULL_COUNT, "kills"),
    "broker_outages": Run(broker_outages.BrokerOutages, broker_outages.FULL_COUNT, "restarts and kills"),
    "consumer_kills": Run(consumer_kills.ConsumerKills, consumer_kills.FULL_COUNT, "kills"),
    "poison": Run(poison.Poison, poison.FULL_COUNT, "seconds for each of the two phases"),
    "freezes": Run(freezes.Freezes, freezes.FULL_COUNT, "freezes"),
}


@dataclass(frozen=True, slots=True)
class ReliabilitySettings:
    """`count` in the unit of the run; `rate` is dispatches per second over all shards, as most runs have it."""

    name: str
    count: int
    seed: int = 1
    rate: int = FULL_RATE
    amqp_url: str | None = None
    """A broker to use; without it, one is started."""

    def make_scenario(self) -> Scenario:
        """A new one, with nothing measured."""
        rate = self.rate / FLEET.size.shards
        return RUNS[self.name].make(self.count, replace(FLEET, seed=self.seed, rate=rate, amqp_url=self.amqp_url))


def read_reliability_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> ReliabilitySettings:
    """The run's name from the arguments; RELIABILITY_COUNT, _SEED and _RATE from the environment.

    Raises ConfigurationError with a sentence for each problem.
    """
    problems: list[str] = []
    name = arguments[0] if len(arguments) == 1 else ""
    if name not in RUNS:
        problems.append(f"name one run: make reliability RUN={'|'.join(RUNS)}")
    amqp_url = environment.get("AMQP_URL") or None
    if amqp_url and name in NEED_A_NODE:
        problems.append(f"{name} needs a private broker: unset AMQP_URL")
    full_count = RUNS[name].full_count if name in RUNS else 1
    count = _number(environment, "RELIABILITY_COUNT", full_count, 1, MAX_COUNT, problems)
    seed = _number(environment, "RELIABILITY_SEED", 1, 0, 2**31, problems)
    rate = _number(environment, "RELIABILITY_RATE", FULL_RATE, 8, MAX_COUNT, problems)
    if problems:
        raise ConfigurationError(problems)
    return ReliabilitySettings(name, count, seed, rate, amqp_url)


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int, problems: list[str]) -> int:
    text = environment.get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        problems.append(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return value
