"""Gateway commands from a handler to whoever holds the shard, and every answer that can come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aio_pika import Message

from eventbus import messages
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig
from tests.wire.shard_holder import Holder, stored_presences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aio_pika.abc import AbstractChannel

GUILD = str(5 << 22)
SHORT_S = "2"


@pytest.fixture
async def rig(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    async with consume_rig.rig(fleet, observer, tmp_path) as tested:
        await tested.started(GW_COMMAND_TIMEOUT=SHORT_S)
        yield tested
        await observer.queue_delete(tested.names.presence)


@pytest.fixture
async def patient_rig(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    async with consume_rig.rig(fleet, observer, tmp_path) as tested:
        await tested.started(GW_COMMAND_TIMEOUT="60")
        yield tested


async def result(rig: Rig, word: str) -> dict[str, Any]:
    await rig.say(word)
    return (await rig.until_recorded("command", word=word))[0]


async def test_commands_reach_the_holder_with_the_body_that_discord_wants(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(0, 1)
    for word in ("voice", "members", "channels", "sounds"):
        assert (await result(rig, word))["error"] is None
    voice, members, channels, *sounds = holder.commands
    assert (voice.shard, voice.op) == (1, 4)
    assert voice.d == {"guild_id": GUILD, "channel_id": "77", "self_mute": False, "self_deaf": True}
    assert (members.shard, members.op) == (1, 8)
    assert members.d == {"guild_id": GUILD, "query": "a", "limit": 3, "nonce": "n"}
    assert (channels.shard, channels.op) == (1, 43)
    assert channels.d == {"guild_id": GUILD, "fields": ["status"]}
    asked = {command.shard: command.d for command in sounds if command.op == 31}
    assert asked == {0: {"guild_ids": [str(4 << 22)]}, 1: {"guild_ids": [GUILD, str(7 << 22)]}}


async def test_a_presence_is_stored_and_then_its_shard_is_asked_to_show_it(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(0, 1)
    assert (await result(rig, "presence"))["error"] is None
    assert (await result(rig, "everywhere"))["error"] is None
    one, every = await stored_presences(rig.observer, rig.names, count=2)
    assert [(shown.shard, shown.record_id) for shown in holder.shown[:1]] == [(0, one.message_id)]
    assert sorted((shown.shard, shown.record_id) for shown in holder.shown[1:]) == [
        (0, every.message_id),
        (1, every.message_id),
    ]
    first, second = (messages.PresenceRecord.model_validate_json(stored.body) for stored in (one, every))
    assert (first.shards, first.d) == ((0,), {"status": "idle"})
    assert (second.shards, second.d["activities"][0]["name"]) == (None, "chess")


async def test_a_shard_that_nobody_holds_is_a_typed_error_at_the_deadline(rig: Rig) -> None:
    outcome = await result(rig, "voice")
    assert outcome["error"] == "NoHolderError"
    assert "no worker holds shard 1" in outcome["message"]


async def test_a_command_waits_for_the_next_holder(patient_rig: Rig) -> None:
    await patient_rig.say("voice")
    await patient_rig.until_recorded("message", content="voice")
    assert patient_rig.recorded("command") == []
    holder = Holder(patient_rig.observer, patient_rig.names)
    answers: list[messages.Message] = [
        messages.Failure(code=code, message="as told", retry_after_s=0.1)
        for code in (messages.ErrorCode.NOT_READY, messages.ErrorCode.NO_HOLDER, messages.ErrorCode.TIMED_OUT)
    ]
    holder.answer = lambda command: answers.pop(0) if answers else messages.CommandSent(shard=command.shard)
    await holder.hold(1)
    (outcome,) = await patient_rig.until_recorded("command")
    assert outcome["error"] is None
    assert len(holder.commands) == 4


async def test_a_presence_needs_no_shard_to_be_up(rig: Rig) -> None:
    """A handler of StartedEvent sets it while the fleet still identifies: each shard begins with what is stored."""
    holder = Holder(rig.observer, rig.names)
    await holder.hold(1)
    assert (await result(rig, "everywhere"))["error"] is None
    assert [shown.shard for shown in holder.shown] == [1]
    assert len(await stored_presences(rig.observer, rig.names, count=1)) == 1


async def test_shards_that_failed_are_counted_and_the_presence_is_stored_nevertheless(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda command: (
        messages.CommandSent(shard=command.shard)
        if command.shard
        else messages.Failure(code=messages.ErrorCode.RATE_LIMITED, message="too many sends", retry_after_s=12.5)
    )
    await holder.hold(0, 1)
    outcome = await result(rig, "everywhere")
    assert outcome["error"] == "SomeShardsFailedError"
    assert "1 of 2 shards" in outcome["message"]
    assert sorted(shown.shard for shown in holder.shown) == [0, 1]
    assert len(await stored_presences(rig.observer, rig.names, count=1)) == 1


async def test_a_rate_limit_says_when_to_try_again_and_is_not_waited_for(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda _: messages.Failure(
        code=messages.ErrorCode.RATE_LIMITED, message="too many sends", retry_after_s=12.5
    )
    await holder.hold(1)
    outcome = await result(rig, "voice")
    assert (outcome["error"], outcome["retry_after_s"]) == ("CommandRateLimitedError", 12.5)
    assert "too many sends" in outcome["message"]
    assert len(holder.commands) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (messages.ErrorCode.NO_HOLDER, "NoHolderError"),
        (messages.ErrorCode.NOT_READY, "ShardNotConnectedError"),
        (messages.ErrorCode.TIMED_OUT, "CommandTimeoutError"),
        (messages.ErrorCode.BAD_REQUEST, "InvalidCommandError"),
        (messages.ErrorCode.INTERNAL, "CommandRejectedError"),
    ],
)
async def test_a_failure_of_the_holder_is_a_typed_error(rig: Rig, code: messages.ErrorCode, error: str) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda _: messages.Failure(code=code, message="as told")
    await holder.hold(1)
    assert (await result(rig, "voice"))["error"] == error


async def test_an_answer_that_cannot_be_read_is_a_typed_error(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda _: messages.Poke()
    await holder.hold(1)
    assert (await result(rig, "voice"))["error"] == "CommandError"


@pytest.mark.parametrize(
    ("word", "error", "sentence"),
    [("big", "CommandTooLargeError", "4096"), ("long", "InvalidCommandError", "name: String should have at most 128")],
)
async def test_what_discord_would_refuse_is_never_sent(rig: Rig, word: str, error: str, sentence: str) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(0, 1)
    outcome = await result(rig, word)
    assert outcome["error"] == error
    assert sentence in outcome["message"]
    assert (holder.commands, holder.shown) == ([], [])


async def test_no_answer_in_time_leaves_the_outcome_open(rig: Rig) -> None:
    channel = rig.observer
    exchange = await channel.declare_exchange(rig.names.shard, type="direct", durable=True)
    silent = await channel.declare_queue(exclusive=True, auto_delete=True)
    await silent.bind(exchange, "1")
    assert (await result(rig, "voice"))["error"] == "CommandTimeoutError"


async def test_the_shards_say_what_their_workers_tell_everyone(rig: Rig) -> None:
    exchange = await rig.observer.declare_exchange(rig.names.control, type="topic", durable=True)
    live = messages.LiveShard(shard=1, fencing_token=2**62, state="connected", latency_s=0.125)
    told = messages.ShardsStatus(worker_id="w", shards=(live,))

    async def is_connected() -> bool:
        await exchange.publish(Message(messages.encode(told)), told.kind)
        count = len(rig.recorded("shards"))
        await rig.say("look")
        seen = await rig.until_recorded("shards", count=count + 1)
        return bool(seen[-1]["shards"]["1"][1])

    await eventually(is_connected)
    seen = rig.recorded("shards")[-1]
    (_, is_other_connected, *_), (alive, connected, latency, shard_count, intents, user) = (
        seen["shards"]["0"],
        seen["shards"]["1"],
    )
    assert (alive, connected, latency, shard_count, seen["count"]) == (True, True, 0.125, 2, 2)
    assert not is_other_connected
    assert seen["latency"] == 0.125, "of the shards whose latency is known"
    assert intents > 0
    assert user == seen["me"]
