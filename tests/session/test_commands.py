"""Gateway commands: sent as they are, within Discord's limits, refused with a reason beyond them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eventbus.messages import CommandSent, ErrorCode, Failure
from gateway_workers import payloads
from gateway_workers.send_window import HEARTBEAT_RESERVE, LIMIT
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.session.rig import Rig


def received(rig: Rig, session: str, op: int) -> list[Any]:
    return [one["d"] for one in rig.sim.get("/received") if one["session"] == session and one["op"] == op]


def guild_id(rig: Rig) -> str:
    return str(orjson.loads(rig.of_type("GUILD_CREATE")[0].body)["d"]["id"])


async def guilds_here(rig: Rig, session: str) -> str:
    await eventually(lambda: len(rig.of_type("GUILD_CREATE")) == 6)
    await rig.all_arrived(session)
    return guild_id(rig)


async def test_a_presence_reaches_discord_as_it_is(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    presence = {"since": None, "activities": [{"name": "tests", "type": 0}], "status": "online", "afk": False}
    assert await shard.send_command(3, presence) == CommandSent(shard=0)
    await eventually(lambda: received(rig, session, 3) == [presence])
    rig.assert_no_violations()


async def test_a_voice_state_reaches_discord_and_its_answers_come_back(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    guild = await guilds_here(rig, session)
    voice = {"guild_id": guild, "channel_id": None, "self_mute": False, "self_deaf": False}
    assert isinstance(await shard.send_command(4, voice), CommandSent)
    await eventually(lambda: received(rig, session, 4) == [voice])
    await eventually(lambda: rig.of_type("VOICE_STATE_UPDATE"))
    rig.assert_no_violations()


async def test_members_are_asked_for_and_come_in_chunks_with_the_nonce(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    guild = await guilds_here(rig, session)
    request = {"guild_id": guild, "query": "", "limit": 0, "nonce": "n-1"}
    assert isinstance(await shard.send_command(8, request), CommandSent)
    await eventually(lambda: rig.of_type("GUILD_MEMBERS_CHUNK"))
    await rig.all_arrived(session)
    chunks = [orjson.loads(message.body)["d"] for message in rig.of_type("GUILD_MEMBERS_CHUNK")]
    assert [chunk["chunk_index"] for chunk in chunks] == list(range(chunks[0]["chunk_count"]))
    assert {(chunk["guild_id"], chunk["nonce"]) for chunk in chunks} == {(guild, "n-1")}
    await shard.send_command(8, request)
    await eventually(lambda: rig.of_type("RATE_LIMITED"))
    assert orjson.loads(rig.of_type("RATE_LIMITED")[0].body)["d"]["opcode"] == 8
    rig.assert_no_violations()


@pytest.mark.parametrize("op", [31, 43])
async def test_the_newer_commands_pass_too(rig: Rig, op: int) -> None:
    shard, session = await rig.start_connected()
    guild = await guilds_here(rig, session)
    d = {"guild_ids": [guild]} if op == 31 else {"guild_id": guild, "fields": ["status"]}
    assert isinstance(await shard.send_command(op, d), CommandSent)
    await eventually(lambda: received(rig, session, op) == [d])
    rig.assert_no_violations()


def presence_of(size: int) -> dict[str, Any]:
    """An op 3 payload of exactly `size` bytes."""
    d: dict[str, Any] = {"since": None, "activities": [{"name": "", "type": 0}], "status": "online", "afk": False}
    d["activities"][0]["name"] = "x" * (size - len(payloads.command(3, d)))
    assert len(payloads.command(3, d)) == size
    return d


async def test_4096_bytes_are_sent_and_4097_refused(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    assert isinstance(await shard.send_command(3, presence_of(4096)), CommandSent)
    await eventually(lambda: received(rig, session, 3))
    failure = await shard.send_command(3, presence_of(4097))
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.BAD_REQUEST
    assert "4097 bytes" in failure.message
    assert rig.session(session)["state"] == "connected"
    rig.assert_no_violations()


async def test_beyond_120_sends_a_minute_commands_are_refused_with_a_wait_and_heartbeats_go_on(
    beating_rig: Rig,
) -> None:
    rig = beating_rig
    shard, session = await rig.start_connected()
    results = [await shard.send_command(3, presence_of(200)) for _ in range(LIMIT)]
    refused = [result for result in results if isinstance(result, Failure)]
    assert LIMIT - HEARTBEAT_RESERVE - 3 <= len(results) - len(refused) < LIMIT - HEARTBEAT_RESERVE
    for failure in refused:
        assert failure.code is ErrorCode.RATE_LIMITED
        assert failure.retry_after_s is not None
        assert 50 < failure.retry_after_s <= 61
    before = rig.heartbeats()
    await eventually(lambda: rig.heartbeats() >= before + 3)
    assert rig.session(session)["state"] == "connected"
    rig.assert_no_violations()


async def test_a_new_connection_has_a_window_of_its_own(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    for _ in range(LIMIT):
        await shard.send_command(3, presence_of(200))
    rig.sim.fault("drop", session=session)
    await rig.connected(shard, established=2)
    assert isinstance(await shard.send_command(3, presence_of(200)), CommandSent)
    rig.assert_no_violations()


async def test_before_ready_a_command_is_not_sent_but_told_to_come_back(rig: Rig) -> None:
    rig.permits.is_open.clear()
    shard = rig.start()
    failure = await shard.send_command(3, presence_of(200))
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.NOT_READY
    assert failure.retry_after_s
    rig.permits.is_open.set()
    rig.sim.fault("missing_ready", seconds=5)
    await eventually(lambda: rig.counted("identifies") == 1)
    assert isinstance(await shard.send_command(3, presence_of(200)), Failure)


async def test_after_the_end_a_command_is_refused_too(rig: Rig) -> None:
    shard, _ = await rig.start_connected()
    await rig.hand_over(shard)
    failure = await shard.send_command(3, presence_of(200))
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.NOT_READY
