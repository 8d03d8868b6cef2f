"""A whole fleet on one machine: the real commands as child processes, wired by their environment."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.amqp.link import Link
from eventbus.amqp.queue_info import consumer_count
from eventbus.names import Names
from ops.errors import CommandMissingError, ConsumersLateError, SimulatorFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventbus.amqp.broker import Broker
    from ops.supervisor import Child, Supervisor

SIMULATOR_READY_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 45.0
POLL_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running gw-sim, as its first line says."""

    child: Child
    rest_url: str
    control_url: str


@dataclass
class Fleet:
    """Children of one bot; `environment` is what they all get: broker, bot token, namespace, log level."""

    supervisor: Supervisor
    environment: dict[str, str]
    coordinators: list[Child] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    consumers: list[Child] = field(default_factory=list)
    simulator: Simulator | None = None

    async def start_simulator(self, *arguments: str) -> Simulator:
        """Start gw-sim and send the fleet to it instead of Discord."""
        environment = self._full_environment() | {"GW_SIM_TOKEN": self.environment["DISCORD_TOKEN"]}
        child = self.supervisor.add("sim", [program("gw-sim"), *arguments], environment)
        try:
            async with asyncio.timeout(SIMULATOR_READY_TIMEOUT_S):
                ready = json.loads(await asyncio.shield(child.first_line))
            self.simulator = Simulator(child, ready["rest_url"], ready["control_url"])
        except (TimeoutError, asyncio.CancelledError, ValueError, KeyError) as error:
            if isinstance(error, asyncio.CancelledError) and not child.ended.is_set():
                raise
            raise SimulatorFailedError(" ".join(child.last_lines)) from error
        self.environment["GW_REST_URL"] = self.simulator.rest_url
        return self.simulator

    def add_coordinator(self, *arguments: str) -> Child:
        """Start a coordinator; the first one leads, others stand by."""
        return self._add(self.coordinators, "coordinator", "gw-coordinator", arguments)

    def add_worker(self, *arguments: str) -> Child:
        """Start a gateway worker."""
        return self._add(self.workers, "worker", "gw-worker", arguments)

    def add_consumer(self, *arguments: str) -> Child:
        """Start a consumer process."""
        return self._add(self.consumers, "consumer", "gw-consume", arguments)

    async def wait_until_consuming(self, broker: Broker, group: str, *, count: int, timeout_s: float) -> None:
        """Wait until `count` consumers take from the group's queue, so that nothing comes before they listen.

        Raises ConsumersLateError.
        """
        link = Link(broker, name="gw-run")
        await link.open(timeout_s=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                queue = Names(self.environment["GW_NAMESPACE"]).group(group)
                while (await consumer_count(link, queue) or 0) < count:  # noqa: ASYNC110 - only the broker knows
                    await asyncio.sleep(POLL_INTERVAL_S)
        except TimeoutError as error:
            raise ConsumersLateError(count, timeout_s) from error
        finally:
            await link.close()

    def _add(self, children: list[Child], name: str, command: str, arguments: Sequence[str]) -> Child:
        child = self.supervisor.add(
            f"{name} {len(children) + 1}", [program(command), *arguments], self._full_environment()
        )
        children.append(child)
        return child

    def _full_environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}

    async def drain(self, *, handlers_s: float = 0) -> None:
        """Stop all: workers first, so that nothing new comes; consumers finish; then those that served them.

        `handlers_s`: what consumers get for their handlers, beside what all get.
        """
        await self.supervisor.stop(self.workers, timeout_s=DRAIN_TIMEOUT_S)
        await self.supervisor.stop(self.consumers, timeout_s=DRAIN_TIMEOUT_S + handlers_s)
        await self.supervisor.stop(self.coordinators, timeout_s=DRAIN_TIMEOUT_S)
        if self.simulator is not None:
            await self.supervisor.stop([self.simulator.child], timeout_s=DRAIN_TIMEOUT_S)


def program(name: str) -> str:
    """The command `name` of the Python environment that runs us."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CommandMissingError(name)
    return found
