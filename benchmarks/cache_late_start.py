"""How soon a process with a whole cache consumes, long after the guilds came: `python -m benchmarks.cache_late_start`.

`[--guilds N] [--large N] [--parts PARTS]`; real gw-sim, coordinator, worker, broker and gw-consume. A first process is
there when the guilds come, and writes a generation. Then a second one starts. Prints one line of JSON: seconds from its
start until it consumes, its CPU and its memory then, and the same of a process without a cache. AMQP_URL names a broker
that runs already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.running_broker import open_broker
from benchmarks.simulator_rate import cpu_s
from ops.chaos.memory import MIB, resident_bytes
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.supervisor import Child

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 1800.0
GUILDS_PER_SHARD = 1000
POLL_S = 0.1
CALM_S = 20.0


class _Run:
    """A fleet, and what its processes said, by process."""

    def __init__(self, fleet: Fleet, lines: list[tuple[str, str]]) -> None:
        self._fleet = fleet
        self._lines = lines

    def add(self, *arguments: str) -> Child:
        bot = ("--entrypoint", "benchmarks.answering_bot:setup", "--entrypoint-dir", str(ROOT), *arguments)
        return self._fleet.add_consumer(*bot)

    async def until_said(self, child: Child, action: str) -> None:
        await _until(lambda: any(name == child.name and f'"action":"{action}"' in line for name, line in self._lines))

    async def start(self, *arguments: str) -> dict[str, float]:
        """A new process until it consumes."""
        began_at = time.monotonic()
        child = self.add(*arguments)
        await self.until_said(child, "consuming")
        seconds = time.monotonic() - began_at
        if child.pid is None:
            raise RuntimeError("a consumer has ended: see its words above")
        used_s, resident = cpu_s(child.pid), resident_bytes(child.pid) or 0
        return {"seconds": round(seconds, 1), "cpu_s": round(used_s, 1), "memory_mib": round(resident / MIB)}


async def measure(url: str, guild_count: int, large_count: int, parts: str, records: str) -> dict[str, Any]:
    """Start what is needed, and the late process."""
    environment = {
        "AMQP_URL": url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": f"late-{secrets.token_hex(4)}",
        "GW_INTENTS": "ALL",
        "GW_LOG_FORMAT": "json",
        "GW_CONNECT_TIMEOUT": "600",
        "RECORD_DIR": records,
    }
    lines: list[tuple[str, str]] = []
    async with Supervisor(
        lambda name, line: lines.append((name, line)), lambda line: sys.stderr.write(f"{line}\n")
    ) as supervisor:
        fleet = Fleet(supervisor, environment)
        shards = str(-(-guild_count // GUILDS_PER_SHARD))
        simulator = await fleet.start_simulator(
            *("--shards", shards, "--max-concurrency", shards),
            *("--guilds", str(guild_count), "--large-guilds", str(large_count)),
        )
        run = _Run(fleet, lines)
        fleet.add_coordinator()
        async with SimulatorClient(simulator.control_url) as client, asyncio.timeout(TIMEOUT_S):
            first = run.add("--cache", parts)
            await run.until_said(first, "consuming")
            fleet.add_worker("--shards", "auto")
            while (await client.verdict())["by_type"].get("GUILD_CREATE", 0) < guild_count:  # noqa: ASYNC110
                await asyncio.sleep(1.0)
            await run.until_said(first, "cache_generation")
            await asyncio.sleep(CALM_S)  # another one may be due
            late = await run.start("--cache", parts)
            bare = await run.start("--group", "bare")
        await fleet.drain()
    return {
        "benchmark": "cache_late_start",
        "guilds": guild_count,
        "large": large_count,
        "parts": parts,
        **late,
        "without_a_cache": bare,
    }


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - their log
        await asyncio.sleep(POLL_S)


async def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as records:
        async with open_broker() as broker:
            return await measure(broker.url, arguments.guilds, arguments.large, arguments.parts, records)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_late_start")
    parser.add_argument("--guilds", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=20, help="guilds of 2,500 members, of which 780 are sent")
    parser.add_argument("--parts", default="guilds,channels,roles", help="as gw-consume --cache")
    print(json.dumps(asyncio.run(_measured(parser.parse_args()))))


if __name__ == "__main__":
    main()
