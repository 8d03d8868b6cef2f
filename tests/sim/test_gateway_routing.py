"""Who gets which event: shards, shard counts, intents, parallel sessions."""

from __future__ import annotations

import asyncio

from tests.sim.conftest import Sim
from tests.sim.gateway_client import GatewayClient


async def test_sessions_of_the_same_shard_and_of_another_count_each_get_the_event(sim: Sim) -> None:
    async with (
        GatewayClient(sim.gateway_url) as one,
        GatewayClient(sim.gateway_url) as twin,
        GatewayClient(sim.gateway_url) as even,
        GatewayClient(sim.gateway_url) as odd,
    ):
        ready = await one.start()
        await twin.start()
        await even.start(shard=(0, 2))
        await odd.start(shard=(1, 2))
        guild = next(g["id"] for g in ready["guilds"] if int(g["id"]) >> 22 & 1)
        message = sim.post("/message", {"content": "hello", "guild_id": guild})
        assert message["delivered"] == 3
        for client in (one, twin, odd):
            assert (await client.until(t="MESSAGE_CREATE"))["d"]["id"] == message["id"]
    rows = [row for row in sim.ledger() if row["id"] == message["id"]]
    assert sorted((row["shard"], row["shard_count"]) for row in rows) == [(0, 1), (0, 1), (1, 2)]


async def test_traffic_reaches_every_layout_with_the_same_events(sim: Sim) -> None:
    async with (
        GatewayClient(sim.gateway_url) as one,
        GatewayClient(sim.gateway_url) as even,
        GatewayClient(sim.gateway_url) as odd,
    ):
        await one.start()
        await even.start(shard=(0, 2))
        await odd.start(shard=(1, 2))
        sim.wait(lambda: not any(s["guilds_pending"] for s in sim.get("/sessions")), "all guilds are sent")
        sim.post("/traffic", {"rate": "max", "mix": "messages", "total": 300})
        await asyncio.gather(*(client.until(t="MESSAGE_CREATE") for client in (one, even, odd)))
        sim.wait(lambda: sim.get("/traffic")["left"] == 0, "all traffic is sent")
        rows = [row for row in sim.ledger() if row["type"] == "MESSAGE_CREATE"]
    whole = {row["id"] for row in rows if row["shard_count"] == 1}
    halves = [row["id"] for row in rows if row["shard_count"] == 2]
    assert len(whole) == 300
    assert sorted(halves) == sorted(whole)
    assert all(int(row["guild"]) >> 22 & 1 == row["shard"] for row in rows if row["shard_count"] == 2)


async def test_events_without_a_guild_come_on_shard_0_only(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as zero, GatewayClient(sim.gateway_url) as one:
        await zero.start(shard=(0, 2))
        await one.start(shard=(1, 2))
        answer = sim.post("/dispatch", {"type": "MESSAGE_CREATE", "data": {"id": "77"}})
        assert answer == {"id": "77", "delivered": 1}
        assert (await zero.until(t="MESSAGE_CREATE"))["d"] == {"id": "77"}


async def test_intents_filter_events(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start(intents=1 << 9)
        sim.post("/dispatch", {"type": "PRESENCE_UPDATE", "data": {}, "intents": 1 << 8})
        sim.post("/dispatch", {"type": "MESSAGE_CREATE", "data": {"id": "1"}, "intents": 1 << 9})
        payload = await client.next()
        assert (payload["t"], payload["s"]) == ("MESSAGE_CREATE", 2)
    assert [row["type"] for row in sim.ledger()] == ["READY", "MESSAGE_CREATE"]


async def test_a_total_over_all_shards_is_sent_exactly(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as zero, GatewayClient(sim.gateway_url) as one:
        await zero.start(shard=(0, 2))
        await one.start(shard=(1, 2))
        sim.post("/traffic", {"rate": 2000, "mix": "presences", "total": 501})
        sim.wait(lambda: sim.get("/traffic")["left"] == 0, "all traffic is sent")
        assert sim.verdict()["by_type"]["PRESENCE_UPDATE"] == 501
