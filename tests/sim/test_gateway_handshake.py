"""Hello, Identify, READY, the guilds, compression, and every refusal on the way."""

from __future__ import annotations

import json
import zlib

import aiohttp
import pytest

from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import ALL_INTENTS, GatewayClient, GatewayClosedError


@pytest.fixture(scope="module")
def strict_sim(start_module_sim: StartSim) -> Sim:
    """A simulator that refuses some intents, odd shard counts, and shards of 20 guilds."""
    return start_module_sim(
        "--guilds", "40", "--required-multiple", "2", "--max-guilds-per-shard", "19", "--disallowed-intents", "256"
    )


@pytest.mark.parametrize("compress", ["", "zlib-stream", "zstd-stream"])
async def test_a_client_gets_ready_and_all_its_guilds_over_every_compression(sim: Sim, compress: str) -> None:
    async with GatewayClient(sim.gateway_url, compress=compress) as client:
        ready = await client.start(shard=(1, 2))
        assert ready["shard"] == [1, 2]
        assert ready["resume_gateway_url"] == sim.resume_url != sim.gateway_url
        assert all(guild["unavailable"] for guild in ready["guilds"])
        announced = {guild["id"] for guild in ready["guilds"]}
        assert announced
        assert {int(guild) >> 22 & 1 for guild in announced} == {1}
        came = [await client.until(t="GUILD_CREATE") for _ in announced]
        assert {guild["d"]["id"] for guild in came} == announced
        assert [guild["s"] for guild in came] == list(range(2, 2 + len(announced)))
        await client.beat()
    assert sim.verdict()["violation_count"] == 0


async def test_zlib_messages_are_split_over_several_frames(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "1")
    async with GatewayClient(sim.gateway_url, compress="zlib-stream") as client:
        await client.start()
        before = client.messages_read
        guild = await client.until(t="GUILD_CREATE")
        assert len(json.dumps(guild)) > 300_000
        assert client.messages_read - before > 1


async def test_identify_with_compress_gets_large_payloads_as_single_zlib_messages(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "1")
    async with GatewayClient(sim.gateway_url) as client:
        await client.start(compress=True)
        message = await client.ws.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.BINARY
        assert json.loads(zlib.decompress(message.data))["t"] == "GUILD_CREATE"


async def test_a_shard_that_was_not_named_is_shard_0_of_1(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        ready = await client.start(shard=None)
        assert "shard" not in ready
        assert len(ready["guilds"]) == 6


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("v=9&encoding=json", 4012),
        ("encoding=json", 4012),
        ("v=10&encoding=etf", 4002),
        ("v=10&encoding=json&compress=lz4", 4002),
    ],
)
async def test_a_wrong_query_is_closed_with_a_reason(shared_sim: Sim, query: str, code: int) -> None:
    async with GatewayClient(shared_sim.gateway_url, query=query) as client:
        with pytest.raises(GatewayClosedError) as closed:
            await client.next()
    assert closed.value.code == code
    assert closed.value.reason


@pytest.mark.parametrize(
    ("identify", "code", "rule"),
    [
        ({"token": "wrong"}, 4004, "wrong_bot_token"),
        ({"shard": (2, 2)}, 4010, "invalid_shard"),
        ({"shard": (-1, 2)}, 4010, "invalid_shard"),
        ({"shard": (0, 0)}, 4010, "invalid_shard"),
        ({"shard": (0, 3)}, 4010, "invalid_shard"),
        ({"shard": (0, 2)}, 4011, "sharding_required"),
        ({"shard": (0, 16), "intents": 1 << 40}, 4013, "invalid_intents"),
        ({"shard": (0, 16), "intents": -1}, 4013, "invalid_intents"),
        ({"shard": (0, 16), "intents": "all"}, 4013, "invalid_intents"),
        ({"shard": (0, 16), "intents": ALL_INTENTS}, 4014, "disallowed_intents"),
        ({"shard": (0, 16), "properties": None}, 4002, "bad_payload"),
        ({"shard": ("a", "b")}, 4002, "bad_payload"),
    ],
)
async def test_a_bad_identify_is_closed_with_discords_code(
    strict_sim: Sim, identify: dict[str, object], code: int, rule: str
) -> None:
    before = len(strict_sim.rules_broken())
    async with GatewayClient(strict_sim.gateway_url) as client:
        await client.identify(**identify)  # type: ignore[arg-type]
        assert await client.close_code() == code
    assert strict_sim.rules_broken(after=before) == [rule]


