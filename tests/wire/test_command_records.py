"""Who sends a group's commands, over a real broker: turns, the record, and who runs with what."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from consumers.command_sync import CommandSync, WantedCommands
from eventbus.amqp.broker import Broker
from eventbus.amqp.command_records import CommandRecords
from eventbus.amqp.link import Link
from eventbus.command_record import CommandsSynced
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from eventbus.names import Names

GROUP, SCOPE = "bot", "1"
OLD, NEW = "0" * 32, "1" * 32
RECORD = CommandsSynced(scope=SCOPE, wanted=OLD, made=NEW)


class Discord:
    """The commands that an application has."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def fetch(self) -> Sequence[Any]:
        return [SimpleNamespace(id=1, version=len(self.sent), name=self.sent[-1])] if self.sent else []

    def wanted(self, digest: str) -> WantedCommands:
        async def send() -> Sequence[Any]:
            self.sent.append(digest)
            return await self.fetch()

        return WantedCommands(SCOPE, digest, send=send, fetch=self.fetch)


@pytest.fixture
async def new_records(broker_url: str, names: Names) -> AsyncIterator[Callable[[], Any]]:
    """Each call is another process's way to the records, with its link."""
    async with contextlib.AsyncExitStack() as ending:

        async def make() -> tuple[Link, CommandRecords]:
            link = Link(Broker(broker_url), name="test")
            records = CommandRecords(link, names, GROUP)
            await link.open(timeout_s=30)
            ending.push_async_callback(link.close)
            return link, records

        yield make
        cleaning, _ = await make()
        channel = await cleaning.connection.channel()
        await channel.queue_delete(names.commands(GROUP))


async def test_one_has_its_turn_and_the_end_of_its_connection_gives_it_on(new_records: Any) -> None:
    (link, first), (_, second) = await new_records(), await new_records()
    order = []

    async def wait_for_turn() -> None:
        async with second.turn():
            order.append("second")

    async with first.turn():
        waiting = asyncio.create_task(wait_for_turn())
        await asyncio.sleep(0.3)
        order.append("first")
        await link.close()  # as if its process had been killed
        await waiting
    assert order == ["first", "second"]


async def test_the_record_is_read_from_its_beginning_by_everybody(new_records: Any) -> None:
    (_, first), (_, second) = await new_records(), await new_records()
    assert await first.read() == []
    for wanted in (OLD, NEW):
        await first.append(RECORD.model_copy(update={"wanted": wanted}))
    assert [record.wanted for record in await second.read()] == [OLD, NEW]
    assert await second.read() == await first.read()


async def test_who_runs_with_commands_is_seen_until_its_connection_ends(new_records: Any) -> None:
    (link, first), (_, second) = await new_records(), await new_records()
    assert not await second.is_run(NEW)
    await first.join(NEW)
    await second.join(NEW)
    await second.leave(NEW)
    assert await second.is_run(NEW)
    await link.close()

    async def is_over() -> bool:
        return not await second.is_run(NEW)

    await eventually(is_over)


async def test_of_several_that_start_together_one_sends(new_records: Any) -> None:
    discord = Discord()
    group = [CommandSync((await new_records())[1]) for _ in range(3)]
    answers = await asyncio.gather(*(sync.sync(discord.wanted(OLD)) for sync in group))
    assert discord.sent == [OLD]
    assert [answer[0].name for answer in answers] == [OLD] * 3


async def test_an_old_process_waits_until_the_newer_ones_are_gone(
    new_records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.command_sync.LOOK_AGAIN_S", 0.05)
    discord = Discord()
    await CommandSync((await new_records())[1]).sync(discord.wanted(OLD))
    new_link, new = await new_records()
    await CommandSync(new).sync(discord.wanted(NEW))

    restarted = CommandSync((await new_records())[1])
    assert (await restarted.sync(discord.wanted(OLD)))[0].name == NEW
    assert discord.sent == [OLD, NEW]

    looking = asyncio.create_task(restarted.run())
    await asyncio.sleep(0.5)
    assert discord.sent == [OLD, NEW]
    await new_link.close()
    await eventually(lambda: discord.sent == [OLD, NEW, OLD])
    looking.cancel()


async def test_one_that_found_nothing_to_change_counts_as_running_it(new_records: Any) -> None:
    discord = Discord()
    await CommandSync((await new_records())[1]).sync(discord.wanted(OLD))
    link, new = await new_records()
    await CommandSync(new).sync(discord.wanted(NEW))
    await CommandSync((await new_records())[1]).saw(SCOPE, await discord.fetch())
    await link.close()
    await CommandSync((await new_records())[1]).sync(discord.wanted(OLD))
    assert discord.sent == [OLD, NEW]


async def test_without_a_broker_a_process_sends_alone(new_records: Any) -> None:
    discord = Discord()
    link, records = await new_records()
    await link.close()
    await CommandSync(records).sync(discord.wanted(OLD))
    assert discord.sent == [OLD]
