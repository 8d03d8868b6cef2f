"""The three transport compressions against gw-sim, with guilds of 500 KB, traffic and a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway_workers.inflate import Compression
from tests.session.rig import TOKEN, Rig, rig_of
from tests.sim.conftest import _started
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.sim.conftest import Sim


@pytest.fixture(scope="module")
def big_sim() -> Iterator[Sim]:
    """With two guilds of 500 KB."""
    with _started() as start:
        yield start("--token", TOKEN, "--guilds", "4", "--large-guilds", "2", "--identify-window-s", "0")


@pytest.fixture
async def big_rig(big_sim: Sim, broker_url: str, namespace: str) -> AsyncIterator[Rig]:
    async with rig_of(big_sim, broker_url, namespace) as made:
        yield made


@pytest.mark.parametrize("compression", list(Compression))
async def test_every_frame_arrives_whole_over_a_drop_and_a_resume(big_rig: Rig, compression: Compression) -> None:
    rig = big_rig
    shard, session = await rig.start_connected(compression=compression)
    asked = {one["query"]["compress"] for one in rig.sim.get("/connections") if one["session"] == session}
    assert asked == {"" if compression is Compression.NONE else compression.value}
    rig.sim.post("/traffic", {"rate": "max", "mix": "messages", "total": 3000})
    await eventually(lambda: len(rig.arrived) > 500)
    rig.sim.fault("drop", session=session)
    assert await rig.connected(shard, established=2) == session
    await eventually(lambda: rig.sim.get("/traffic").get("running") is not True or len(rig.arrived) >= 3000)
    await rig.all_arrived(session)
    assert max(len(message.body) for message in rig.of_type("GUILD_CREATE")) > 300_000
    rig.assert_no_violations()


@pytest.mark.parametrize("compression", [Compression.ZLIB, Compression.ZSTD])
async def test_a_malformed_frame_in_a_compressed_stream_loses_nothing(big_rig: Rig, compression: Compression) -> None:
    rig = big_rig
    shard, session = await rig.start_connected(compression=compression)
    rig.sim.fault("malformed_frame", session=session)
    rig.send(10)
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()
