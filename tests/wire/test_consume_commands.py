"""Gateway commands from a handler to whoever holds the shard, and every answer that can come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from eventbus import messages
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig
from tests.wire.shard_holder import Holder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aio_pika.abc import AbstractChannel

GUILD = str(5 << 22)


@pytest.fixture(scope="module")
def fleet(broker_url: str) -> Iterator[consume_rig.Fleet]:
    with consume_rig.fleet(broker_url) as running:
        yield running


@pytest.fixture
async def rig(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    async with consume_rig.rig(fleet, observer, tmp_path) as tested:
        await tested.started()
        yield tested


async def result(rig: Rig, word: str) -> dict[str, Any]:
    await rig.say(word)
    return (await rig.until_recorded("command", word=word))[0]


async def test_commands_reach_the_holder_with_the_body_that_discord_wants(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(0, 1)
    for word in ("presence", "voice", "members", "channels"):
        assert (await result(rig, word))["error"] is None
    presence, voice, members, channels = holder.commands
    assert (presence.shard, presence.op) == (0, 3)
    assert presence.d == {"since": None, "activities": [], "status": "idle", "afk": False}
    assert (voice.shard, voice.op) == (1, 4)
    assert voice.d == {"guild_id": GUILD, "channel_id": "77", "self_mute": False, "self_deaf": True}
    assert (members.shard, members.op) == (1, 8)
    assert members.d == {"guild_id": GUILD, "query": "a", "limit": 3, "nonce": "n"}
    assert (channels.shard, channels.op) == (1, 43)
    assert channels.d == {"guild_id": GUILD, "fields": ["status"]}


async def test_a_presence_for_the_bot_reaches_every_shard(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(0, 1)
    assert (await result(rig, "everywhere"))["error"] is None
    assert sorted(command.shard for command in holder.commands) == [0, 1]


async def test_a_shard_that_nobody_holds_is_an_answer_at_once(rig: Rig) -> None:
    outcome = await result(rig, "presence")
    assert outcome["error"] == "NoHolderError"
    assert "no worker holds shard 0" in outcome["message"]


async def test_shards_that_failed_are_counted(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(1)
    outcome = await result(rig, "everywhere")
    assert outcome["error"] == "SomeShardsFailedError"
    assert "1 of 2 shards" in outcome["message"]
    assert [command.shard for command in holder.commands] == [1]


async def test_a_refusal_says_when_to_try_again(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda _: messages.Failure(
        code=messages.ErrorCode.RATE_LIMITED, message="too many sends", retry_after_s=12.5
    )
    await holder.hold(0)
    outcome = await result(rig, "presence")
    assert (outcome["error"], outcome["retry_after_s"]) == ("CommandRejectedError", 12.5)
    assert "too many sends" in outcome["message"]


@pytest.mark.parametrize(
    ("code", "error"),
    [(messages.ErrorCode.NO_HOLDER, "NoHolderError"), (messages.ErrorCode.TIMED_OUT, "CommandTimeoutError")],
)
async def test_a_failure_of_the_holder_is_a_typed_error(rig: Rig, code: messages.ErrorCode, error: str) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda _: messages.Failure(code=code, message="as told")
    await holder.hold(0)
    assert (await result(rig, "presence"))["error"] == error


async def test_an_answer_that_cannot_be_read_is_a_typed_error(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    holder.answer = lambda _: messages.Poke()
    await holder.hold(0)
    assert (await result(rig, "presence"))["error"] == "CommandError"


async def test_a_payload_that_is_too_large_is_never_sent(rig: Rig) -> None:
    holder = Holder(rig.observer, rig.names)
    await holder.hold(0)
    outcome = await result(rig, "big")
    assert outcome["error"] == "CommandTooLargeError"
    assert "4096" in outcome["message"]
    assert holder.commands == []


async def test_no_answer_in_time_leaves_the_outcome_open(rig: Rig) -> None:
    channel = rig.observer
    exchange = await channel.declare_exchange(rig.names.shard, type="direct", durable=True)
    silent = await channel.declare_queue(exclusive=True, auto_delete=True)
    await silent.bind(exchange, "0")
    assert (await result(rig, "presence"))["error"] == "CommandTimeoutError"
