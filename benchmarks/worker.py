"""What a dispatch costs a real gw-worker in all: websocket, inflate, peek, publish, confirm.

A real gw-sim sends as fast as the worker reads, over one shard; RabbitMQ routes to one quorum queue. The CPU is the
worker process's own, from /proc, so it does not depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aio_pika

from eventbus.names import Names
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

if TYPE_CHECKING:
    from ops.supervisor import Child

WARM_UP_S = 2.0
HEARTBEAT_MS = "600"  # 100 in 60 s: Discord allows 120 sends
EVENT_TYPES = ("MESSAGE_CREATE", "PRESENCE_UPDATE", "GUILD_CREATE", "GUILD_UPDATE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class WorkerCost:
    """Of one mix of dispatches and one transport compression."""

    mix: str
    compression: str
    rate: float
    cpu_us: float
    mean_bytes: float


async def measure(url: str, *, mix: str, compression: str, seconds: float) -> WorkerCost:
    """Let one worker read as fast as it can for `seconds`."""
    namespace = f"bench-{time.time_ns()}"
    environment = {
        "AMQP_URL": url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": namespace,
        "GW_INTENTS": "53608447",
    }
    async with Supervisor(lambda *_: None, lambda _: None) as supervisor:
        fleet = Fleet(supervisor, environment)
        simulator = await fleet.start_simulator(
            "--shards", "1", "--guilds", "20", "--heartbeat-interval-ms", HEARTBEAT_MS
        )
        fleet.add_coordinator()
        worker = fleet.add_worker("--shards", "0", "--compression", compression)
        async with SimulatorClient(simulator.control_url) as client, Sink(url, Names(namespace)) as sink:
            await _until_connected(client)
            await client.start_traffic(rate="max", mix=mix)
            await asyncio.sleep(WARM_UP_S)
            taken, cpu_s, began = await _taken(client), _cpu_s(worker), time.perf_counter()
            await asyncio.sleep(seconds)
            taken, cpu_s = await _taken(client) - taken, _cpu_s(worker) - cpu_s
            elapsed_s = time.perf_counter() - began
            await client.stop_traffic()
            mean_bytes = await sink.mean_bytes()
        await fleet.drain()
    return WorkerCost(mix, compression, taken / elapsed_s, cpu_s / taken * 1e6, mean_bytes)


async def _until_connected(client: SimulatorClient) -> None:
    async with asyncio.timeout(30):
        while not (await client.verdict())["identifies"]:  # noqa: ASYNC110 - only the simulator knows
            await asyncio.sleep(0.1)


async def _taken(client: SimulatorClient) -> int:
    """The seq of the worker's newest heartbeat: what it took, not what waits in buffers on the way."""
    return int((await client.sessions())[0]["acked_seq"] or 0)


def _cpu_s(worker: Child) -> float:
    fields = Path(f"/proc/{worker.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


class Sink:
    """A quorum queue that takes every event type of the traffic and keeps the newest 1000."""

    def __init__(self, url: str, names: Names) -> None:
        self._url = url
        self._names = names

    async def __aenter__(self) -> Sink:
        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel()
        self._queue = await channel.declare_queue(
            self._names.group("bench"), durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 1000}
        )
        for event_type in EVENT_TYPES:
            exchange = await channel.declare_exchange(self._names.event(event_type), "topic", durable=True)
            await self._queue.bind(exchange, "#")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._queue.delete(if_unused=False, if_empty=False)
        await self._connection.close()

    async def mean_bytes(self) -> float:
        """Mean size of up to 200 of the dispatches."""
        sizes: list[int] = []
        while len(sizes) < 200 and (message := await self._queue.get(no_ack=True, fail=False)) is not None:
            sizes.append(len(message.body))
        return sum(sizes) / max(1, len(sizes))
