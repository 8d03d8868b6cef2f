"""What it costs that a click reaches the process that sent the message: `python -m benchmarks.sticky`, one JSON line.

Three real consumers, 500 clicks a second on messages that they sent, straight into the exchange. Modes:
`anywhere` (`--components-anywhere`), `sticky`, and `sticky_sending`, where each handler also claims a new message.
Environment: BENCH_SECONDS (10), BENCH_RATE (500), AMQP_URL for a broker that runs already.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import hikari

from benchmarks.running_broker import open_broker
from benchmarks.small_fleet import running, small_fleet
from eventbus.names import INTERACTION_LANE, Names

if TYPE_CHECKING:
    from consumers import Bot

POOL = 3
RATE = int(os.environ.get("BENCH_RATE", "500"))
SETTLE_S = 5.0
PANELS = 10
START_TIMEOUT_S = 120.0
MODES = {
    "anywhere": {"GW_COMPONENTS_ANYWHERE": "1"},
    "sticky": {},
    "sticky_sending": {"BENCH_CLAIM": "1"},
}
USER = {"id": "3", "username": "u", "discriminator": "0", "avatar": None, "global_name": None}


def setup(bot: Bot) -> None:
    """The consumers' bot: writes what it sent at its start, and what it measured at its end."""
    latencies: list[float] = []
    sent: set[int] = set()
    facts: dict[str, Any] = {"own": 0}
    directory = Path(os.environ["BENCH_DIR"])

    @bot.listen()
    async def on_started(_: hikari.StartedEvent) -> None:
        guild = (await bot.rest.fetch_my_guilds())[0]
        channels = await bot.rest.fetch_guild_channels(guild)
        channel = next(one for one in channels if isinstance(one, hikari.GuildTextChannel))
        for _ in range(PANELS):
            row = bot.rest.build_message_action_row()
            row.add_interactive_button(hikari.ButtonStyle.PRIMARY, "b", label="b")
            sent.add((await bot.rest.create_message(channel, "panel", component=row)).id)
        (directory / f"{os.getpid()}.sent").write_text(json.dumps(sorted(sent)))

    @bot.listen()
    async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
        if not isinstance(event.interaction, hikari.ComponentInteraction):
            return
        latencies.append(time.time() - float(event.interaction.custom_id))
        facts.setdefault("cpu_before", time.process_time())
        facts["cpu_after"] = time.process_time()
        facts["own"] += event.interaction.message.id in sent
        if "BENCH_CLAIM" in os.environ and bot.rest.claims is not None:
            bot.rest.claims.sent(event.interaction.id)

    @bot.listen()
    async def on_stopping(_: hikari.StoppingEvent) -> None:
        (directory / f"{os.getpid()}.result").write_text(json.dumps({"latencies": latencies, **facts}))


async def _measure(url: str, changes: dict[str, str], seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, small_fleet(url, guilds=100) as environment:
        environment |= {"BENCH_DIR": directory, "GW_MAX_INTERACTION_AGE": "900", **changes}
        with contextlib.ExitStack() as consumers:
            for _ in range(POOL):
                bot = ("--entrypoint", "benchmarks.sticky:setup", "--entrypoint-dir", str(Path.cwd()))
                consumers.enter_context(running("gw-consume", *bot, environment=environment))
            messages = await _sent(Path(directory))
            count = await _click(url, Names(environment["GW_NAMESPACE"]), messages, seconds)
        return _result(Path(directory), count)


async def _sent(directory: Path) -> list[int]:
    async with asyncio.timeout(START_TIMEOUT_S):
        while len(found := list(directory.glob("*.sent"))) < POOL:  # noqa: ASYNC110, ASYNC240 - other processes
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    return [message_id for path in found for message_id in json.loads(path.read_text())]


async def _click(url: str, names: Names, messages: list[int], seconds: float) -> int:
    chance = random.Random(1)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.declare_exchange(names.event("INTERACTION_CREATE"), "topic", durable=True)
        began = time.perf_counter()
        count = int(RATE * seconds)
        for number in range(1, count + 1):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            await exchange.publish(_frame(number, chance.choice(messages)), "0", mandatory=False)
        lane = names.group("main", INTERACTION_LANE)
        while (await channel.declare_queue(lane, passive=True)).declaration_result.message_count:  # noqa: ASYNC110 - a queue
            await asyncio.sleep(0.2)
        await asyncio.sleep(SETTLE_S)
    return count


def _frame(number: int, message_id: int) -> aio_pika.Message:
    interaction_id = (int(time.time() * 1000) - 1_420_070_400_000) << 22 | number & 0xFFF
    message = {
        "id": str(message_id), "channel_id": "2", "content": "", "timestamp": "2026-01-02T03:04:05+00:00",
        "author": USER, "edited_timestamp": None, "flags": 0, "tts": False, "mention_everyone": False,
        "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": False, "type": 0,
    }  # fmt: skip
    d = {
        "id": str(interaction_id), "application_id": "8", "type": 3, "token": "t" * 200, "version": 1,
        "channel_id": "2", "channel": {"id": "2", "type": 1, "last_message_id": None, "recipients": [USER]},
        "user": USER, "locale": "en-US", "entitlements": [], "authorizing_integration_owners": {}, "context": 1,
        "data": {"custom_id": str(time.time()), "component_type": 2}, "message": message, "app_permissions": "0",
        "attachment_size_limit": 1,
    }  # fmt: skip
    headers = {"shard": 0, "shard_count": 1, "fencing_token": 1, "replayed": False, "received_at": int(time.time())}
    body = json.dumps({"t": "INTERACTION_CREATE", "s": number, "op": 0, "d": d}).encode()
    return aio_pika.Message(
        body, type="INTERACTION_CREATE", message_id=f"bench:{number}", headers=headers, delivery_mode=2
    )


def _result(directory: Path, count: int) -> dict[str, Any]:
    results = [json.loads(path.read_text()) for path in directory.glob("*.result")]
    latencies = [latency for one in results for latency in one["latencies"]]
    points = statistics.quantiles(latencies, n=100)
    cpu_s = sum(one["cpu_after"] - one["cpu_before"] for one in results if "cpu_after" in one)
    return {
        "sent": count,
        "handled": len(latencies),
        "by_sender": sum(one["own"] for one in results),
        "p50_ms": round(points[49] * 1000, 1),
        "p99_ms": round(points[98] * 1000, 1),
        "cpu_us": round(cpu_s / len(latencies) * 1e6),
    }


async def _main() -> None:
    seconds = float(os.environ.get("BENCH_SECONDS", "10"))
    async with open_broker() as broker:
        measured = {mode: await _measure(broker.url, changes, seconds) for mode, changes in MODES.items()}
    print(json.dumps({"rate": RATE, "pool": POOL, **measured}))


if __name__ == "__main__":
    asyncio.run(_main())
