"""A cooldown that all processes of a group count together, in Redis: with hikari-arc, as a hook.

The libraries' own cooldowns are counted in the memory of each process. Needs `pip install hikari-arc redis` and a
Redis; `REDIS_URL` says where it is. Other libraries' hooks and checks call `seconds_left` in the same way. Run it with

    gw-consume --entrypoint shared_cooldown:setup --entrypoint-dir examples
"""

from __future__ import annotations

import os

import arc
import hikari
from redis.asyncio import Redis

PERIOD_S = 3600
LIMIT = 1


async def seconds_left(redis: Redis, key: str, *, limit: int, period_s: int) -> float:
    """Count one use of `key`; 0 if it is within `limit` uses in `period_s`, else how long until the next period."""
    async with redis.pipeline(transaction=True) as together:
        together.set(key, 0, ex=period_s, nx=True).incr(key).pttl(key)
        _, used, left_ms = await together.execute()
    return 0.0 if used <= limit else left_ms / 1000


def setup(bot: hikari.GatewayBotAware) -> None:
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
    client = arc.GatewayClient(bot)

    async def once_an_hour(context: arc.GatewayContext) -> arc.HookResult:
        key = f"cooldown:{context.command.name}:{context.user.id}"
        left = await seconds_left(redis, key, limit=LIMIT, period_s=PERIOD_S)
        if left:
            await context.respond(f"Again in {left:.0f} s.", flags=hikari.MessageFlag.EPHEMERAL)
        return arc.HookResult(abort=bool(left))

    @client.include
    @arc.with_hook(once_an_hour)
    @arc.slash_command("reward", "Your reward, once an hour")
    async def reward(context: arc.GatewayContext) -> None:
        await context.respond("Here you are!")

    @client.add_shutdown_hook
    async def close(_: arc.GatewayClient) -> None:
        await redis.connection_pool.disconnect()
