"""Resume: what is replayed, what is refused, and which ends keep a session."""

from __future__ import annotations

import pytest

from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import TOKEN, GatewayClient


def _first_session(sim: Sim) -> dict[str, object]:
    return sim.get("/sessions")[0]  # type: ignore[no-any-return]


def _state(sim: Sim) -> str:
    return str(_first_session(sim)["state"])


def _say(sim: Sim, *contents: str) -> list[str]:
    return [sim.post("/message", {"content": content})["id"] for content in contents]


@pytest.mark.parametrize("compress", ["", "zlib-stream", "zstd-stream"])
async def test_what_was_missed_is_replayed_in_order_before_resumed_and_live_events(sim: Sim, compress: str) -> None:
    async with GatewayClient(sim.gateway_url, compress=compress) as client:
        await client.start()
        _say(sim, "seen")
        seq = (await client.until(t="MESSAGE_CREATE"))["s"]
        await client.close(4000)
    sim.wait(lambda: _state(sim) == "disconnected", "the session is disconnected")
    missed = _say(sim, "one", "two", "three")
    async with GatewayClient(client.resume_url, compress=compress) as again:
        await again.resume(client.session_id, seq)
        came = [await again.next() for _ in range(4)]
        assert [payload["s"] for payload in came] == [seq + 1, seq + 2, seq + 3, seq + 4]
        assert [payload["d"]["id"] for payload in came[:3]] == missed
        assert came[3]["t"] == "RESUMED"
        (live,) = _say(sim, "live")
        assert (await again.next())["d"]["id"] == live
    verdict = sim.verdict()
    assert (verdict["resumes"], verdict["replayed"], verdict["violation_count"]) == (1, 3, 0)
    assert verdict["notes"]["resume_on_resume_host"] == 1


async def test_the_ledger_holds_missed_dispatches_at_the_time_when_they_happened(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        await client.until(t="GUILD_CREATE")
    sim.wait(lambda: _state(sim) == "disconnected", "the session is disconnected")
    (missed,) = _say(sim, "while away")
    row = sim.ledger()[-1]
    assert (row["id"], row["type"], row["replay"]) == (missed, "MESSAGE_CREATE", False)
    async with GatewayClient(client.resume_url) as again:
        await again.resume(client.session_id, 1)
        await again.until(t="RESUMED")
    assert [r for r in sim.ledger() if r["id"] == missed] == [row]
    replays = [r for r in sim.ledger("?replays=1") if r["replay"]]
    assert [r["seq"] for r in replays] == list(range(2, row["seq"] + 1))
    assert replays[-1]["at"] == row["at"]


async def test_a_resume_works_on_the_general_host_too(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
    async with GatewayClient(sim.gateway_url) as again:
        await again.resume(client.session_id, 1)
        await again.until(t="RESUMED")
    assert sim.verdict()["notes"]["resume_on_gateway_host"] == 1
    assert sim.rules_broken() == []


@pytest.mark.parametrize(
    ("code", "state"), [(1000, "ended"), (1001, "ended"), (3000, "disconnected"), (4000, "disconnected")]
)
async def test_only_1000_and_1001_of_the_client_end_the_session(sim: Sim, code: int, state: str) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        await client.close(code)
    sim.wait(lambda: _state(sim) == state, state)
    async with GatewayClient(sim.resume_url) as again:
        await again.resume(client.session_id, 1)
        if state == "ended":
            assert (await again.until(op=9))["d"] is False
        else:
            await again.until(t="RESUMED")
    assert sim.rules_broken() == []


async def test_an_unknown_session_is_refused_and_the_connection_may_identify(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.resume("0" * 32, 5)
        assert (await client.until(op=9))["d"] is False
        await client.send(2, {"token": TOKEN, "intents": 0, "properties": {}})
        assert (await client.until(t="READY"))["s"] == 1
    assert sim.verdict()["resumes_refused"] == 1


async def test_a_seq_that_was_never_sent_is_4007_and_ends_the_session(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
    async with GatewayClient(sim.resume_url) as again:
        await again.resume(client.session_id, 5_000)
        assert await again.close_code() == 4007
    assert sim.rules_broken() == ["resume_seq_unknown"]
    assert _state(sim) == "ended"


async def test_a_resume_with_a_wrong_token_is_4004(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
    async with GatewayClient(sim.resume_url) as again:
        await again.resume(client.session_id, 1, token="wrong")
        assert await again.close_code() == 4004


async def test_a_changed_query_is_a_violation(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
    async with GatewayClient(sim.resume_url, compress="zlib-stream") as again:
        await again.resume(client.session_id, 1)
        await again.until(t="RESUMED")
    assert sim.rules_broken() == ["resume_query_changed"]


async def test_a_resume_takes_the_session_from_a_connection_that_still_lives(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as first, GatewayClient(sim.resume_url) as second:
        await first.start()
        await second.resume(first.session_id, 1)
        await second.until(t="RESUMED")
        assert await first.close_code() == 4000
        (message,) = _say(sim, "for the new one")
        assert (await second.until(t="MESSAGE_CREATE"))["d"]["id"] == message
    assert sim.verdict()["notes"]["session_taken_over"] == 1


async def test_a_buffer_that_no_longer_reaches_back_refuses_the_resume(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "0", "--replay-depth", "3")
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        seq = (await client.until(t="GUILD_CREATE"))["s"]
    sim.wait(lambda: _state(sim) == "disconnected", "the session is disconnected")
    _say(sim, "1", "2", "3", "4")
    async with GatewayClient(sim.resume_url) as again:
        await again.resume(client.session_id, seq)
        assert (await again.until(op=9))["d"] is False
    assert sim.verdict()["resumes_refused"] == 1


async def test_a_session_that_nobody_resumes_ends_after_the_replay_age(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "0", "--replay-age-s", "0.3")
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
    sim.wait(lambda: _state(sim) == "ended", "the session ends")
    assert _first_session(sim)["end_reason"] == "nobody resumed it in time"


async def test_traffic_goes_on_for_a_disconnected_session(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url, compress="zstd-stream") as client:
        await client.start()
        sim.post("/traffic", {"rate": 500, "mix": "messages", "total": 400})
        await client.until(t="MESSAGE_CREATE")
        seq = client.seq
    sim.wait(lambda: sim.get("/traffic")["left"] == 0, "all traffic is sent")
    async with GatewayClient(sim.resume_url, compress="zstd-stream") as again:
        await again.resume(client.session_id, seq or 0)
        resumed = await again.until(t="RESUMED")
    rows = [row for row in sim.ledger() if row["type"] == "MESSAGE_CREATE"]
    assert len(rows) == 400
    assert len({row["id"] for row in rows}) == 400
    assert sim.verdict()["replayed"] == resumed["s"] - (seq or 0) - 1
