"""The seeded schedule of faults: which ones strike in which round, singly and in pairs. Pure.

Round `number` of a seed is the same however many rounds are run, so a failing round can be replayed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

SECOND_STRIKE_WITHIN_S = 2.0


class Kind(StrEnum):
    """A fault; see `docs/chaos.md` for what each does."""

    KILL_WORKER = "kill_worker"
    TERM_WORKER = "term_worker"
    PAUSE_WORKER = "pause_worker"
    FREEZE_WORKER = "freeze_worker"
    KILL_CONSUMER = "kill_consumer"
    TERM_CONSUMER = "term_consumer"
    PAUSE_CONSUMER = "pause_consumer"
    FREEZE_CONSUMER = "freeze_consumer"
    KILL_COORDINATOR = "kill_coordinator"
    TERM_COORDINATOR = "term_coordinator"
    PAUSE_COORDINATOR = "pause_coordinator"
    FREEZE_COORDINATOR = "freeze_coordinator"
    RESTART_BROKER = "restart_broker"
    KILL_BROKER = "kill_broker"
    ALARM = "alarm"
    DISK_ALARM = "disk_alarm"
    CUT_WORKER_LINK = "cut_worker_link"
    DELAY_WORKER_LINK = "delay_worker_link"
    STALL_WORKER_LINK = "stall_worker_link"
    HALF_OPEN_WORKER_LINK = "half_open_worker_link"
    CUT_CONSUMER_LINK = "cut_consumer_link"
    DELAY_CONSUMER_LINK = "delay_consumer_link"
    STALL_CONSUMER_LINK = "stall_consumer_link"
    HALF_OPEN_CONSUMER_LINK = "half_open_consumer_link"
    CUT_COORDINATOR_LINK = "cut_coordinator_link"
    DELAY_COORDINATOR_LINK = "delay_coordinator_link"
    STALL_COORDINATOR_LINK = "stall_coordinator_link"
    HALF_OPEN_COORDINATOR_LINK = "half_open_coordinator_link"
    DROP = "drop"
    OP_7 = "op_7"
    OP_7_BEFORE_HELLO = "op_7_before_hello"
    OP_9_RESUMABLE = "op_9_resumable"
    OP_9_NEW_SESSION = "op_9_new_session"
    CLOSE = "close"
    CLOSE_ENDING = "close_ending"
    DEAD_RESUME_HOST = "dead_resume_host"
    WITHHOLD_ACKS = "withhold_acks"
    STALL_DISCORD = "stall_discord"


BROKER_KINDS = frozenset({Kind.RESTART_BROKER, Kind.KILL_BROKER, Kind.ALARM, Kind.DISK_ALARM})
NODE_KINDS = BROKER_KINDS
"""Need a broker of our own; impossible with AMQP_URL."""
SESSION_ENDING_KINDS = frozenset({Kind.OP_9_NEW_SESSION, Kind.CLOSE_ENDING})
ON_CONNECTION_KINDS = SESSION_ENDING_KINDS | {Kind.DROP, Kind.OP_7, Kind.OP_9_RESUMABLE, Kind.CLOSE}
"""End one connection of a shard, which then comes back with a Resume or an Identify."""

# Fatal codes (4004, 4010 to 4014) stop a worker by design and are the business of other tests.
RESUMABLE_CODES = (1000, 1001, 1011, 4000, 4001, 4002, 4005, 4008)
ENDING_CODES = (4003, 4007, 4009)
HOST_MODES = ("refuse", "hang", "503")

# Seconds, from and to. A broker cuts a frozen client after three of its heartbeats: 15 s for a worker's publishing
# connection, 30 s for all others.
_DURATIONS: Mapping[Kind, tuple[float, float]] = {
    Kind.PAUSE_WORKER: (0.5, 4.0),
    Kind.FREEZE_WORKER: (18.0, 24.0),
    Kind.PAUSE_CONSUMER: (0.5, 5.0),
    Kind.FREEZE_CONSUMER: (32.0, 36.0),
    Kind.PAUSE_COORDINATOR: (0.5, 5.0),
    Kind.FREEZE_COORDINATOR: (32.0, 36.0),
    Kind.KILL_BROKER: (0.0, 4.0),
    Kind.ALARM: (2.0, 8.0),
    Kind.DISK_ALARM: (2.0, 8.0),
    Kind.DELAY_WORKER_LINK: (3.0, 8.0),
    Kind.STALL_WORKER_LINK: (1.0, 20.0),
    Kind.HALF_OPEN_WORKER_LINK: (1.0, 20.0),
    Kind.DELAY_CONSUMER_LINK: (3.0, 8.0),
    Kind.STALL_CONSUMER_LINK: (1.0, 20.0),
    Kind.HALF_OPEN_CONSUMER_LINK: (1.0, 20.0),
    Kind.DELAY_COORDINATOR_LINK: (3.0, 8.0),
    Kind.STALL_COORDINATOR_LINK: (1.0, 20.0),
    Kind.HALF_OPEN_COORDINATOR_LINK: (1.0, 20.0),
    Kind.DEAD_RESUME_HOST: (3.0, 8.0),
    Kind.STALL_DISCORD: (1.0, 6.0),
}
_RESTART_AFTER_S = (0.2, 2.0)
"""How long after a kill the next process of its kind starts."""


def is_of_process(kind: Kind) -> bool:
    """Whether it strikes a process or its link, not Discord or the broker."""
    return any(role in kind.value for role in ("_worker", "_consumer", "_coordinator"))


DISCORD_KINDS = frozenset(kind for kind in Kind if not is_of_process(kind) and kind not in BROKER_KINDS)


@dataclass(frozen=True, slots=True)
class Size:
    """How many of each there are; `standbys` workers hold nothing.

    `spared_count` of each role have no faults of their own.
    """

    shards: int = 4
    workers: int = 3
    consumers: int = 2
    coordinators: int = 2
    spared_count: int = 0
    standbys: int = 1

    @property
    def capacity(self) -> int:
        """The most shards of a worker, so that the others hold all of them."""
        return -(-self.shards // max(1, self.workers - self.standbys))

    def of_role(self, kind: Kind) -> int:
        """How many processes `kind` may choose from."""
        for role, count in (("worker", self.workers), ("consumer", self.consumers), ("coordinator", self.coordinators)):
            if f"_{role}" in kind.value:
                return max(1, count - self.spared_count)
        return 1


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: `offset_s` after the round began, at process or link `target` or at `shard`, for `duration_s`.

    Among workers, those that hold shards are counted first: a fault of a stand-by tells little.
    `option` is a close code, a host's mode, or empty.
    """

    kind: Kind
    offset_s: float
    target: int
    shard: int
    duration_s: float
    option: str = ""

    def __str__(self) -> str:
        where = f"#{self.target}" if is_of_process(self.kind) else f"shard {self.shard}"
        option = f" {self.option}" if self.option else ""
        return f"{self.kind}{option} {where} +{self.offset_s:.2f} s for {self.duration_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Round:
    """What strikes in one round."""

    number: int
    strikes: tuple[Strike, ...]

    @property
    def kinds(self) -> frozenset[Kind]:
        """The faults of the round."""
        return frozenset(strike.kind for strike in self.strikes)

    @property
    def unread_shards(self) -> frozenset[int]:
        """Shards of Discord's strikes in which nobody may have read all of a session before its end.

        One that Discord alone strikes has a worker that lives and reads: it must publish all that was sent before
        the end, also when the broker is away meanwhile. Two strikes at one shard may leave it without a connection.
        What befalls workers and their links is not known from the schedule: see `Faults.struck_shards`.
        """
        hit = [strike.shard for strike in self.strikes if strike.kind in DISCORD_KINDS]
        return frozenset(shard for shard in hit if hit.count(shard) > 1)


