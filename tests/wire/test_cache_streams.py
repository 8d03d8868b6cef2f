"""The streams of the caches, while others write to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.amqp import cache_streams
from eventbus.amqp.cache_streams import CacheStreams
from eventbus.amqp.link import Link

if TYPE_CHECKING:
    import pytest
    from aio_pika.abc import AbstractChannel

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names

LOOKS = 20


async def test_the_end_is_found_although_more_than_the_prefetch_is_written_before_the_marker(
    broker: Broker, names: Names, observer: AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_streams, "PREFETCH", 1)
    reading, writing = Link(broker, name="the tests' reading"), Link(broker, name="the tests' writing")
    streams = CacheStreams(reading, writing, names, heavy=(), types=["GUILD_CREATE"])
    await writing.open(timeout_s=30)
    await reading.open(timeout_s=30)

    async def write() -> None:
        while True:
            await streams.append("index", "OTHER", b"")

    load = asyncio.create_task(write())
    ends: list[int] = []
    for _ in range(LOOKS):
        async with asyncio.timeout(20):
            ends.append(await streams.end("index"))
    load.cancel()
    await asyncio.wait([load])
    for link in (reading, writing):
        await link.close()
    for kind in (None, "guilds", "index"):
        await observer.queue_delete(streams.name(kind))
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] > LOOKS, "others wrote meanwhile"
