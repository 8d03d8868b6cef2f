"""How fast 16 shards start: `python -m benchmarks.identifies CONCURRENCY` runs real processes against gw-sim.

Prints one line of JSON: seconds from the first READY to the last, the smallest gap, and the simulator's violations.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
from pathlib import Path

from ops.broker_node import BrokerNode
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

SHARD_COUNT = 16
TIMEOUT_S = 300.0
POLL_INTERVAL_S = 0.2


async def measure(url: str, concurrency: int) -> dict[str, float]:
    """Start one worker with all shards and wait for the last READY."""
    environment = {"AMQP_URL": url, "DISCORD_TOKEN": SIMULATOR_TOKEN, "GW_NAMESPACE": "identifies"}
    async with Supervisor(lambda *_: None, lambda _: None) as supervisor:
        fleet = Fleet(supervisor, environment)
        simulator = await fleet.start_simulator(
            "--shards", str(SHARD_COUNT), "--max-concurrency", str(concurrency)
        )  # fmt: skip
        fleet.add_coordinator()
        fleet.add_worker("--shards", f"0-{SHARD_COUNT - 1}")
        async with SimulatorClient(simulator.control_url) as client, asyncio.timeout(TIMEOUT_S):
            ready: list[float] = []
            while len(ready) < SHARD_COUNT:
                await asyncio.sleep(POLL_INTERVAL_S)
                ready = sorted(at for _, event_type, at in await client.ledger() if event_type == "READY")
            violations = (await client.verdict())["violation_count"]
        await fleet.drain()
    return {
        "concurrency": concurrency,
        "spread_s": round(ready[-1] - ready[0], 2),
        "smallest_gap_s": round(min(later - earlier for earlier, later in itertools.pairwise(ready)), 3),
        "violations": violations,
    }


async def _main(concurrency: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with BrokerNode(Path(directory)) as node:
            print(json.dumps(await measure(node.url, concurrency)))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else SHARD_COUNT))
