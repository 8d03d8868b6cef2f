"""One run of the demo: start a fleet, stream, let one part after another go, compare."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.errors import EXIT_INTERRUPTED, ConfigurationError, RelayError, RpcTimeoutError
from eventbus.names import Names
from eventbus.process import unless_stopped
from ops.broker_node import BrokerNode
from ops.demo_failures import Failures
from ops.demo_report import make_report, print_table
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor
from ops.tally import Tally, tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".run" / "demo"
NAMESPACE = "demo"
GROUP = "demo"
SHARD_COUNT = 4
SHARDS_OF_A_WORKER = 2
READY_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 20.0
PROGRESS_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """The last line as a record, and what it was made from."""

    report: dict[str, Any]
    tally: Tally
    verdict: dict[str, Any]
    is_complete: bool


class Demo:
    """One run; `run()` gives the report, the tally and the simulator's verdict."""

    def __init__(self, *, seconds: float, rate: float, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._rate = rate
        self._say = say
        self._namespace = f"{NAMESPACE}-{os.getpid()}"
        self._records = DATA / f"records-{os.getpid()}"
        self._log = DATA / "processes.log"

    async def run(self, stop: asyncio.Event) -> Result | None:
        """Start everything, stream, let one part after another go, compare; None if `stop` came while it started."""
        self._records.mkdir(parents=True)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(shutil.rmtree, self._records, ignore_errors=True)
            fleet = await unless_stopped(stop, self._open(stack))
            return await fleet.supervisor.run(self._play(fleet, stop)) if fleet is not None else None

    async def _open(self, stack: contextlib.AsyncExitStack) -> Fleet:
        given = os.environ.get("AMQP_URL")
        if not given:
            self._say("starting a private RabbitMQ node")
        amqp_url = given or (await stack.enter_async_context(BrokerNode(DATA / "broker"))).url
        environment = {
            "AMQP_URL": amqp_url,
            "DISCORD_TOKEN": SIMULATOR_TOKEN,
            "GW_NAMESPACE": self._namespace,
            "GW_INTENTS": "ALL",
            "GW_MAX_INTERACTION_AGE": "0",  # late ones are handled too: what is skipped would count as lost
            "RECORD_DIR": str(self._records),
        }
        log = stack.enter_context(self._log.open("w", encoding="utf-8"))

        def note(name: str, line: str) -> None:
            log.write(f"{name} | {line}\n")

        supervisor = Supervisor(note, self._say)
        return Fleet(await stack.enter_async_context(supervisor), environment)

    async def _play(self, fleet: Fleet, stop: asyncio.Event) -> Result | None:
        link = Link(Broker(fleet.environment["AMQP_URL"]), name="demo")
        coordinator = CoordinatorClient(RpcClient(link), Names(self._namespace))
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(link.close)
            control_url = await unless_stopped(stop, self._start(fleet, link))
            if control_url is None:
                return None
            simulator = await stack.enter_async_context(SimulatorClient(control_url))
            if not await unless_stopped(stop, self._until_connected(fleet, simulator, coordinator)):
                return None
            failures = Failures(fleet, simulator, coordinator, self._say, shards_of_a_worker=SHARDS_OF_A_WORKER)
            return await self._stream(fleet, simulator, failures, stop)

    async def _start(self, fleet: Fleet, link: Link) -> str:
        self._say(
            f"starting: simulated Discord ({SHARD_COUNT} shards), 2 coordinators (one leads), 2 consumers, 3 workers"
            f" (one stands by)"
        )
        simulator = await fleet.start_simulator(
            "--shards", str(SHARD_COUNT), "--max-concurrency", str(SHARD_COUNT), "--heartbeat-interval-ms", "5000"
        )  # fmt: skip
        for _ in range(2):
            fleet.add_coordinator()
        for _ in range(2):
            fleet.add_consumer(
                "--entrypoint", "recording_bot:setup", "--entrypoint-dir", str(ROOT / "examples"), "--group", GROUP
            )
        await fleet.wait_until_consuming(link.broker, GROUP, count=2, timeout_s=READY_TIMEOUT_S)
        for _ in range(2):
            self._add_worker(fleet)
        await link.open(timeout_s=READY_TIMEOUT_S)
        return simulator.control_url

    def _add_worker(self, fleet: Fleet) -> None:
        fleet.add_worker("--shards", "auto", "--capacity", str(SHARDS_OF_A_WORKER))

    async def _until_connected(self, fleet: Fleet, simulator: SimulatorClient, coordinator: CoordinatorClient) -> bool:
        await _until(lambda: self._connected(simulator), "the shards did not connect")
        self._add_worker(fleet)  # all shards are taken: it stands by

        async def is_registered() -> bool:
            try:
                return len((await coordinator.state()).workers) == len(fleet.workers)
            except RpcTimeoutError:  # a busy machine
                return False

        await _until(is_registered, "the stand-by did not register")
        return True

    async def _stream(
        self, fleet: Fleet, simulator: SimulatorClient, failures: Failures, stop: asyncio.Event
    ) -> Result:
        await simulator.start_traffic(rate=self._rate, mix="mixed")
        self._say(f"streaming {self._rate:g} dispatches/s over each of {SHARD_COUNT} shards for {self._seconds:g} s")
        watching = asyncio.create_task(self._watch(simulator), name="progress")
        try:
            is_complete = await unless_stopped(stop, self._let_go_wrong(failures))
        finally:
            watching.cancel()
        await simulator.stop_traffic()
        if stop.is_set():
            self._say("stopping: the figures are of what was played until now")
        await self._settle(simulator)
        await fleet.supervisor.stop(fleet.workers)
        await fleet.supervisor.stop(fleet.consumers)
        verdict = await simulator.verdict()
        result = tally(await simulator.ledger(), self._read_records())
        await fleet.drain()
        report = make_report(result, verdict, failures.takeovers)
        return Result(report, result, verdict, is_complete=bool(is_complete))

    async def _let_go_wrong(self, failures: Failures) -> bool:
        steps = (failures.kill_consumer, failures.kill_worker, failures.kill_coordinator, failures.drain_worker)
        part_s = self._seconds / (len(steps) + 1)
        await asyncio.sleep(part_s)
        for step in steps:
            began_at = time.monotonic()
            await step()
            await asyncio.sleep(max(0.0, part_s - (time.monotonic() - began_at)))
        return True

    async def _connected(self, simulator: SimulatorClient) -> bool:
        return int((await simulator.verdict())["identifies"]) >= SHARD_COUNT

    async def _watch(self, simulator: SimulatorClient) -> None:
        started_at = time.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            verdict = await simulator.verdict()
            elapsed_s = time.monotonic() - started_at
            handled = len(self._read_records())
            self._say(
                f"{elapsed_s:5.1f} s  sent {verdict['sent']:>7}  handled {handled:>7}"
                f"  resumes {verdict['resumes']}  violations {verdict['violation_count']}"
            )

    async def _settle(self, simulator: SimulatorClient) -> None:
        async def all_handled() -> bool:
            return not tally(await simulator.ledger(), self._read_records()).lost

        try:
            await _until(all_handled, "not all was handled", timeout_s=SETTLE_TIMEOUT_S)
        except RelayError:
            self._say(f"not everything was handled within {SETTLE_TIMEOUT_S:g} s after the traffic ended")

    def _read_records(self) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        for path in self._records.glob("*.record"):
            lines = path.read_text(encoding="ascii").splitlines()
            found += [(message_id, float(at)) for message_id, at in (line.split() for line in lines)]
        return found


async def _until(condition: Callable[[], Awaitable[bool]], problem: str, *, timeout_s: float = READY_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise RelayError(f"{problem} within {timeout_s:g} s: see {DATA}")
        await asyncio.sleep(0.2)


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100_000:
        raise ConfigurationError(f"{name} must be a positive number, not {text!r}")
    return value


async def play(stop: asyncio.Event) -> None:
    """Run the demo and print its result; SystemExit with another code than 0 if it is not clean or not whole."""
    answering = asyncio.create_task(_answer(stop), name="answer to Ctrl-C")
    try:
        demo = Demo(seconds=_number("DEMO_SECONDS", 30.0), rate=_number("DEMO_RATE", 100.0), say=say)
        result = await demo.run(stop)
    finally:
        answering.cancel()
    if result is None:
        raise SystemExit(EXIT_INTERRUPTED)
    print_table(result.report, result.tally, result.verdict)
    say(json.dumps(result.report))
    if result.tally.lost or result.verdict["violation_count"] or result.verdict["identifies"] != SHARD_COUNT:
        raise SystemExit(1)
    if not result.is_complete:
        raise SystemExit(EXIT_INTERRUPTED)


async def _answer(stop: asyncio.Event) -> None:
    await stop.wait()
    say("Ctrl-C: stopping what was started; once more ends at once")


def say(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
