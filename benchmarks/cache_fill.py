"""How long it takes to complete a cache over REST: `python -m benchmarks.cache_fill [--guilds N] [--parts PARTS]`.

A process with `--cache` starts when the guilds came long before: real gw-coordinator, gw-sim and broker. Prints one
line of JSON: requests, requests refused with 429, seconds, and how long a message took to its handler meanwhile.
AMQP_URL names a broker that runs already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import time
from typing import Any

import hikari

from benchmarks.running_broker import open_broker
from consumers import Bot
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

TIMEOUT_S = 3600.0
POLL_S = 1.0


async def measure(url: str, guild_count: int, large_count: int, parts: str) -> dict[str, Any]:
    """Start what is needed, a bot in this process, and wait until its cache holds every guild."""
    environment = {
        "AMQP_URL": url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": f"fill-{secrets.token_hex(4)}",
        "GW_INTENTS": "ALL",
    }
    async with Supervisor(lambda *_: None, lambda line: sys.stderr.write(f"{line}\n")) as supervisor:
        fleet = Fleet(supervisor, environment)
        options = ("--shards", "1", "--guilds", str(guild_count), "--large-guilds", str(large_count))
        simulator = await fleet.start_simulator(*options)
        fleet.add_coordinator()
        fleet.add_worker("--shards", "0")
        async with SimulatorClient(simulator.control_url) as client, asyncio.timeout(TIMEOUT_S):
            while (await client.verdict())["by_type"].get("GUILD_CREATE", 0) < guild_count:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            result = await _fill(url, environment["GW_NAMESPACE"], simulator.rest_url, client, guild_count, parts)
        await fleet.drain()
    return {"benchmark": "cache_fill", "guilds": guild_count, "large": large_count, "parts": parts, **result}


async def _fill(
    url: str, namespace: str, rest_url: str, client: SimulatorClient, guild_count: int, parts: str
) -> dict[str, Any]:
    bot = Bot(url, SIMULATOR_TOKEN, namespace=namespace, group="main", rest_url=rest_url, cache=parts)
    took_ms: list[float] = []

    @bot.listen()
    async def on_message(event: hikari.GuildMessageCreateEvent) -> None:
        took_ms.append((time.time() - event.message.created_at.timestamp()) * 1000)

    await bot.start()
    began_at, cpu_began_s = time.monotonic(), time.process_time()
    await client.start_traffic(rate=10, mix="messages")
    while len(bot.cache.get_guilds_view()) < guild_count:  # noqa: ASYNC110 - the cache has no event for it
        await asyncio.sleep(POLL_S)
    seconds, cpu_s = time.monotonic() - began_at, time.process_time() - cpu_began_s
    await client.stop_traffic()
    await bot.close()
    journal = await client.rest_journal()
    return {
        "requests": journal["request_count"],
        "refused_429": journal["rate_limited_count"],
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu_s, 1),
        "messages": len(took_ms),
        "message_ms_median": round(statistics.median(took_ms), 1) if took_ms else None,
    }


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    chosen = (arguments.guilds, arguments.large, arguments.parts)
    async with open_broker() as broker:
        return await measure(broker.url, *chosen)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_fill")
    parser.add_argument("--guilds", type=int, default=1000)
    parser.add_argument("--large", type=int, default=2, help="guilds of 2,500 members")
    parser.add_argument("--parts", default="guilds,channels,roles", help="as gw-consume --cache")
    print(json.dumps(asyncio.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