@pytest.mark.parametrize(
    ("text", "code", "rule"),
    [
        ("no json", 4002, "bad_payload"),
        ("[1]", 4002, "bad_payload"),
        ('{"op":"1"}', 4002, "bad_payload"),
        ('{"op":99,"d":null}', 4001, "unknown_opcode"),
        ('{"op":0,"d":null}', 4001, "unknown_opcode"),
        ('{"op":3,"d":{}}', 4003, "payload_before_identify"),
        ('{"op":8,"d":{}}', 4003, "payload_before_identify"),
        ('{"op":6,"d":{"token":1}}', 4002, "bad_payload"),
        ('{"op":1,"d":"x"}', 4002, "bad_payload"),
        ('{"op":1,"d":null,"pad":"' + "x" * 4096 + '"}', 4002, "payload_too_big"),
    ],
)
async def test_a_bad_payload_is_closed_with_discords_code(shared_sim: Sim, text: str, code: int, rule: str) -> None:
    before = len(shared_sim.rules_broken())
    async with GatewayClient(shared_sim.gateway_url) as client:
        await client.until(op=10)
        await client.send_text(text)
        assert await client.close_code() == code
    assert shared_sim.rules_broken(after=before) == [rule]


async def test_a_second_identify_is_4005_and_keeps_the_session(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        await client.send(2, {"token": "x"})
        assert await client.close_code() == 4005
    assert sim.get("/sessions")[0]["state"] == "disconnected"


async def test_the_121st_payload_within_a_minute_is_4008(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        for _ in range(119):
            await client.send(1, 1)
        await client.until(op=11)
        assert sim.rules_broken() == []
        await client.send(1, 1)
        assert await client.close_code() == 4008
    assert sim.rules_broken() == ["send_limit"]
    assert sim.get("/sessions")[0]["state"] == "disconnected"


async def test_a_missed_heartbeat_ends_the_session_with_4009(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "0", "--heartbeat-interval-ms", "100")
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        assert await client.close_code() == 4009
    assert sim.rules_broken() == ["heartbeat_missed"]
    assert sim.get("/sessions")[0]["state"] == "ended"


async def test_a_missed_heartbeat_is_one_violation_and_the_session_lives_on_up_to_its_timeout(
    start_sim: StartSim,
) -> None:
    sim = start_sim(
        "--guilds", "1", "--large-guilds", "0", "--heartbeat-interval-ms", "100", "--session-timeout-s", "10"
    )
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.wait(lambda: sim.rules_broken() == ["heartbeat_missed"], "a missed heartbeat")
        assert sim.get("/sessions")[0]["state"] == "connected"
        assert await client.close_code() == 4009
    assert sim.rules_broken() == ["heartbeat_missed"]


async def test_a_heartbeat_with_a_seq_that_was_never_sent_is_a_violation(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        client.seq = 1_000
        await client.beat()
    assert sim.rules_broken() == ["heartbeat_seq"]


async def test_identifies_of_one_bucket_within_the_window_are_a_violation_and_op_9(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "4", "--large-guilds", "0", "--max-concurrency", "2")
    async with GatewayClient(sim.gateway_url) as one, GatewayClient(sim.gateway_url) as two:
        await one.start(shard=(0, 4))
        await two.start(shard=(1, 4))
        async with GatewayClient(sim.gateway_url) as three:
            await three.identify(shard=(2, 4))
            assert (await three.until(op=9))["d"] is False
    violations = sim.verdict()["violations"]
    assert [(v["rule"], v["shard"]) for v in violations] == [("identify_too_soon", 2)]


async def test_an_identify_beyond_the_budget_resets_the_token_and_ends_every_session(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "2", "--large-guilds", "0", "--identify-remaining", "1", "--max-concurrency", "4")
    async with GatewayClient(sim.gateway_url) as one, GatewayClient(sim.gateway_url) as two:
        await one.start(shard=(0, 2))
        await two.identify(shard=(1, 2))
        assert await two.close_code() == 4004
        assert await one.close_code() == 4004
    async with GatewayClient(sim.gateway_url) as later:
        await later.identify(shard=(0, 2))
        assert await later.close_code() == 4004
    verdict = sim.verdict()
    assert verdict["token_reset"] is True
    assert [v["rule"] for v in verdict["violations"]] == ["identify_budget_exceeded", "wrong_bot_token"]
    assert [session["end_reason"] for session in sim.get("/sessions")] == ["token reset"]
    returncode, _, _ = sim.stop()
    assert returncode == 1
