"""A whole fleet of real processes for one test."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eventbus.amqp.broker import Broker
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor
from ops.tally import Tally, tally
from tests.forge import launch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
GROUP = "main"


async def until(condition: Callable[[], Awaitable[Any]], what: str, *, timeout_s: float = 30.0) -> Any:
    """Wait until `condition()` gives something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.05)
    return found


class Stage:
    """A fleet, its simulator and what its bot wrote down; `lines` is all that the processes said."""

    def __init__(self, fleet: Fleet, broker_url: str, records: Path, lines: list[str]) -> None:
        self.fleet = fleet
        self.records = records
        self.lines = lines
        self._broker = Broker(broker_url)
        self.simulator: SimulatorClient

    def said(self, text: str) -> list[str]:
        """The lines that contain `text`."""
        return [line for line in self.lines if text in line]

    async def start(
        self, *simulator_options: str, consumer_count: int = 2, entrypoint: str = "recording_bot:setup"
    ) -> None:
        """Start simulator, coordinator and consumers of an example bot; workers are the test's."""
        simulator = await self.fleet.start_simulator(
            "--guilds", "40", "--heartbeat-interval-ms", "5000", "--answer-within-s", "60", *simulator_options
        )
        self.simulator = SimulatorClient(simulator.control_url)
        self.fleet.add_coordinator()
        for _ in range(consumer_count):
            self.fleet.add_consumer("--entrypoint", entrypoint, "--entrypoint-dir", str(EXAMPLES), "--group", GROUP)
        if consumer_count:
            await self.consuming(consumer_count)

    async def consuming(self, count: int) -> None:
        """Wait until `count` consumers take from the group's queue."""
        await self.fleet.wait_until_consuming(self._broker, GROUP, count=count, timeout_s=60)

    async def connected(self, shard_count: int, *, timeout_s: float = 40.0) -> None:
        """Wait until every shard has a session."""

        async def all_ready() -> bool:
            return (await self.simulator.verdict())["by_type"].get("READY", 0) >= shard_count

        await until(all_ready, f"{shard_count} shards are ready", timeout_s=timeout_s)

    async def handled(self, *, timeout_s: float = 20.0) -> Tally:
        """Wait until all that was sent is handled, or for `timeout_s`; then compare ledger and record."""
        deadline = time.monotonic() + timeout_s
        while True:
            result = tally(await self.simulator.ledger(), self._recorded())
            if not result.lost or time.monotonic() > deadline:
                return result
            await asyncio.sleep(0.2)

    def _recorded(self) -> list[tuple[str, float]]:
        lines = [line for path in self.records.glob("*.record") for line in path.read_text().splitlines()]
        return [(message_id, float(at)) for message_id, at in map(str.split, lines)]


@pytest.fixture
async def stage(broker_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty stage; its processes are stopped after the test, and their words shown if it failed."""
    lines: list[str] = []
    environment = {
        "AMQP_URL": broker_url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": namespace,
        "GW_INTENTS": "ALL",
        "GW_MAX_INTERACTION_AGE": "0",  # late ones are handled too: what is skipped would count as lost
        "RECORD_DIR": str(tmp_path),
        "GW_REBALANCE_AFTER": "0",  # a slow machine must not look like a calm fleet
    }
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(
            Supervisor(lambda name, line: lines.append(f"{name} | {line}"), lines.append, launch)
        )
        made = Stage(Fleet(supervisor, environment), broker_url, tmp_path, lines)
        yield made
        await made.fleet.drain()
        if hasattr(made, "simulator"):
            await made.simulator.__aexit__(None, None, None)
    sys.stdout.write("\n".join(lines[-200:]))
