"""Gateway commands: presence, voice, members, soundboard, channel info."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import ALL_INTENTS, GatewayClient


@contextlib.asynccontextmanager
async def _client(sim: Sim, **identify: Any) -> AsyncIterator[tuple[GatewayClient, str]]:
    """A client past READY, and the first of its guilds."""
    async with GatewayClient(sim.gateway_url, compress="zstd-stream") as client:
        ready = await client.start(**identify)
        yield client, ready["guilds"][0]["id"]


async def test_a_presence_update_is_recorded_and_keeps_the_connection(sim: Sim) -> None:
    presence = {"since": None, "activities": [{"name": "x", "type": 0}], "status": "dnd", "afk": False}
    async with _client(sim) as (client, _):
        await client.send(3, presence)
        await client.beat()
    (received,) = [entry for entry in sim.get("/received") if entry["op"] == 3]
    assert (received["d"], received["shard"], received["session"]) == (presence, 0, client.session_id)


async def test_joining_a_voice_channel_gets_state_and_server_and_leaving_only_state(sim: Sim) -> None:
    async with _client(sim) as (client, guild):
        await client.send(4, {"guild_id": guild, "channel_id": "42", "self_mute": True, "self_deaf": False})
        state = (await client.until(t="VOICE_STATE_UPDATE"))["d"]
        assert (state["guild_id"], state["channel_id"], state["self_mute"]) == (guild, "42", True)
        assert state["user_id"] == state["member"]["user"]["id"]
        server = await client.next()
        assert (server["t"], server["d"]["guild_id"]) == ("VOICE_SERVER_UPDATE", guild)
        await client.send(4, {"guild_id": guild, "channel_id": None, "self_mute": False, "self_deaf": False})
        assert (await client.until(t="VOICE_STATE_UPDATE"))["d"]["channel_id"] is None
        await client.beat()
    assert sim.verdict()["by_type"]["VOICE_SERVER_UPDATE"] == 1


async def test_all_members_of_a_large_guild_come_in_chunks_and_a_second_time_is_rate_limited(
    start_sim: StartSim,
) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "1")
    async with _client(sim) as (client, guild):
        await client.send(8, {"guild_id": guild, "query": "", "limit": 0, "nonce": "n1", "presences": True})
        chunks = [(await client.until(t="GUILD_MEMBERS_CHUNK"))["d"]]
        while chunks[-1]["chunk_index"] + 1 < chunks[-1]["chunk_count"]:
            chunks.append((await client.until(t="GUILD_MEMBERS_CHUNK"))["d"])
        assert [chunk["chunk_index"] for chunk in chunks] == list(range(len(chunks)))
        assert {chunk["nonce"] for chunk in chunks} == {"n1"}
        members = [member["user"]["id"] for chunk in chunks for member in chunk["members"]]
        assert len(members) == len(set(members)) > 1000
        assert len(chunks[0]["members"]) == 1000 == len(chunks[0]["presences"])
        await client.send(8, {"guild_id": guild, "query": "", "limit": 0, "nonce": "n2"})
        limited = (await client.until(t="RATE_LIMITED"))["d"]
        assert limited["opcode"] == 8
        assert 25 < limited["retry_after"] <= 30
        assert limited["meta"] == {"guild_id": guild, "nonce": "n2"}
    assert sim.verdict()["violation_count"] == 0


async def test_single_members_are_found_by_id_and_by_name(sim: Sim) -> None:
    async with _client(sim) as (client, guild):
        await client.send(8, {"guild_id": guild, "query": "", "limit": 0})
        member = (await client.until(t="GUILD_MEMBERS_CHUNK"))["d"]["members"][1]["user"]
        await client.send(8, {"guild_id": guild, "user_ids": [member["id"], "9"], "nonce": "x" * 33})
        chunk = (await client.until(t="GUILD_MEMBERS_CHUNK"))["d"]
        assert [found["user"]["id"] for found in chunk["members"]] == [member["id"]]
        assert chunk["not_found"] == ["9"]
        assert "nonce" not in chunk
        await client.send(8, {"guild_id": guild, "query": member["username"].upper(), "limit": 1})
        chunk = (await client.until(t="GUILD_MEMBERS_CHUNK"))["d"]
        assert [found["user"]["id"] for found in chunk["members"]] == [member["id"]]


async def test_without_the_members_intent_all_members_are_only_the_bot(sim: Sim) -> None:
    async with _client(sim, intents=ALL_INTENTS & ~(1 << 1)) as (client, guild):
        await client.send(8, {"guild_id": guild, "query": "", "limit": 0})
        members = (await client.until(t="GUILD_MEMBERS_CHUNK"))["d"]["members"]
        assert [member["user"].get("bot") for member in members] == [True]


async def test_soundboard_sounds_come_per_guild(sim: Sim) -> None:
    async with _client(sim) as (client, guild):
        await client.send(31, {"guild_ids": [guild]})
        sounds = (await client.until(t="SOUNDBOARD_SOUNDS"))["d"]
        assert sounds["guild_id"] == guild
        assert sounds["soundboard_sounds"][0]["guild_id"] == guild


async def test_channel_info_holds_the_asked_fields_of_voice_channels(sim: Sim) -> None:
    async with _client(sim) as (client, guild):
        await client.send(43, {"guild_id": guild, "fields": ["status"]})
        info = (await client.until(t="CHANNEL_INFO"))["d"]
        assert info["guild_id"] == guild
        assert info["channels"]
        assert all(set(channel) == {"id", "status"} for channel in info["channels"])


@pytest.mark.parametrize(
    ("op", "d"),
    [
        (3, {"status": "sleepy", "activities": []}),
        (3, {"status": "idle", "since": "now"}),
        (4, {"guild_id": "x", "channel_id": None}),
        (4, None),
        (8, {"query": "", "limit": 0}),
        (8, {"guild_id": "GUILD"}),
        (8, {"guild_id": "GUILD", "user_ids": [str(n) for n in range(101)]}),
        (8, {"guild_id": "GUILD", "query": 5}),
        (31, {"guild_ids": "GUILD"}),
        (43, {"guild_id": "GUILD"}),
    ],
)
async def test_a_malformed_command_is_4002(shared_sim: Sim, op: int, d: Any) -> None:
    before = len(shared_sim.rules_broken())
    async with _client(shared_sim) as (client, guild):
        filled = {key: guild if value == "GUILD" else value for key, value in d.items()} if d else d
        await client.send(op, filled)
        assert await client.close_code() == 4002
    assert len(shared_sim.rules_broken(after=before)) == 1


async def test_a_guild_of_another_shard_is_a_violation_without_an_answer(sim: Sim) -> None:
    async with _client(sim) as (_, guild), GatewayClient(sim.gateway_url) as other:
        shard = 1 - (int(guild) >> 22) % 2
        await other.start(shard=(shard, 2))
        for op, d in ((4, {"channel_id": None}), (8, {"query": "", "limit": 0}), (43, {"fields": []})):
            await other.send(op, {"guild_id": guild, **d})
        await other.beat()
    assert sim.rules_broken() == ["guild_not_on_shard"] * 3
