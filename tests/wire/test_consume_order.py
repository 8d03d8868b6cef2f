"""One process: what belongs to a guild starts in the order in which it was published, whatever its type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire.consume_rig import Rig

if TYPE_CHECKING:
    pass


COUNT = 150


@pytest.mark.parametrize("cache", ["", "roles"])
async def test_the_events_of_a_guild_start_in_order(rig: Rig, cache: str) -> None:
    """With roles in the cache, one of the two types waits for the cache before it is handled."""
    process = await rig.started(GW_ENTRYPOINT="order_bots:setup", GW_CACHE=cache)
    for number in range(COUNT):
        guild = str(5 + number % 3)
        if number // 3 % 2:
            await rig.publish("MESSAGE_DELETE", {"id": str(number + 1), "channel_id": "2", "guild_id": guild})
        else:
            await rig.publish("GUILD_ROLE_DELETE", {"role_id": str(number + 1), "guild_id": guild})
    await rig.until_recorded("started", count=COUNT)
    for guild in (5, 6, 7):
        seqs = [entry["seq"] for entry in rig.recorded("started", guild=guild)]
        assert len(seqs) == COUNT / 3
        assert seqs == sorted(seqs)
    assert await process.stop() == 0
    assert await rig.has_settled_all()
