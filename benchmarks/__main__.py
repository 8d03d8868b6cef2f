"""`make bench`: publishing and the whole worker, with one last line of JSON.

Environment: BENCH_SECONDS for each measurement of the worker (5), AMQP_URL for a broker that runs already.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import publishing, worker
from ops.broker_node import BrokerNode

RUNS = (
    ("messages", "none"),
    ("messages", "zlib"),
    ("messages", "zstd"),
    ("presences", "zstd"),
    ("guilds", "zstd"),
)


async def _measure(url: str) -> dict[str, object]:
    seconds = float(os.environ.get("BENCH_SECONDS", "5"))
    console = Console()
    publishes = await publishing.measure(url)
    table = Table("publisher, 1 KB, confirmed", "per second", "CPU per publish", "times")
    for cost in publishes:
        table.add_row(
            cost.name, f"{cost.rate:,.0f}", f"{cost.cpu_us:.1f} µs", f"{cost.cpu_us / publishes[0].cpu_us:.1f}"
        )
    console.print(table)
    workers = []
    table = Table("worker in all: dispatches", "compression", "mean size", "per second", "CPU per dispatch", "per KB")
    for mix, compression in RUNS:
        measured = await worker.measure(url, mix=mix, compression=compression, seconds=seconds)
        workers.append(measured)
        kilobytes = measured.mean_bytes / 1024
        table.add_row(
            mix,
            compression,
            f"{kilobytes:.2f} KB",
            f"{measured.rate:,.0f}",
            f"{measured.cpu_us:.1f} µs",
            f"{measured.cpu_us / kilobytes:.1f} µs",
        )
    console.print(table)
    return {"publishing": [asdict(cost) for cost in publishes], "worker": [asdict(cost) for cost in workers]}


async def _main() -> None:
    given = os.environ.get("AMQP_URL")
    if given:
        result = await _measure(given)
    else:
        with tempfile.TemporaryDirectory() as directory:
            async with BrokerNode(Path(directory)) as node:
                result = await _measure(node.url)
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(_main())
