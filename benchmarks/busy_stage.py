"""The stage of deploy.py and interaction_lane.py: gw-sim, coordinator, worker, consumers that answer interactions."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.answers import SentInteraction, answer_figures
from ops.chaos.cast import Cast, Place
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from benchmarks.running_broker import RunningBroker

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".run" / "benchmarks" / "processes.log"
SHARD_COUNT = 2
TYPES = ("MESSAGE_CREATE", "INTERACTION_CREATE")
"""What the bot listens to."""
READY_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 240.0
LOOK_INTERVAL_S = 1.0


class BusyStage:
    """Everything that runs; `records` is where consumers write what they handled, `pids` is of who has no place."""

    def __init__(self, cast: Cast, simulator: SimulatorClient, records: Path, pids: Mapping[str, int | None]) -> None:
        self.cast = cast
        self.simulator = simulator
        self.records = records
        self._others = pids
        self._rows: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []

    def pids(self) -> dict[int, str]:
        """The processes that run now, by role, with all that they started."""
        places = [(place.name.split(" ")[0], place.pid) for place in self.cast.places]
        known = [(role, pid) for role, pid in (*places, *self._others.items()) if pid is not None]
        return {one: role for role, pid in known for one in _family(pid)}

    def add_consumer(self, *arguments: str) -> Place:
        """A new gw-consume; `until_consuming` waits for it."""
        bot = ("--entrypoint", "benchmarks.answering_bot:setup", "--entrypoint-dir", str(ROOT))
        place = Place(f"consumer {len(self.cast.consumers) + 1}", "gw-consume", (*bot, *arguments))
        self.cast.add(self.cast.consumers, place)
        return place

    async def until_consuming(self, *places: Place) -> None:
        """Wait until these take from the group's queues."""
        if not await self.cast.until_ready(places, READY_TIMEOUT_S):
            raise SystemExit(f"a consumer did not start within {READY_TIMEOUT_S:g} s: see {LOG}")

    async def until_said(self, action: str, count: int) -> None:
        """Wait until the consumers have logged that action so often. Raises TimeoutError."""
        async with asyncio.timeout(READY_TIMEOUT_S):
            while self.cast.actions["consumer", action] < count:  # noqa: ASYNC110 - their log
                await asyncio.sleep(0.1)

    async def start_traffic(self, *, messages: float, interactions: float) -> None:
        """Messages and interactions per second over all shards: slash commands and presses of buttons."""
        mix = {"message": messages, "slash": interactions / 2, "button": interactions / 2}
        await self.simulator.start_traffic(rate=(messages + interactions) / SHARD_COUNT, mix=mix)

    async def until_settled(self) -> Traffic:
        """Wait until all that was sent is handled and answered; what is, if it does not happen in time."""
        give_up_at = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)  # first, so that reading the ledger disturbs no answer
            traffic = await self.traffic()
            if traffic.is_settled or time.monotonic() > give_up_at:
                return traffic

    async def traffic(self) -> Traffic:
        """What was sent until now, and what came of it."""
        self._rows += await self.simulator.ledger_after(self._rows[-1]["n"] if self._rows else 0)
        self._answers += await self.simulator.answers_after(self._answers[-1]["n"] if self._answers else 0)
        lines = [line for path in self.records.glob("*.record") for line in path.read_text().splitlines()]
        return Traffic([row for row in self._rows if row["type"] in TYPES], lines, self._answers)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has just ended
        return
    for child in " ".join(lists).split():
        yield from _family(int(child))


