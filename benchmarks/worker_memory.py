"""What the bound of unconfirmed dispatches means in a worker's resident memory: the broker is killed under load.

`python -m benchmarks.worker_memory [--window-count N] [--window-bytes N] [--rate N]`
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from ops.broker_node import BrokerNode
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

READY_TIMEOUT_S = 60.0
WARM_UP_S = 10.0
FULL_TIMEOUT_S = 120.0
AFTER_FULL_S = 5.0


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended")


async def main(window_count: int, window_bytes: int, rate: int) -> None:
    """Run one fleet; print resident memory before and after."""
    with tempfile.TemporaryDirectory() as directory:
        async with BrokerNode(Path(directory)) as node, Supervisor(lambda *_: None, lambda _: None) as supervisor:
            environment = {"AMQP_URL": node.url, "DISCORD_TOKEN": SIMULATOR_TOKEN, "GW_INTENTS": "ALL"}
            fleet = Fleet(supervisor, environment)
            started = await fleet.start_simulator("--shards", "2", "--max-concurrency", "2", "--guilds", "40")
            fleet.add_coordinator()
            worker = fleet.add_worker(
                *("--shards", "0-1", "--window-count", str(window_count), "--window-bytes", str(window_bytes))
            )
            async with SimulatorClient(started.control_url) as simulator:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    while (await simulator.verdict())["by_type"].get("READY", 0) < 2:  # noqa: ASYNC110 - only it knows
                        await asyncio.sleep(0.2)
                await simulator.start_traffic(rate=rate, mix="messages")
                await asyncio.sleep(WARM_UP_S)
                if worker.pid is None:
                    raise RuntimeError("the worker has ended")
                before = resident_mb(worker.pid)
                await node.kill()
                peak = await _until_full(simulator, worker.pid)
            print(
                f"window {window_count} dispatches, {window_bytes >> 20} MB: {before:.0f} MB before, {peak:.0f} MB full"
            )
            await fleet.drain()


async def _until_full(simulator: SimulatorClient, pid: int) -> float:
    """The most resident memory until both shards have closed, and some seconds on."""
    peak, ends_at, is_full = 0.0, time.monotonic() + FULL_TIMEOUT_S, False
    while time.monotonic() < ends_at:
        peak = max(peak, resident_mb(pid))
        if not is_full and (await simulator.verdict())["notes"].get("client_closed_4900", 0) >= 2:
            is_full, ends_at = True, time.monotonic() + AFTER_FULL_S
        await asyncio.sleep(0.2)
    return peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Resident memory of a gw-worker whose window is full.")
    parser.add_argument("--window-count", type=int, default=10_000)
    parser.add_argument("--window-bytes", type=int, default=64 << 20)
    parser.add_argument("--rate", type=int, default=2000)
    given = parser.parse_args()
    asyncio.run(main(given.window_count, given.window_bytes, given.rate))