class _Draws:
    """Numbers that follow from a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0

    def fraction(self) -> float:
        self._count += 1
        digest = hashlib.sha256(f"{self._text}/{self._count}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def between(self, low: float, high: float) -> float:
        return round(low + (high - low) * self.fraction(), 3)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.fraction() * len(choices))]


def plan_round(seed: int, number: int, kinds: Sequence[Kind], size: Size) -> Round:
    """Round `number` (from 0): single faults in even rounds, each of `kinds` in turn; pairs in odd ones.

    With one kind alone there are no pairs. Raises ValueError without any kind.
    """
    if not kinds:
        raise ValueError("no fault to choose from")
    draws = _Draws(f"{seed}/{number}")
    if len(kinds) == 1:
        return Round(number, (_strike(draws, kinds[0], size),))
    if number % 2 == 0:
        return Round(number, (_strike(draws, _in_turn(seed, number // 2, kinds), size),))
    first = _strike(draws, draws.pick(kinds), size)
    others = [kind for kind in kinds if _goes_with(first, kind, size)]
    if not others:
        return Round(number, (first,))
    second = _elsewhere(_strike(draws, draws.pick(others), size), first, size)
    return Round(number, (first, replace(second, offset_s=draws.between(0.0, SECOND_STRIKE_WITHIN_S))))


def _in_turn(seed: int, turn: int, kinds: Sequence[Kind]) -> Kind:
    cycle, place = divmod(turn, len(kinds))
    draws = _Draws(f"{seed}/cycle {cycle}")
    order = sorted((draws.fraction(), kind) for kind in kinds)
    return order[place][1]


def _goes_with(first: Strike, second: Kind, size: Size) -> bool:
    """Two of a kind strike two processes or two shards."""
    if first.kind is second and second not in BROKER_KINDS:
        return (size.of_role(second) if is_of_process(second) else size.shards) > 1
    return not {first.kind, second} <= BROKER_KINDS


def _elsewhere(second: Strike, first: Strike, size: Size) -> Strike:
    if second.kind is not first.kind:
        return second
    if is_of_process(second.kind):
        return replace(second, target=(first.target + 1) % size.of_role(second.kind))
    return replace(second, shard=(first.shard + 1) % size.shards)


def _strike(draws: _Draws, kind: Kind, size: Size) -> Strike:
    option = ""
    if kind is Kind.CLOSE:
        option = str(draws.pick(RESUMABLE_CODES))
    elif kind is Kind.CLOSE_ENDING:
        option = str(draws.pick(ENDING_CODES))
    elif kind is Kind.DEAD_RESUME_HOST:
        option = draws.pick(HOST_MODES)
    target = int(draws.fraction() * size.of_role(kind))
    shard = int(draws.fraction() * size.shards)
    return Strike(kind, 0.0, target, shard, draws.between(*_DURATIONS.get(kind, _RESTART_AFTER_S)), option)
