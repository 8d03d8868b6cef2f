"""The short form of `benchmarks.ordering`: 2, then 6, then 3 processes under load, one of them killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import ordering
from tests.wire import consume_rig

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)


@pytest.mark.long
async def test_with_ordering_guild_no_guild_is_out_of_order_while_processes_come_and_go(
    broker_url: str, tmp_path: Path
) -> None:
    with consume_rig.fleet(broker_url) as fleet:
        environment = fleet.environment | {"GW_GROUP": "ordered", "GW_ORDERING": "guild"}
        found = await ordering.come_and_go(environment, tmp_path, phases=(2, 6, 3), rate=200, seconds=1)
    assert found.sent > 0
    assert (found.inversions, found.lost) == (0, 0)
