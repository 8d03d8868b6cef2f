"""Gateway commands under load: `python -m benchmarks.gateway_commands [RATE] [SECONDS]`, real processes and gw-sim.

Four processes offer RATE (500) commands a second in all for SECONDS (60); two of four workers are killed on the way.
Prints one line of JSON: how many ended in what, and how many closes with 4002 or 4008 the simulator gave. Exit code 0
only if its bounds hold. AMQP_URL names a broker that runs already.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections import Counter
from typing import Any

from benchmarks.conclusion import conclude
from benchmarks.running_broker import open_broker
from ops.chaos.reliability.bounds import Bound
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor, send_signal

SHARD_COUNT = 16
GUILD_COUNT = 64
WORKER_COUNT = 4
SOURCE_COUNT = 4
KILLED_AT = (0.3, 0.6)
TIMEOUT_S = 300.0
CLOSING_RULES = ("bad_payload", "payload_too_big", "too_many_user_ids", "send_limit")
"""Of the simulator: it closes a connection with 4002 for the first three, and with 4008 for the last."""
BOUNDS = (
    Bound("unanswered", most=0),
    Bound("untyped", most=0),
    Bound("closes_4002_4008", most=0),
    Bound("offered_share", least=0.95),
)


async def measure(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """Start everything, offer, kill two workers, and count."""
    environment = {
        "AMQP_URL": url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": f"commands-{secrets.token_hex(4)}",
        "GW_INTENTS": "ALL",
    }
    async with Supervisor(lambda *_: None, lambda _: None) as supervisor:
        fleet = Fleet(supervisor, environment)
        simulator = await fleet.start_simulator(
            *("--shards", str(SHARD_COUNT), "--max-concurrency", str(SHARD_COUNT)),
            *("--guilds", str(GUILD_COUNT), "--large-guilds", "0"),
        )
        fleet.add_coordinator()
        for _ in range(WORKER_COUNT):
            fleet.add_worker("--shards", "auto")
        async with SimulatorClient(simulator.control_url) as client:
            await _connected(client)
            results = await _offer_and_kill(fleet, environment, rate, seconds)
            verdict = await client.verdict()
        await fleet.drain()
    summary = _summary(results, verdict)
    return {**summary, "offered_share": round(summary["offered"] / (rate * seconds), 3)}


async def _connected(client: SimulatorClient) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await client.verdict())["by_type"].get("READY", 0) < SHARD_COUNT:  # noqa: ASYNC110 - only it knows
            await asyncio.sleep(0.2)


async def _offer_and_kill(
    fleet: Fleet, environment: dict[str, str], rate: float, seconds: float
) -> list[dict[str, Any]]:
    arguments = [str(rate / SOURCE_COUNT), str(seconds), str(GUILD_COUNT)]
    sources = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.command_source", *arguments),
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(SOURCE_COUNT)
    ]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for source in sources:
                await _line(source, "ready")
            for source in sources:
                source.stdin.write(b"go\n")  # type: ignore[union-attr]
            killing = asyncio.create_task(_kill_two(fleet, seconds))
            results = [json.loads(await _line(source, "{")) for source in sources]
            await killing
            return results
    finally:
        for source in sources:
            if source.returncode is None:
                source.terminate()
            await source.wait()


async def _line(source: asyncio.subprocess.Process, beginning: str) -> bytes:
    while True:
        line = await source.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError("a source of commands ended early: see its messages above")
        if line.startswith(beginning.encode()):
            return line


async def _kill_two(fleet: Fleet, seconds: float) -> None:
    passed = 0.0
    for victim, at in zip(fleet.workers, KILLED_AT, strict=False):
        await asyncio.sleep((at - passed) * seconds)
        passed = at
        victim.stopping.set()  # not to be started again
        send_signal(victim, signal.SIGKILL)


def _summary(results: list[dict[str, Any]], verdict: dict[str, Any]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    for result in results:
        outcomes.update(result["outcomes"])
    offered = sum(result["offered"] for result in results)
    broken = Counter(violation["rule"] for violation in verdict["violations"])
    return {
        "offered": offered,
        "unanswered": offered - outcomes.total(),
        "untyped": sum(count for outcome, count in outcomes.items() if outcome.startswith("untyped")),
        "outcomes": dict(outcomes.most_common()),
        "slowest_s": max(result["slowest_s"] for result in results),
        "closes_4002_4008": sum(broken[rule] for rule in CLOSING_RULES),
        "violations": dict(broken),
        "received_by_op": verdict["gateway_commands"],
        "identifies": verdict["identifies"],
        "resumes": verdict["resumes"],
    }


async def _main(rate: float, seconds: float) -> None:
    async with open_broker() as broker:
        figures = await measure(broker.url, rate, seconds)
    conclude(figures, BOUNDS)


if __name__ == "__main__":
    asyncio.run(_main(*(float(word) for word in [*sys.argv[1:], *("500", "60")[len(sys.argv) - 1 :]])))
