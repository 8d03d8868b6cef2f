"""What a dispatch costs a consumer: `python -m benchmarks.consumer [COUNT]`, one JSON line.

One real `gw-consume` with one listener works off a backlog of COUNT messages (20,000) of 1 KB, straight from the
group's queue. CPU is the consumer's own, from its thousandth to its last. Environment: AMQP_URL for a broker that runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import hikari

from benchmarks.running_broker import open_broker
from benchmarks.small_fleet import running, small_fleet
from eventbus.names import Names

if TYPE_CHECKING:
    from consumers import Bot

COUNT = 20_000
WARM_UP = 1_000
TIMEOUT_S = 300.0
USER = {"id": "3", "username": "u", "discriminator": "0", "avatar": None, "global_name": None}


def setup(bot: Bot) -> None:
    """The consumer's bot: counts, and writes down its rate and its CPU."""
    expected, result_path = int(os.environ["BENCH_COUNT"]), Path(os.environ["BENCH_RESULT"])
    marks: dict[int, tuple[float, float]] = {}
    handled = 0

    @bot.listen()
    async def on_message(_: hikari.MessageCreateEvent) -> None:
        nonlocal handled
        handled += 1
        if handled in {WARM_UP, expected}:
            marks[handled] = (time.perf_counter(), time.process_time())
        if handled == expected:
            (wall_0, cpu_0), (wall_1, cpu_1) = marks[WARM_UP], marks[expected]
            count = expected - WARM_UP
            result = {"per_s": round(count / (wall_1 - wall_0)), "cpu_us": round((cpu_1 - cpu_0) / count * 1e6, 1)}
            result_path.write_text(json.dumps(result))  # noqa: ASYNC240 - once, at the end
            os.kill(os.getpid(), signal.SIGTERM)


async def measure(url: str, count: int) -> dict[str, Any]:
    """Dispatches per second of one process, and its CPU in microseconds for each."""
    with tempfile.TemporaryDirectory() as directory, small_fleet(url) as environment:
        result = Path(directory) / "result"
        environment |= {"BENCH_COUNT": str(count), "BENCH_RESULT": str(result)}
        await _fill(url, Names(environment["GW_NAMESPACE"]), count)
        bot = ("--entrypoint", "benchmarks.consumer:setup", "--entrypoint-dir", str(Path.cwd()))
        with running("gw-consume", *bot, environment=environment) as consumer:
            await asyncio.to_thread(consumer.wait, TIMEOUT_S)
        found: dict[str, Any] = json.loads(result.read_text())
        return found


async def _fill(url: str, names: Names, count: int) -> None:
    """A backlog, in the group's queue as a consumer declares it."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(names.event("MESSAGE_CREATE"), "topic", durable=True)
        arguments = {
            "x-queue-type": "quorum", "x-delivery-limit": 20, "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": names.dead("main"),
        }  # fmt: skip
        queue = await channel.declare_queue(names.group("main"), durable=True, arguments=dict(arguments))
        await queue.bind(exchange, "#")
        for first in range(1, count + 1, 200):
            numbers = range(first, min(first + 200, count + 1))
            await asyncio.gather(*(exchange.publish(_message(number), "0") for number in numbers))


def _message(number: int) -> aio_pika.Message:
    d = {
        "id": str(number << 22), "channel_id": "2", "guild_id": "5", "content": "hello " * 40,
        "timestamp": "2026-01-02T03:04:05+00:00", "author": USER, "edited_timestamp": None, "flags": 0, "tts": False,
        "mention_everyone": False, "mentions": [], "mention_roles": [], "attachments": [], "embeds": [],
        "pinned": False, "type": 0, "nonce": "1", "components": [],
        "member": {"roles": ["6", "7"], "joined_at": "2026-01-02T03:04:05+00:00", "deaf": False, "mute": False},
    }  # fmt: skip
    headers = {"shard": 0, "shard_count": 1, "fencing_token": 1, "replayed": False, "received_at": time.time()}
    body = json.dumps({"t": "MESSAGE_CREATE", "s": number, "op": 0, "d": d}).encode()
    return aio_pika.Message(
        body, type="MESSAGE_CREATE", message_id=f"bench:{number}", headers=headers, delivery_mode=2,
        content_type="application/json",
    )  # fmt: skip


async def _main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    async with open_broker() as broker:
        print(json.dumps({"count": count, **await measure(broker.url, count)}))


if __name__ == "__main__":
    asyncio.run(_main())
