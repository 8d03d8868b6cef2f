"""Gateway commands: sent as they are, within Discord's limits, refused with a reason beyond them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eventbus import gateway_payloads
from eventbus.messages import CommandSent, ErrorCode, Failure, PresenceRecord
from gateway_workers.send_window import HEARTBEAT_RESERVE, LIMIT, MARGIN_S, WINDOW_S
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
    rig.assert_no_violations()


async def test_all_members_of_a_guild_are_asked_for_once_in_30_s_also_over_a_new_connection(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    await guilds_here(rig, session)
    guild = str(
        orjson.loads(rig.of_type("GUILD_CREATE")[1].body)["d"]["id"]
    )  # another test asks for those of the first
    request = {"guild_id": guild, "query": "", "limit": 0}
    assert isinstance(await shard.send_command(8, request), CommandSent)
    rig.sim.fault("drop", session=session)
    await rig.connected(shard, established=2)
    failure = await shard.send_command(8, request)
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.RATE_LIMITED
    assert failure.retry_after_s is not None
    assert 0 < failure.retry_after_s <= 31
    assert isinstance(await shard.send_command(8, request | {"query": "a", "limit": 3}), CommandSent)
    await eventually(lambda: len(received(rig, session, 8)) == 2)
    assert rig.of_type("RATE_LIMITED") == []
    rig.assert_no_violations()


async def test_a_member_request_that_was_not_sent_counts_for_nothing(rig: Rig) -> None:
    rig.permits.is_open.clear()
    shard = rig.start()
    request = {"guild_id": "0", "query": "", "limit": 0}
    codes = {getattr(await shard.send_command(8, request), "code", None) for _ in range(2)}
    assert codes == {ErrorCode.NOT_READY}
    rig.permits.is_open.set()


@pytest.mark.parametrize("op", [31, 43])
async def test_the_newer_commands_pass_too(rig: Rig, op: int) -> None:
    shard, session = await rig.start_connected()
    guild = await guilds_here(rig, session)
    d = {"guild_ids": [guild]} if op == 31 else {"guild_id": guild, "fields": ["status"]}
    assert isinstance(await shard.send_command(op, d), CommandSent)
    await eventually(lambda: received(rig, session, op) == [d])
    rig.assert_no_violations()


EMPTY_ACTIVITY_BYTES = len('{"name":"","type":0}')


def presence_of(size: int) -> dict[str, Any]:
    """An op 3 payload of exactly `size` bytes."""
    d: dict[str, Any] = {"since": None, "activities": [], "status": "online", "afk": False}
    while (missing := size - len(gateway_payloads.encode_payload(3, d))) > 0:
        if d["activities"]:
            missing -= 1  # a comma
        name = "x" * max(min(missing - EMPTY_ACTIVITY_BYTES, 60), 1)
        d["activities"].append({"name": name, "type": 0})
        if 0 < size - len(gateway_payloads.encode_payload(3, d)) < EMPTY_ACTIVITY_BYTES + 2:
            d["activities"][-1]["name"] += "x" * (size - len(gateway_payloads.encode_payload(3, d)))
    assert len(gateway_payloads.encode_payload(3, d)) == size
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
    before = rig.heartbeats()
    shard, session = await rig.start_connected()
    results = [await shard.send_command(3, presence_of(200)) for _ in range(LIMIT)]
    refused = [result for result in results if isinstance(result, Failure)]
    beats = rig.heartbeats() - before
    assert LIMIT - HEARTBEAT_RESERVE - 1 - beats <= len(results) - len(refused) < LIMIT - HEARTBEAT_RESERVE
    for failure in refused:
        assert failure.code is ErrorCode.RATE_LIMITED
        assert failure.retry_after_s is not None
        assert 50 < failure.retry_after_s <= WINDOW_S + MARGIN_S
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


WRONG: list[tuple[int, dict[str, Any], str]] = [
    (3, {"since": None, "activities": [], "status": "busy", "afk": False}, "status"),
    (3, {"activities": [], "status": "online", "afk": False}, "since"),
    (3, {"since": 1.5, "activities": [], "status": "online", "afk": False}, "since"),
    (3, {"since": None, "activities": {}, "status": "online", "afk": False}, "activities"),
    (3, {"since": None, "activities": [{"name": "x" * 129, "type": 0}], "status": "idle", "afk": False}, "name"),
    (4, {"guild_id": "g", "channel_id": None}, "guild_id"),
    (4, {"guild_id": "1", "channel_id": True}, "channel_id"),
    (4, {"guild_id": "1", "channel_id": None, "volume": 3}, "volume"),
    (8, {"guild_id": "1"}, "query"),
    (8, {"guild_id": "1", "query": "", "limit": "0"}, "limit"),
    (8, {"guild_id": "1", "user_ids": ["1"] * 101}, "user_ids"),
    (8, {"guild_id": "1", "query": "a", "limit": 1, "nonce": "n" * 33}, "nonce"),
    (31, {"guild_ids": "1"}, "guild_ids"),
    (31, {"guild_ids": ["1", None]}, "guild_ids.1"),
    (43, {"guild_id": "1", "fields": ["name"]}, "fields.0"),
    (43, {"guild_id": "1", "fields": "status"}, "fields"),
]


@pytest.mark.parametrize(("op", "d", "field"), WRONG)
async def test_what_discord_could_not_decode_is_refused_with_the_name_of_the_field(
    rig: Rig, op: int, d: dict[str, Any], field: str
) -> None:
    shard, session = await rig.start_connected()
    failure = await shard.send_command(op, d)
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.BAD_REQUEST
    assert field in failure.message
    assert received(rig, session, op) == []
    rig.assert_no_violations()


async def test_a_guild_of_another_shard_is_refused(rig: Rig) -> None:
    shard, session = await rig.start_connected(shard=1, shard_count=2)
    failure = await shard.send_command(4, {"guild_id": str(2 << 22), "channel_id": None})
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.BAD_REQUEST
    assert "shard 0" in failure.message
    assert received(rig, session, 4) == []


# The presence that is remembered


def set_presence(rig: Rig, offset: int, **fields: Any) -> None:
    rig.presences.take(PresenceRecord(d=fields), offset)


def identified(rig: Rig) -> list[Any]:
    """The presences of all Identifies so far; a payload has no session before READY."""
    return [one["d"].get("presence") for one in rig.sim.get("/received") if one["op"] == 2]


async def test_a_session_begins_with_the_presence_that_is_remembered(rig: Rig) -> None:
    set_presence(rig, 0, status="dnd")
    before = len(identified(rig))
    shard, session = await rig.start_connected()
    wanted = {"since": None, "activities": [], "status": "dnd", "afk": False}
    assert identified(rig)[before:] == [wanted]
    assert not shard.is_presence_due
    rig.sim.fault("invalid_session", session=session)
    again = await rig.connected(shard, established=2)
    assert again != session
    assert identified(rig)[before:] == [wanted, wanted]
    rig.assert_no_violations()


async def test_a_session_without_a_remembered_presence_names_none(rig: Rig) -> None:
    before = len(identified(rig))
    shard, _ = await rig.start_connected()
    assert identified(rig)[before:] == [None]
    assert not shard.is_presence_due


async def test_a_presence_that_changed_while_nobody_could_send_it_comes_after_the_resume(rig: Rig) -> None:
    first, session = await rig.start_connected()
    given = await rig.hand_over(first)
    assert given is not None
    set_presence(rig, 0, status="idle")
    shard, resumed = await rig.start_connected(given)
    assert resumed == session
    assert shard.is_presence_due
    assert await shard.show_presence() == CommandSent(shard=0)
    await eventually(lambda: [d["status"] for d in received(rig, session, 3)] == ["idle"])
    assert not shard.is_presence_due
    assert await shard.show_presence() == CommandSent(shard=0)
    await shard.send_command(31, {"guild_ids": [await guilds_here(rig, session)]})
    await eventually(lambda: received(rig, session, 31))
    assert len(received(rig, session, 3)) == 1, "what is shown is not sent again"
    rig.assert_no_violations()


async def test_a_presence_beyond_the_limit_waits_and_stays_due(rig: Rig) -> None:
    shard, _ = await rig.start_connected()
    for _ in range(LIMIT):
        await shard.send_command(3, presence_of(200))
    set_presence(rig, 0, status="idle")
    failure = await shard.show_presence()
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.RATE_LIMITED
    assert shard.is_presence_due


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
