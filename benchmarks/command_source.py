"""Offers gateway commands from one process: `python -m benchmarks.command_source RATE SECONDS GUILDS`.

A bot of its own group, with AMQP_URL, DISCORD_TOKEN, GW_NAMESPACE and GW_REST_URL from the environment. It offers RATE
commands a second for SECONDS, whatever becomes of them, and prints one line of JSON when the last one has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import hikari
from hikari.api import ChannelInfoField

from consumers import Bot
from eventbus.errors import RelayError
from gateway_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Coroutine

INVALID_PERCENT = 5
HUGE = "x" * 5000


class Source:
    """Commands of every kind, some of them such as Discord would refuse."""

    def __init__(self, bot: Bot, guilds: tuple[int, ...]) -> None:
        self._bot = bot
        self._guilds = guilds
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0

    def command(self) -> Coroutine[object, object, None]:
        """The next one."""
        bot, guild = self._bot, random.choice(self._guilds)
        if random.randrange(100) < INVALID_PERCENT:
            return random.choice(
                (
                    lambda: bot.update_voice_state(guild, 2**70),
                    lambda: bot.request_guild_members(guild, query=HUGE, limit=1),
                    lambda: bot.shards[0].update_presence(activity=hikari.Activity(name="")),
                )
            )()
        return random.choice(
            (
                lambda: bot.update_voice_state(guild, None, self_deaf=random.random() < 0.5),
                lambda: bot.request_guild_members(guild, query="a", limit=3),
                lambda: bot.request_channel_info(guild, fields=[ChannelInfoField.STATUS]),
                lambda: bot.request_soundboard_sounds([guild]),
                lambda: random.choice(list(bot.shards.values())).update_presence(
                    activity=hikari.Activity(name=f"{random.random()}")
                ),
            )
        )()

    async def send(self) -> None:
        """Send one, and count how it ended."""
        began_at = time.monotonic()
        try:
            await self.command()
        except RelayError as error:
            outcome = type(error).__name__
        except Exception as error:  # noqa: BLE001 - whatever has no type of ours is what this run looks for
            outcome = f"untyped {type(error).__name__}"
        else:
            outcome = "sent"
        self.outcomes[outcome] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_at)


async def offer(rate: float, seconds: float, guild_count: int) -> dict[str, object]:
    """Start a bot, offer, wait for the last answer, and close."""
    bot = Bot(
        os.environ["AMQP_URL"],
        os.environ["DISCORD_TOKEN"],
        namespace=os.environ["GW_NAMESPACE"],
        group=f"source-{os.getpid()}",
        rest_url=os.environ["GW_REST_URL"],
        logs="ERROR",
    )
    await bot.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    source = Source(
        bot, World(guild_count=guild_count, large_guilds=0, bot_token=os.environ["DISCORD_TOKEN"]).guild_ids
    )
    began_at, offered, tasks = time.monotonic(), 0, set[asyncio.Task[None]]()
    while (passed_s := time.monotonic() - began_at) < seconds:
        while offered < rate * passed_s:
            task = asyncio.create_task(source.send())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            offered += 1
        await asyncio.sleep(0.01)
    while tasks:
        await asyncio.wait(tasks)
    await bot.close()
    return {"offered": offered, "outcomes": dict(source.outcomes), "slowest_s": round(source.slowest_s, 2)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(offer(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))))
