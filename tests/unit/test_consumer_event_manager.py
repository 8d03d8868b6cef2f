"""The event manager: which types are wanted, when a dispatch's handlers have ended, and what could not be read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import hikari
import pytest

from consumers import Bot, Dispatch, current_dispatch
from consumers.event_manager import EventManager
from consumers.event_types import EVENT_CLASSES, WITHOUT_EVENT
from consumers.frame import Frame
from consumers.shard_proxy import ShardProxy

if TYPE_CHECKING:
    from consumers.handling import Handling

MESSAGE: dict[str, Any] = {
    "id": "1", "channel_id": "2", "content": "hello", "timestamp": "2026-01-02T03:04:05+00:00",
    "edited_timestamp": None,
    "author": {"id": "3", "username": "u", "discriminator": "0", "avatar": None, "global_name": None},
    "flags": 0,
    "tts": False, "mention_everyone": False, "mentions": [], "mention_roles": [], "attachments": [], "embeds": [],
    "pinned": False, "type": 0,
}  # fmt: skip


@pytest.fixture
def bot() -> Bot:
    return Bot("amqp://127.0.0.1/", "token")


@pytest.fixture
def manager(bot: Bot) -> EventManager:
    return bot.event_manager


def frame(event_type: str, payload: Any) -> Frame:
    return Frame(Dispatch(0, 1, "s", 1, event_type, "s:1", 1, False, False, 0.0), payload)


def shard() -> ShardProxy:
    nothing: Any = None
    return ShardProxy(
        0,
        1,
        intents=hikari.Intents.ALL,
        user_id=hikari.Snowflake(9),
        commands=nothing,
        fleet=nothing,
        closed=asyncio.Event(),
    )


async def handle(manager: EventManager, event_type: str, payload: Any) -> Handling:
    async def one_delivery() -> Handling:
        handling = manager.handle(frame(event_type, payload), shard())
        await handling.finish()
        return handling

    return await asyncio.create_task(one_delivery())


async def ignore(_: hikari.Event) -> None:
    pass


def test_nothing_is_wanted_without_listeners(manager: EventManager) -> None:
    assert manager.wanted_types() == frozenset()


def test_listeners_to_a_lifetime_event_want_nothing(manager: EventManager) -> None:
    manager.subscribe(hikari.StartedEvent, ignore)
    manager.subscribe(hikari.ExceptionEvent, ignore)
    assert manager.wanted_types() == frozenset()


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (hikari.GuildMessageCreateEvent, {"MESSAGE_CREATE"}),
        (hikari.MessageDeleteEvent, {"MESSAGE_DELETE"}),
        (hikari.InteractionCreateEvent, {"INTERACTION_CREATE"}),
        (hikari.RoleEvent, {"GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE", "GUILD_ROLE_DELETE"}),
        (hikari.GuildAvailableEvent, {"GUILD_CREATE"}),
        (hikari.ShardReadyEvent, {"READY"}),
        (hikari.ShardPayloadEvent, set(EVENT_CLASSES) | WITHOUT_EVENT),
        (hikari.Event, set(EVENT_CLASSES) | WITHOUT_EVENT),
    ],
)
def test_listeners_want_the_types_that_make_their_event(
    manager: EventManager, event: type[hikari.Event], wanted: set[str]
) -> None:
    manager.subscribe(event, ignore)
    assert manager.wanted_types() == wanted
    manager.unsubscribe(event, ignore)
    assert manager.wanted_types() == frozenset()


async def test_a_type_is_wanted_as_long_as_somebody_waits_for_it(manager: EventManager) -> None:
    waiting = asyncio.create_task(
        manager.wait_for(hikari.MessageCreateEvent, timeout=5, predicate=lambda event: event.content == "hello")
    )
    await asyncio.sleep(0)
    assert manager.wanted_types() == {"MESSAGE_CREATE"}
    await handle(manager, "MESSAGE_CREATE", {**MESSAGE, "content": "other"})
    assert not waiting.done()
    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert (await waiting).content == "hello"
    assert manager.wanted_types() == frozenset()


async def test_waiting_ends_with_its_timeout(manager: EventManager) -> None:
    with pytest.raises(TimeoutError):
        await manager.wait_for(hikari.MessageCreateEvent, timeout=0.01)
    assert manager.wanted_types() == frozenset()


async def test_the_error_of_a_predicate_is_its_waiters(manager: EventManager) -> None:
    waiting = asyncio.create_task(
        manager.wait_for(hikari.MessageCreateEvent, timeout=5, predicate=lambda _: bool(1 / 0))
    )
    await asyncio.sleep(0)
    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    with pytest.raises(ZeroDivisionError):
        await waiting


async def test_a_stream_wants_its_type_while_it_is_open(manager: EventManager) -> None:
    with manager.stream(hikari.MessageCreateEvent, timeout=5) as stream:
        assert manager.wanted_types() == {"MESSAGE_CREATE"}
        await handle(manager, "MESSAGE_CREATE", MESSAGE)
        async for event in stream:
            assert event.content == "hello"
            break
    assert manager.wanted_types() == frozenset()


async def test_a_dispatch_is_finished_when_all_its_handlers_have_ended(manager: EventManager) -> None:
    ended: list[str] = []

    @manager.listen(hikari.MessageCreateEvent)
    async def slow(_: hikari.MessageCreateEvent) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        ended.append("slow")

    @manager.listen(hikari.MessageCreateEvent)
    async def cancelled(_: hikari.MessageCreateEvent) -> None:
        raise asyncio.CancelledError

    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert ended == ["slow"]


async def test_what_a_handler_dispatches_in_turn_belongs_to_its_dispatch(manager: EventManager) -> None:
    ended: list[str] = []

    @manager.listen(hikari.ExceptionEvent)
    async def on_failure(event: hikari.ExceptionEvent[Any]) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        ended.append(repr(event.exception))

    @manager.listen(hikari.MessageCreateEvent)
    async def fails(_: hikari.MessageCreateEvent) -> None:
        raise ValueError("no")

    handling = await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert ended == ["ValueError('no')"]
    assert handling.failure is None


async def test_a_failing_handler_of_failures_does_not_go_round_in_circles(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    @manager.listen(hikari.ExceptionEvent)
    async def on_failure(_: hikari.ExceptionEvent[Any]) -> None:
        raise KeyError("again")

    @manager.listen(hikari.MessageCreateEvent)
    async def fails(_: hikari.MessageCreateEvent) -> None:
        raise ValueError("no")

    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert [record.message for record in caplog.records] == ["a handler of a failure failed"]


async def test_a_listener_to_bulk_deletions_alone_gets_them(manager: EventManager) -> None:
    seen: list[int] = []

    @manager.listen(hikari.GuildBulkMessageDeleteEvent)
    async def on_deletions(event: hikari.GuildBulkMessageDeleteEvent) -> None:
        seen.extend(event.message_ids)

    await handle(manager, "MESSAGE_DELETE_BULK", {"ids": ["1", "2"], "channel_id": "3", "guild_id": "4"})
    assert sorted(seen) == [1, 2]


async def test_handlers_know_their_dispatch(manager: EventManager) -> None:
    seen: list[Dispatch | None] = []

    @manager.listen(hikari.MessageCreateEvent)
    async def on_message(_: hikari.MessageCreateEvent) -> None:
        seen.append(current_dispatch())

    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert [one.message_id for one in seen if one] == ["s:1"]
    assert current_dispatch() is None


@pytest.mark.parametrize(
    "payload", [{}, {**MESSAGE, "id": "x"}, {**MESSAGE, "author": None}, [], None, "text", 5, {"id": {"a": 1}}]
)
async def test_a_payload_that_hikari_cannot_read_is_a_failure_and_no_silence(
    manager: EventManager, payload: Any
) -> None:
    manager.subscribe(hikari.MessageCreateEvent, ignore)
    handling = await handle(manager, "MESSAGE_CREATE", payload)
    assert handling.failure is not None


async def test_an_unknown_type_is_dropped_and_said_once(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    for payload in ({}, [], {}):
        handling = await handle(manager, "SOMETHING_NEW", payload)
        assert handling.failure is None
    assert len([record for record in caplog.records if "dropped" in record.message]) == 1


async def test_an_unknown_type_reaches_those_that_listen_to_raw_payloads(manager: EventManager) -> None:
    names: list[str] = []

    @manager.listen(hikari.ShardPayloadEvent)
    async def on_payload(event: hikari.ShardPayloadEvent) -> None:
        names.append(event.name)

    await handle(manager, "THREAD_MEMBER_UPDATE", {"id": "1"})
    await handle(manager, "RESUMED", None)
    assert names == ["THREAD_MEMBER_UPDATE", "RESUMED"]


def test_a_listener_that_lacks_its_intent_gets_a_sentence(manager: EventManager) -> None:
    manager.subscribe(hikari.MemberCreateEvent, ignore)
    manager.subscribe(hikari.GuildMessageCreateEvent, ignore)
    sentences = list(manager.missing_intents(hikari.Intents.GUILD_MESSAGES))
    assert len(sentences) == 1
    assert "MemberCreateEvent" in sentences[0]
    assert "GUILD_MEMBERS" in sentences[0]
