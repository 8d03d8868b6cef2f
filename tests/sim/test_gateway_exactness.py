"""The ledger is the judge of "no dispatch is lost": it must agree with what clients receive, cut or not, under load."""

from __future__ import annotations

import asyncio

import pytest

from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import GatewayClient, GatewayClosedError

_TOTAL = 6000
_CUTS = 4
_ENDS = {"READY", "RESUMED"}  # they belong to a connection, and are never replayed


async def _read_through_cuts(sim: Sim, shard: int, compress: str) -> dict[tuple[str, int], str]:
    """Read until all traffic came, resuming after every cut; returns the type by (session, seq)."""
    got: dict[tuple[str, int], str] = {}
    session_id, seq, url = "", 0, sim.gateway_url
    while True:
        async with GatewayClient(url, compress=compress) as client:
            if session_id:
                await client.resume(session_id, seq)
            else:
                await client.start(shard=(shard, 2))
                session_id, url, seq = client.session_id, client.resume_url, 1
            try:
                while True:
                    payload = await client.next()
                    if payload["op"] == 0:
                        seq = payload["s"]
                        got[session_id, seq] = payload["t"]
                        if payload["t"] == "THE_END":
                            return got
            except GatewayClosedError:
                continue


async def _cut_while_it_runs(sim: Sim) -> None:
    """Start the traffic, cut every connection a few times, then send the last dispatch."""
    call = asyncio.to_thread
    await call(sim.wait, lambda: len(sim.get("/sessions")) == 2, "both sessions")
    await call(sim.post, "/traffic", {"rate": 3000, "mix": "mixed", "total": _TOTAL})
    for cut in range(1, _CUTS + 1):
        due = _TOTAL * cut // (_CUTS + 1)
        await call(sim.wait, lambda due=due: sim.get("/traffic")["generated"] >= due, "the next cut")
        resumed = 2 * (cut - 1)
        await call(sim.wait, lambda resumed=resumed: sim.verdict()["resumes"] == resumed, "both are connected again")
        await call(sim.fault, "drop" if cut % 2 else "close")
    await call(sim.wait, lambda: sim.get("/traffic")["left"] == 0, "all traffic is sent")
    for shard in (0, 1):
        await call(sim.post, "/dispatch", {"type": "THE_END", "shard": shard, "data": {}})


@pytest.mark.parametrize("compress", ["zlib-stream", "zstd-stream"])
async def test_the_ledger_and_clients_that_are_cut_again_and_again_agree_on_every_dispatch(
    start_sim: StartSim, compress: str
) -> None:
    sim = start_sim("--guilds", "12", "--large-guilds", "0", "--max-concurrency", "2", "--shards", "2")
    zero, one, _ = await asyncio.gather(
        _read_through_cuts(sim, 0, compress), _read_through_cuts(sim, 1, compress), _cut_while_it_runs(sim)
    )
    got = {key: kind for key, kind in (zero | one).items() if kind not in _ENDS}
    rows = [row for row in sim.ledger() if row["type"] not in _ENDS]
    assert {(row["session"], row["seq"]): row["type"] for row in rows} == got
    assert len(rows) == len(got) == _TOTAL + 12 + 2
    verdict = sim.verdict()
    assert verdict["violation_count"] == 0
    assert verdict["resumes"] == 2 * _CUTS
    assert verdict["sent"] == len(rows) + 2 + 2 * _CUTS


async def test_heartbeats_are_acknowledged_while_traffic_runs_as_fast_as_the_client_reads(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url, compress="zstd-stream") as client:
        await client.start()
        await asyncio.to_thread(sim.post, "/traffic", {"rate": "max", "mix": "messages"})
        await client.until(t="MESSAGE_CREATE")
        for _ in range(3):
            await client.beat()
        await asyncio.to_thread(sim.delete, "/traffic")
        (connection,) = await asyncio.to_thread(sim.get, "/connections")
    assert connection["paused"] or connection["bytes_sent"] > 100_000
    assert sim.rules_broken() == []
