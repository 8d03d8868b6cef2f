"""The event manager: which types are wanted, when a dispatch's handlers have ended, and what could not be read."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from typing import TYPE_CHECKING, Any

import hikari
import pytest

from consumers import Bot, Dispatch, current_dispatch
from consumers.event_manager import FOR_EVERYONE, EventManager
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


def frame(event_type: str, payload: Any, *, seq: int = 1, **changes: Any) -> Frame:
    dispatch = Dispatch(0, 1, "s", seq, event_type, f"s:{seq}", 1, False, False, 0.0)
    return Frame(dataclasses.replace(dispatch, **changes), payload)


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


async def handle(manager: EventManager, event_type: str, payload: Any, **changes: Any) -> Handling:
    async def one_delivery() -> Handling:
        handling = manager.handle(frame(event_type, payload, **changes), shard())
        await handling.finish()
        return handling

    return await asyncio.create_task(one_delivery())


async def ignore(_: hikari.Event) -> None:
    pass


def own_user(name: str) -> dict[str, Any]:
    return {"id": "9", "username": name, "discriminator": "0", "avatar": None, "global_name": None, "flags": 0,
            "public_flags": 0, "mfa_enabled": True, "bot": True, "verified": True, "email": None}  # fmt: skip


async def test_the_own_user_is_fresh_in_each_process_and_the_listener_of_one_has_the_old_one(
    bot: Bot, manager: EventManager
) -> None:
    heard: list[tuple[str | None, str]] = []

    async def on_update(event: hikari.OwnUserUpdateEvent) -> None:
        heard.append((event.old_user.username if event.old_user else None, event.user.username))

    manager.subscribe(hikari.OwnUserUpdateEvent, on_update)
    assert "USER_UPDATE" in manager.types_for_everyone() & manager.wanted_types()
    for seq, name in ((1, "one"), (2, "two")):
        assert manager.hears("USER_UPDATE")
        contextvars.copy_context().run(manager.take_copy, frame("USER_UPDATE", own_user(name), seq=seq), shard())
    me = bot.get_me()
    assert me is not None
    assert me.username == "two"
    await handle(manager, "USER_UPDATE", own_user("two"), seq=2)
    await handle(manager, "USER_UPDATE", own_user("three"), seq=3)
    manager.take_copy(frame("USER_UPDATE", own_user("three"), seq=3), shard())
    await handle(manager, "USER_UPDATE", own_user("three"), seq=3, attempt=2)
    assert heard == [("one", "two"), ("two", "three"), ("two", "three")]
    assert (await handle(manager, "USER_UPDATE", {}, seq=4)).failure is not None


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
        (hikari.ShardReadyEvent, set()),
        (hikari.ShardPayloadEvent, (set(EVENT_CLASSES) | WITHOUT_EVENT) - FOR_EVERYONE),
        (hikari.Event, (set(EVENT_CLASSES) | WITHOUT_EVENT) - FOR_EVERYONE),
    ],
)
def test_listeners_want_the_types_that_make_their_event(
    manager: EventManager, event: type[hikari.Event], wanted: set[str]
) -> None:
    manager.subscribe(event, ignore)
    assert manager.wanted_types() == wanted
    manager.unsubscribe(event, ignore)
    assert manager.wanted_types() == frozenset()


READY: dict[str, Any] = {
    "v": 10, "guilds": [], "session_id": "s", "resume_gateway_url": "wss://127.0.0.1/", "shard": [0, 2],
    "application": {"id": "9", "flags": 0},
    "user": {**MESSAGE["author"], "id": "9", "bot": True, "mfa_enabled": True, "flags": 0, "verified": True,
             "locale": "en-US", "email": None},
}  # fmt: skip


def copy(manager: EventManager, event_type: str, payload: Any, **changes: Any) -> None:
    contextvars.copy_context().run(manager.take_copy, frame(event_type, payload, **changes), shard())


def wait_for_message(manager: EventManager, content: str = "hello") -> asyncio.Task[hikari.MessageCreateEvent]:
    return asyncio.create_task(
        manager.wait_for(hikari.MessageCreateEvent, timeout=5, predicate=lambda event: event.content == content)
    )


def messages_heard(manager: EventManager) -> list[str | None]:
    heard: list[str | None] = []

    @manager.listen(hikari.MessageCreateEvent)
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        heard.append(event.content)

    return heard


async def test_who_waits_wants_copies_and_nothing_of_the_group(manager: EventManager) -> None:
    waiting = wait_for_message(manager)
    await asyncio.sleep(0)
    assert manager.wanted_types() == frozenset()
    assert manager.waiters.demand.wanted(0.0) == {"MESSAGE_CREATE"}
    copy(manager, "MESSAGE_CREATE", {**MESSAGE, "content": "other"})
    assert not waiting.done()
    copy(manager, "MESSAGE_CREATE", MESSAGE, seq=2)
    assert (await waiting).content == "hello"
    assert not manager.hears("MESSAGE_CREATE")


async def test_a_copy_never_reaches_listeners(manager: EventManager) -> None:
    heard = messages_heard(manager)
    waiting = wait_for_message(manager)
    await asyncio.sleep(0)
    copy(manager, "MESSAGE_CREATE", MESSAGE)
    await waiting
    assert heard == []
    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert heard == ["hello"]


async def test_what_the_group_brings_to_this_process_reaches_its_waiters_too(manager: EventManager) -> None:
    heard = messages_heard(manager)
    waiting = wait_for_message(manager)
    await asyncio.sleep(0)
    await handle(manager, "MESSAGE_CREATE", MESSAGE)
    assert (await waiting).content == "hello"
    assert heard == ["hello"]


@pytest.mark.parametrize("is_copy_first", [True, False])
async def test_a_dispatch_that_comes_both_ways_reaches_a_waiter_once(
    manager: EventManager, is_copy_first: bool
) -> None:
    with manager.stream(hikari.MessageCreateEvent, timeout=0.01) as stream:
        if is_copy_first:
            copy(manager, "MESSAGE_CREATE", MESSAGE)
        await handle(manager, "MESSAGE_CREATE", MESSAGE)
        if not is_copy_first:
            copy(manager, "MESSAGE_CREATE", MESSAGE)
        copy(manager, "MESSAGE_CREATE", {**MESSAGE, "content": "second"}, seq=2)
        assert [event.content async for event in stream] == ["hello", "second"]


@pytest.mark.parametrize("is_retried", [True, False])
async def test_a_handler_that_waits_never_gets_its_own_dispatch(manager: EventManager, is_retried: bool) -> None:
    waiting: list[asyncio.Task[hikari.MessageCreateEvent]] = []

    @manager.listen(hikari.MessageCreateEvent)
    async def on_message(_: hikari.MessageCreateEvent) -> None:
        waiting.append(wait_for_message(manager))

    with manager.waiters.hearing(hikari.MessageCreateEvent, lambda _: None):  # its copies come already
        await handle(manager, "MESSAGE_CREATE", MESSAGE)
        await asyncio.sleep(0)
        if is_retried:
            await handle(manager, "MESSAGE_CREATE", MESSAGE, seq=2, attempt=2)
        else:
            copy(manager, "MESSAGE_CREATE", MESSAGE)
        assert not waiting[0].done()
        copy(manager, "MESSAGE_CREATE", MESSAGE, seq=3)
        assert (await waiting[0]).content == "hello"
    for task in waiting:
        task.cancel()


async def test_waiting_ends_with_its_timeout(manager: EventManager) -> None:
    with pytest.raises(TimeoutError):
        await manager.wait_for(hikari.MessageCreateEvent, timeout=0.01)
    assert not manager.hears("MESSAGE_CREATE")


async def test_waiting_ends_with_its_cancellation(manager: EventManager) -> None:
    waiting = wait_for_message(manager)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not manager.hears("MESSAGE_CREATE")


async def test_the_error_of_a_predicate_is_its_waiters(manager: EventManager) -> None:
    waiting = asyncio.create_task(
        manager.wait_for(hikari.MessageCreateEvent, timeout=5, predicate=lambda _: bool(1 / 0))
    )
    await asyncio.sleep(0)
    copy(manager, "MESSAGE_CREATE", MESSAGE)
    with pytest.raises(ZeroDivisionError):
        await waiting


async def test_a_copy_that_cannot_be_read_ends_nobody_s_wait(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = wait_for_message(manager)
    await asyncio.sleep(0)
    for seq, payload in enumerate(({}, [], {"id": "x"}), start=1):
        copy(manager, "MESSAGE_CREATE", payload, seq=seq)
    assert [record.message for record in caplog.records] == ["dispatches of this type are dropped"]
    copy(manager, "MESSAGE_CREATE", MESSAGE, seq=9)
    assert (await waiting).content == "hello"


@pytest.mark.parametrize(
    ("event", "types"),
    [
        (hikari.GuildMessageCreateEvent, {"MESSAGE_CREATE"}),
        (hikari.RoleEvent, {"GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE", "GUILD_ROLE_DELETE"}),
        (hikari.ShardPayloadEvent, set(EVENT_CLASSES) | WITHOUT_EVENT),
        (hikari.StartedEvent, set()),
    ],
)
async def test_a_waiter_wants_the_types_that_make_its_event(
    manager: EventManager, event: type[hikari.Event], types: set[str]
) -> None:
    with manager.stream(event, timeout=5):
        assert manager.waiters.demand.wanted(0.0) == types


async def test_a_waiter_hears_what_is_dispatched_by_hand(manager: EventManager) -> None:
    waiting = asyncio.create_task(manager.wait_for(hikari.ExceptionEvent, timeout=5))
    await asyncio.sleep(0)
    event: Any = hikari.ExceptionEvent(exception=ValueError(), failed_event=None, failed_callback=ignore)  # type: ignore[arg-type, type-var]
    manager.dispatch(event)
    assert await waiting is event


async def test_ready_reaches_the_listeners_of_each_process_once(manager: EventManager) -> None:
    heard: list[int] = []

    @manager.listen(hikari.ShardReadyEvent)
    async def on_ready(event: hikari.ShardReadyEvent) -> None:
        heard.append(event.shard.id)

    assert manager.types_for_everyone() == {"READY", "USER_UPDATE"}
    copy(manager, "READY", READY)
    handling = await handle(manager, "READY", READY)
    await asyncio.sleep(0)
    assert heard == [0]
    assert handling.failure is None
    await handle(manager, "READY", READY, seq=2)
    copy(manager, "READY", READY, seq=2)
    await asyncio.sleep(0)
    assert heard == [0, 0]


async def test_what_is_remembered_counts_for_a_wait_within(manager: EventManager) -> None:
    with manager.waiters.remembering(hikari.MessageCreateEvent, lambda event: event.content == "hello"):
        copy(manager, "MESSAGE_CREATE", MESSAGE)
        assert (await manager.wait_for(hikari.MessageCreateEvent, timeout=5)).content == "hello"
        with pytest.raises(TimeoutError):
            await manager.wait_for(hikari.MessageUpdateEvent, timeout=0.01)
    with pytest.raises(TimeoutError):
        await manager.wait_for(hikari.MessageCreateEvent, timeout=0.01)


async def test_what_hikari_s_voice_listens_to_is_waited_for(manager: EventManager, bot: Bot) -> None:
    heard: list[hikari.VoiceEvent] = []

    class Voice(type(bot.voice)):  # type: ignore[misc]
        async def on_voice(self, event: hikari.VoiceEvent) -> None:
            heard.append(event)

    voice = Voice(bot, manager.waiters)
    manager.subscribe(hikari.VoiceEvent, voice.on_voice)
    assert manager.wanted_types() == frozenset()
    copy(manager, "VOICE_SERVER_UPDATE", {"token": "t", "guild_id": "5", "endpoint": "e:1"})
    await asyncio.sleep(0)
    assert [event.guild_id for event in heard] == [5]
    manager.unsubscribe(hikari.VoiceEvent, voice.on_voice)
    assert not manager.hears("VOICE_SERVER_UPDATE")


async def test_an_event_that_was_made_with_the_cache_is_the_one_that_a_waiter_gets(
    manager: EventManager, bot: Bot
) -> None:
    waiting = wait_for_message(manager, "made")
    await asyncio.sleep(0)
    event = bot.event_factory.deserialize_message_create_event(shard(), {**MESSAGE, "content": "made"})
    manager.take_copy(frame("MESSAGE_CREATE", MESSAGE), shard(), event)
    assert await waiting is event


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


async def test_who_comes_later_and_lacks_the_intent_is_warned_as_by_hikari(manager: EventManager) -> None:
    manager.know_intents(hikari.Intents.GUILD_MESSAGES)
    with pytest.warns(hikari.MissingIntentWarning, match="MemberCreateEvent"):
        manager.subscribe(hikari.MemberCreateEvent, ignore)
    with pytest.warns(hikari.MissingIntentWarning, match="MemberDeleteEvent"), pytest.raises(TimeoutError):
        await manager.wait_for(hikari.MemberDeleteEvent, timeout=0.01)


def test_a_listener_that_lacks_its_intent_gets_a_sentence(manager: EventManager) -> None:
    manager.subscribe(hikari.MemberCreateEvent, ignore)
    manager.subscribe(hikari.GuildMessageCreateEvent, ignore)
    sentences = list(manager.missing_intents(hikari.Intents.GUILD_MESSAGES))
    assert len(sentences) == 1
    assert "MemberCreateEvent" in sentences[0]
    assert "GUILD_MEMBERS" in sentences[0]