class Traffic:
    """The simulator's ledger against the bots' records, and the answers that it got."""

    def __init__(self, rows: Sequence[dict[str, Any]], lines: Sequence[str], answers: Sequence[dict[str, Any]]) -> None:
        self._answers = answers
        self.sent = {f"{row['session']}:{row['seq']}": row for row in rows}
        self.received_at: dict[str, float] = {}
        self.handled_at: dict[str, float] = {}
        self.handled_twice = 0
        for line in lines:
            message_id, received_at, at = line.split()
            self.handled_twice += message_id in self.handled_at
            self.received_at.setdefault(message_id, float(received_at))
            self.handled_at.setdefault(message_id, float(at))

    @property
    def lost(self) -> int:
        """Sent and never handled."""
        return len(self.sent.keys() - self.handled_at.keys())

    @property
    def is_settled(self) -> bool:
        """Whether all was handled and answered."""
        return not self.lost and not self.answer_figures()["unanswered"]

    def answer_figures(self, began_at: float = 0.0, ended_at: float = math.inf) -> dict[str, Any]:
        """How the interactions that were sent in between were answered."""
        sent = [
            SentInteraction(row["id"], row["at"])
            for _, row in self._of("INTERACTION_CREATE")
            if began_at <= row["at"] < ended_at
        ]
        return answer_figures(sent, self._answers)

    def per_second(self, event_type: str, began_at: float, ended_at: float) -> float:
        """How many of a type were sent each second in between."""
        return sum(began_at <= row["at"] < ended_at for _, row in self._of(event_type)) / (ended_at - began_at)

    def delays_ms(self, event_type: str, began_at: float, ended_at: float, *, to_worker: bool = False) -> list[float]:
        """From gw-sim to the handler, or to the worker, of what was sent in between and handled."""
        arrived_at = self.received_at if to_worker else self.handled_at
        return [
            (arrived_at[key] - row["at"]) * 1000
            for key, row in self._of(event_type)
            if key in arrived_at and began_at <= row["at"] < ended_at
        ]

    def waiting_at(self, event_type: str, at: float) -> int:
        """How many had been sent and not handled at that moment."""
        return sum(row["at"] <= at < self.handled_at.get(key, at + 1) for key, row in self._of(event_type))

    def _of(self, event_type: str) -> list[tuple[str, dict[str, Any]]]:
        return [(key, row) for key, row in self.sent.items() if row["type"] == event_type]


@dataclass(frozen=True, slots=True)
class Reconnects:
    """What Discord saw of connections that changed."""

    identifies: int
    resumes: int
    violations: int

    @classmethod
    async def until_now(cls, simulator: SimulatorClient) -> Reconnects:
        """Counted from the beginning."""
        verdict = await simulator.verdict()
        return cls(verdict["identifies"], verdict["resumes"], verdict["violation_count"])

    def since(self, before: Reconnects) -> dict[str, int]:
        """Figures of the time in between."""
        return {
            "identifies": self.identifies - before.identifies,
            "resumes": self.resumes - before.resumes,
            "violations": self.violations - before.violations,
        }


@contextlib.asynccontextmanager
async def open_stage(
    broker: RunningBroker,
    *,
    consumer_count: int,
    process_count: int = 1,
    changes: Mapping[str, str] | None = None,
) -> AsyncIterator[BusyStage]:
    """All is connected and consumes when it is yielded; `process_count` is each consumer's `--processes`.

    `changes` of every process's environment.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        "AMQP_URL": broker.url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": f"busy-{secrets.token_hex(4)}",
        "GW_INTENTS": "ALL",
        "GW_LOG_FORMAT": "json",
        "GW_REBALANCE_AFTER": "0",
        **(changes or {}),
    }
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context(LOG.open("w", encoding="utf-8"))
        cast_of: list[Cast] = []

        def on_line(name: str, line: str) -> None:
            log.write(f"{name} | {line}\n")
            for cast in cast_of:
                cast.on_line(name, line)

        def note(text: str) -> None:
            log.write(f"{text}\n")

        supervisor = await stack.enter_async_context(Supervisor(on_line, note))
        gw_sim = await Fleet(supervisor, environment).start_simulator(
            *("--shards", str(SHARD_COUNT), "--max-concurrency", str(SHARD_COUNT)),
            *("--guilds", "40", "--large-guilds", "0"),
        )
        environment |= {"GW_REST_URL": gw_sim.rest_url, "RECORD_DIR": str(directory), "PYTHONUNBUFFERED": "1"}
        cast = Cast(supervisor, {**os.environ, **environment}, note)
        cast_of.append(cast)
        simulator = await stack.enter_async_context(SimulatorClient(gw_sim.control_url))
        stage = BusyStage(cast, simulator, directory, {"simulator": gw_sim.child.pid, "broker": broker.pid})
        cast.add(cast.coordinators, Place("coordinator", "gw-coordinator"))
        consumers = [stage.add_consumer("--processes", str(process_count)) for _ in range(consumer_count)]
        await stage.until_consuming(*consumers)
        if process_count > 1:
            await stage.until_said("child_up", consumer_count * process_count)
        cast.add(cast.workers, Place("worker", "gw-worker", ("--shards", f"0-{SHARD_COUNT - 1}")))
        await _until_connected(simulator)
        yield stage
        await cast.stop()


async def _until_connected(simulator: SimulatorClient) -> None:
    async with asyncio.timeout(READY_TIMEOUT_S):
        while sum(not one["guilds_pending"] for one in await simulator.sessions()) < SHARD_COUNT:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
