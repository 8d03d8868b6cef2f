"""`make demo`: a simulated Discord, two workers, two consumers, and what happens when one of each goes.

Environment: DEMO_SECONDS (20), DEMO_RATE (dispatches per second and shard, 100). The last line is one JSON object; exit
code 0 only if nothing was lost and no rule of Discord's was broken.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from eventbus.amqp.broker import Broker
from eventbus.errors import ConfigurationError, RelayError
from eventbus.process import run_main
from ops.broker_node import BrokerNode
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor, send_signal
from ops.tally import Tally, tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ops.supervisor import Child

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".run" / "demo"
NAMESPACE = "demo"
GROUP = "demo"
SHARD_COUNT = 4
READY_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 20.0
PROGRESS_INTERVAL_S = 1.0


class Demo:
    """One run; `run()` gives the tally and the simulator's verdict."""

    def __init__(self, *, seconds: float, rate: float, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._rate = rate
        self._say = say
        self._records = DATA / "records"
        self._log = DATA / "processes.log"

    async def run(self, stop: asyncio.Event) -> tuple[Tally, dict[str, Any]]:
        """Start everything, stream, let a consumer and a worker go on the way, compare."""
        shutil.rmtree(self._records, ignore_errors=True)
        self._records.mkdir(parents=True)
        given = os.environ.get("AMQP_URL")
        if given:
            return await self._run_on(given, stop)
        async with BrokerNode(DATA / "broker") as node:
            return await self._run_on(node.url, stop)

    async def _run_on(self, amqp_url: str, stop: asyncio.Event) -> tuple[Tally, dict[str, Any]]:
        environment = {
            "AMQP_URL": amqp_url,
            "DISCORD_TOKEN": SIMULATOR_TOKEN,
            "GW_NAMESPACE": f"{NAMESPACE}-{os.getpid()}",
            "GW_INTENTS": "ALL",
            "RECORD_DIR": str(self._records),
        }
        with self._log.open("w", encoding="utf-8") as log:
            async with Supervisor(lambda name, line: print(f"{name} | {line}", file=log), self._say) as supervisor:
                fleet = Fleet(supervisor, environment)
                return await supervisor.run(self._play_on(fleet, Broker(amqp_url), stop))

    async def _play_on(self, fleet: Fleet, broker: Broker, stop: asyncio.Event) -> tuple[Tally, dict[str, Any]]:
        control_url = await self._start(fleet, broker)
        async with SimulatorClient(control_url) as simulator:
            return await self._stream(fleet, simulator, stop)

    async def _start(self, fleet: Fleet, broker: Broker) -> str:
        self._say(f"starting: simulated Discord, coordinator, 2 consumers, 2 workers ({SHARD_COUNT} shards)")
        simulator = await fleet.start_simulator(
            "--shards", str(SHARD_COUNT), "--max-concurrency", str(SHARD_COUNT), "--heartbeat-interval-ms", "5000"
        )  # fmt: skip
        fleet.add_coordinator()
        for _ in range(2):
            fleet.add_consumer(
                "--entrypoint", "recording_bot:setup", "--entrypoint-dir", str(ROOT / "examples"), "--group", GROUP
            )
        await fleet.wait_until_consuming(broker, GROUP, count=2, timeout_s=READY_TIMEOUT_S)
        for _ in range(2):
            self._add_worker(fleet)
        return simulator.control_url

    def _add_worker(self, fleet: Fleet) -> Child:
        return fleet.add_worker("--shards", "auto", "--capacity", str(SHARD_COUNT // 2))

    async def _stream(
        self, fleet: Fleet, simulator: SimulatorClient, stop: asyncio.Event
    ) -> tuple[Tally, dict[str, Any]]:
        await _until(lambda: self._connected(simulator), READY_TIMEOUT_S, "the shards did not connect")
        await simulator.start_traffic(rate=self._rate, mix="mixed")
        self._say(f"streaming {self._rate:g} dispatches/s over each of {SHARD_COUNT} shards for {self._seconds:g} s")
        watching = asyncio.create_task(self._watch(simulator), name="progress")
        try:
            await self._play(fleet, stop)
        finally:
            watching.cancel()
        await simulator.stop_traffic()
        await self._settle(simulator)
        await fleet.supervisor.stop(fleet.workers)
        await fleet.supervisor.stop(fleet.consumers)
        verdict = await simulator.verdict()
        result = tally(await simulator.ledger(), self._read_records())
        await fleet.drain()
        return result, verdict

    async def _play(self, fleet: Fleet, stop: asyncio.Event) -> None:
        part_s = self._seconds / 3
        if await _is_set_within(stop, part_s):
            return
        victim = fleet.consumers[0]
        self._say(f"SIGKILL to {victim.name} (pid {victim.pid}): its unacknowledged dispatches go to the other one")
        send_signal(victim, signal.SIGKILL)
        if await _is_set_within(stop, part_s):
            return
        leaving = fleet.workers[0]
        successor = self._add_worker(fleet)
        self._say(f"{successor.name} starts as stand-by; {leaving.name} gets SIGTERM and hands its sessions over")
        await _is_set_within(stop, 2.0)
        await fleet.supervisor.stop([leaving])
        self._say(f"{leaving.name} is gone, its sessions were resumed elsewhere: no identify spent")
        await _is_set_within(stop, max(0.0, part_s - 2.0))

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
            await _until(all_handled, SETTLE_TIMEOUT_S, "")
        except RelayError:
            self._say(f"not everything was handled within {SETTLE_TIMEOUT_S:g} s after the traffic ended")

    def _read_records(self) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        for path in self._records.glob("*.record"):
            lines = path.read_text(encoding="ascii").splitlines()
            found += [(message_id, float(at)) for message_id, at in (line.split() for line in lines)]
        return found


async def _until(condition: Callable[[], Awaitable[bool]], timeout_s: float, problem: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise RelayError(f"{problem} within {timeout_s:g} s: see {DATA}")
        await asyncio.sleep(0.2)


async def _is_set_within(stop: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await stop.wait()
    except TimeoutError:
        return False


def _report(result: Tally, verdict: dict[str, Any]) -> dict[str, Any]:
    return {
        "sent": result.sent,
        "handled": result.handled,
        "lost": result.lost,
        "duplicated": result.duplicated,
        "violations": verdict["violation_count"],
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "identifies": verdict["identifies"],
        "resumes": verdict["resumes"],
    }


def _print_table(report: dict[str, Any], result: Tally, verdict: dict[str, Any]) -> None:
    meanings = {
        "sent": "dispatches that the simulated Discord sent (its ledger)",
        "handled": "of them, handled by the bot (its own record)",
        "lost": "sent and never handled",
        "duplicated": "handled a second time",
        "violations": "rules of Discord's that were broken (its ledger)",
        "p50_ms": "from Discord's send to the handler, median",
        "p99_ms": "the same, 99th percentile",
        "identifies": "new sessions: one for each shard",
        "resumes": "sessions that went on over a new connection",
    }
    table = Table("figure", "value", "meaning")
    for key, meaning in meanings.items():
        table.add_row(key, str(report[key]), meaning)
    console = Console()
    console.print(table)
    for event_type, count in result.lost_by_type.items():
        console.print(f"lost: {count} {event_type}")
    for violation in verdict["violations"][:10]:
        console.print(f"violation: {violation}")


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100_000:
        raise ConfigurationError(f"{name} must be a positive number, not {text!r}")
    return value


async def _main(stop: asyncio.Event) -> None:
    demo = Demo(
        seconds=_number("DEMO_SECONDS", 20.0),
        rate=_number("DEMO_RATE", 100.0),
        say=lambda text: print(text, flush=True),
    )
    result, verdict = await demo.run(stop)
    report = _report(result, verdict)
    _print_table(report, result, verdict)
    print(json.dumps(report), flush=True)
    if result.lost or verdict["violation_count"]:
        raise SystemExit(1)


if __name__ == "__main__":
    run_main("demo", _main)
