"""A bot that waits for messages as its standard input says, and tells on standard output what came: see wait_for.py.

A line in: `{"wait": CONTENT, "timeout": S}`. Lines out: `{"waiting": CONTENT}`, then `{"resolved": CONTENT, "with":
CONTENT}` or `{"timed_out": CONTENT}`; `{"heard": CONTENT}` from a listener, with LISTEN set.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import hikari

from consumers import Bot


def tell(**what: Any) -> None:  # noqa: ANN401 - JSON
    """One line out."""
    print(json.dumps(what), flush=True)


async def wait(bot: Bot, content: str, timeout: float) -> None:
    """Wait for a message with this content."""
    try:
        event = await bot.wait_for(
            hikari.DMMessageCreateEvent, timeout=timeout, predicate=lambda event: event.content == content
        )
    except TimeoutError:
        tell(timed_out=content)
    else:
        tell(resolved=content, **{"with": event.content})


async def on_message(event: hikari.DMMessageCreateEvent) -> None:
    """A listener: it hears what the group's queue brings to this process."""
    tell(heard=event.content)


async def main() -> None:
    """Obey until standard input ends."""
    bot = Bot(
        os.environ["AMQP_URL"],
        os.environ["DISCORD_TOKEN"],
        namespace=os.environ["GW_NAMESPACE"],
        group=os.environ["GW_GROUP"],
        rest_url=os.environ["GW_REST_URL"],
    )
    if os.environ.get("LISTEN"):
        bot.subscribe(hikari.DMMessageCreateEvent, on_message)
    await bot.start()
    await wait(bot, "the first wait of a type takes a round trip to the broker", 5.0)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    waits: set[asyncio.Task[None]] = set()
    async for line in reader:
        order = json.loads(line)
        task = asyncio.create_task(wait(bot, order["wait"], order["timeout"]))
        waits.add(task)
        task.add_done_callback(waits.discard)
        await asyncio.sleep(0)
        tell(waiting=order["wait"])
    await bot.close()


if __name__ == "__main__":
    asyncio.run(main())
