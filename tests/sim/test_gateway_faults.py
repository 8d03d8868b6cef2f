"""Every fault does what it says, to whom it says, and nothing else breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import GatewayClient, GatewayClosedError


@contextlib.asynccontextmanager
async def _two_shards(sim: Sim) -> AsyncIterator[tuple[GatewayClient, GatewayClient]]:
    """Clients of shards 0 and 1 of 2 whose guilds are through."""
    async with GatewayClient(sim.gateway_url) as zero, GatewayClient(sim.gateway_url) as one:
        for shard, client in enumerate((zero, one)):
            ready = await client.start(shard=(shard, 2))
            for _ in ready["guilds"]:
                await client.until(t="GUILD_CREATE")
        yield zero, one


async def test_drop_cuts_the_named_shard_only_and_keeps_its_session(sim: Sim) -> None:
    async with _two_shards(sim) as (zero, one):
        assert sim.fault("drop", shard=1) == {"touched": 1}
        assert await one.close_code() is None
        await zero.beat()
    assert {s["shard"]: s["ended_at"] for s in sim.get("/sessions")} == {0: None, 1: None}


@pytest.mark.parametrize(
    ("options", "ended"),
    [
        ({"code": 4000}, False),
        ({"code": 1000}, False),
        ({"code": 4008}, False),
        ({"code": 4009}, True),
        ({"code": 4007, "keep_session": True}, False),
        ({"code": 4001, "keep_session": False}, True),
        ({"code": 4014}, True),
    ],
)
async def test_close_sends_the_code_and_ends_the_session_only_where_discord_does(
    sim: Sim, options: dict[str, object], ended: bool
) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("close", **options)
        assert await client.close_code() == options["code"]
    sim.wait(lambda: sim.get("/connections") == [], "the connection is gone")
    assert sim.get("/sessions")[0]["state"] == ("ended" if ended else "disconnected")
    assert sim.verdict()["violation_count"] == 0


async def test_reconnect_is_op_7_and_before_hello_comes_in_its_place(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("reconnect")
        await client.until(op=7)
    sim.fault("reconnect", before_hello=True)
    async with GatewayClient(sim.gateway_url) as client:
        assert (await client.next())["op"] == 7
    async with GatewayClient(sim.gateway_url) as client:
        assert (await client.next())["op"] == 10


@pytest.mark.parametrize("resumable", [True, False])
async def test_invalid_session_is_op_9_and_resumable_if_it_says_so(sim: Sim, resumable: bool) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("invalid_session", resumable=resumable)
        assert (await client.until(op=9))["d"] is resumable
    async with GatewayClient(sim.resume_url) as again:
        await again.resume(client.session_id, 1)
        await (again.until(t="RESUMED") if resumable else again.until(op=9))


async def test_withheld_acks_come_back_when_the_faults_are_lifted(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("withhold_acks", seconds=60)
        await client.send(1, None)
        sim.post("/dispatch", {"type": "MARK", "data": {}})
        await client.until(t="MARK")
        sim.delete("/faults")
        await client.send(1, None)
        assert (await client.next())["op"] == 11
    assert sim.verdict()["gateway_commands"]["1"] == 2


async def test_a_stall_neither_reads_nor_sends_and_then_goes_on_in_order(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        began_at = time.monotonic()
        sim.fault("stall", seconds=3)
        sent = [sim.post("/message", {"content": str(n)})["id"] for n in range(5)]
        await client.send(1, None)
        assert "1" not in sim.verdict()["gateway_commands"]
        got = [(await client.until(t="MESSAGE_CREATE"))["d"]["id"] for _ in range(5)]
        assert got == sent
        assert time.monotonic() - began_at >= 2.9
        await client.until(op=11)


async def test_a_host_can_refuse_answer_503_and_hang_while_the_other_works(sim: Sim) -> None:
    sim.fault("resume_host", mode="refuse")
    with pytest.raises(aiohttp.ClientConnectorError):
        async with GatewayClient(sim.resume_url):
            pass
    sim.fault("resume_host", mode="503")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with GatewayClient(sim.resume_url):
            pass
    assert refused.value.status == 503
    sim.fault("resume_host", mode="hang")
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.3), GatewayClient(sim.resume_url):
            pass
    async with GatewayClient(sim.gateway_url) as client:
        assert (await client.next())["op"] == 10
    sim.delete("/faults")
    async with GatewayClient(sim.resume_url) as client:
        assert (await client.next())["op"] == 10


async def test_an_envelope_comes_in_the_wanted_order_also_on_later_connections(sim: Sim) -> None:
    sim.fault("envelope", order=["d", "op", "s", "t"])
    async with GatewayClient(sim.gateway_url) as client:
        await client.identify()
        ready = json.loads(await client.next_text())
        assert list(ready) == ["d", "op", "s", "t"]
        assert ready["t"] == "READY"
        sim.delete("/faults")
        sim.post("/dispatch", {"type": "MARK", "data": {}})
        assert list(await client.until(t="MARK")) == ["t", "s", "op", "d"]


async def test_an_unknown_event_takes_any_data(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("unknown_event", type="WHO_KNOWS", data=[1, {"t": "READY"}])
        assert (await client.until(t="WHO_KNOWS"))["d"] == [1, {"t": "READY"}]


async def test_duplicates_have_the_same_id_and_a_seq_of_their_own(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("duplicate", probability=1)
        sim.post("/traffic", {"rate": "max", "mix": "messages", "total": 10})
        came = [await client.until(t="MESSAGE_CREATE") for _ in range(20)]
    ids = [payload["d"]["id"] for payload in came]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == 10
    assert len({payload["s"] for payload in came}) == 20


async def test_a_slow_socket_sends_no_faster_than_it_may(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        ready = await client.start()
        for _ in ready["guilds"]:
            await client.until(t="GUILD_CREATE")
        sim.fault("slow_socket", bytes_per_s=40_000)
        began_at = time.monotonic()
        sim.post("/dispatch", {"type": "BIG", "data": "x" * 20_000})
        await client.until(t="BIG")
        assert 0.35 < time.monotonic() - began_at < 5
        sim.delete("/faults")
        sim.post("/dispatch", {"type": "BIG", "data": "x" * 2_000_000})
        await client.until(t="BIG")


async def test_resumes_are_refused_as_often_as_asked(sim: Sim) -> None:
    async with _two_shards(sim) as (zero, one):
        sim.fault("refuse_resume", count=1)
    for client, op in ((zero, 9), (one, 0)):
        async with GatewayClient(sim.resume_url) as again:
            await again.resume(client.session_id, 1)
            await again.until(op=op)
    assert sim.verdict()["resumes_refused"] == 1


async def test_a_missing_ready_leaves_the_identify_without_an_answer(sim: Sim) -> None:
    sim.fault("missing_ready", seconds=60)
    async with GatewayClient(sim.gateway_url) as client:
        await client.identify()
        await client.send(1, None)
        assert (await client.next())["op"] == 11
        assert sim.get("/sessions") == []
        sim.delete("/faults")
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
    assert sim.verdict()["identifies"] == 2


async def test_a_heartbeat_request_is_op_1_and_is_satisfied_by_a_heartbeat(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("heartbeat_request")
        await client.until(op=1)
        await client.beat()


async def test_expired_sessions_cannot_be_resumed_even_if_they_were_connected(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.fault("expire_sessions")
        await client.beat()
    async with GatewayClient(sim.resume_url) as again:
        await again.resume(client.session_id, 1)
        assert (await again.until(op=9))["d"] is False


@pytest.mark.parametrize("compress", ["", "zlib-stream", "zstd-stream"])
async def test_a_malformed_frame_comes_through_every_compression(sim: Sim, compress: str) -> None:
    async with GatewayClient(sim.gateway_url, compress=compress) as client:
        ready = await client.start()
        for _ in ready["guilds"]:
            await client.until(t="GUILD_CREATE")
        sim.fault("malformed_frame")
        assert await client.next_text() == b'{"t":"MESSAGE_CREATE","s":'
        await client.beat()


async def test_the_simulator_stops_with_a_close_frame(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.process.terminate()
        with pytest.raises(GatewayClosedError) as closed:
            await client.until(op=9)
    assert closed.value.code == 1001


async def test_a_client_that_falls_behind_its_replay_buffer_is_cut(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "0", "--replay-depth", "5")
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        for _ in range(40):
            sim.post("/dispatch", {"type": "BIG", "data": "x" * 1_000_000})
        sim.wait(lambda: sim.get("/connections") == [], "the client is cut")
    assert sim.verdict()["notes"] == {"slow_client_dropped": 1}
