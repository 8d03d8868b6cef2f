"""A bot with work for one process of its group: what WORK says."""

from __future__ import annotations

import asyncio
import os
import sys

import arc
from consume_bots import record

from consumers import Bot

attempts = 0


@arc.utils.interval_loop(seconds=0.05)
async def tick() -> None:
    record("tick")


async def periodic() -> None:
    record("begun")
    tick.start()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(2)  # it cleans up, and nobody else begins before that
        tick.cancel()
        record("ended")


async def once() -> None:
    record("once")


async def fails_first() -> None:
    record("tried")
    global attempts  # noqa: PLW0603 - of this process
    attempts += 1
    if attempts == 1:
        raise ValueError("as told")
    record("done")
    await asyncio.Event().wait()


async def cancelled_first() -> None:
    record("tried")
    global attempts  # noqa: PLW0603 - of this process
    attempts += 1
    if attempts == 1:
        awaited = asyncio.get_running_loop().create_future()
        awaited.cancel()
        await awaited
    record("done")
    await asyncio.Event().wait()


async def leaves() -> None:
    sys.exit(3)


WORKS = {
    "periodic": periodic,
    "once": once,
    "fails_first": fails_first,
    "cancelled_first": cancelled_first,
    "leaves": leaves,
}


def setup(bot: Bot) -> None:
    bot.run_in_one_process("work", WORKS[os.environ["WORK"]])
