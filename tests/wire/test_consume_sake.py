"""hikari-sake on a real Redis, fed by a gw-consume that runs the example."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sake

from consumers import Bot
from gateway_sim.world import World
from tests.waiting import eventually
from tests.wire.consume_rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""hikari-sake 1.1.2 closes its clients, and not the connection pools that it made for them."""


@pytest.fixture
async def cache(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The example's cache, opened by a process that gets no dispatches."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from sake_cache import SakeCache  # noqa: PLC0415 - an example, found from here on

    opened = SakeCache(app=Bot("amqp://127.0.0.1/", "token").rest, event_manager=None, address=redis_url)
    await opened.open()
    yield opened
    await opened.close()
    del opened
    gc.collect()  # here, where the warning of its connections is expected


async def test_every_process_finds_in_redis_what_the_group_was_told(rig: Rig, redis_url: str, cache: Any) -> None:
    await rig.started(
        "-ep", "sake_cache:setup", "--entrypoint-dir", str(EXAMPLES),
        GW_ENTRYPOINT="", GW_ENTRYPOINT_DIR="", REDIS_URL=redis_url, PYTHONPATH=":".join(filter(None, sys.path)),
    )  # fmt: skip
    world = World(bot_token="t", guild_count=1, large_guilds=0)
    guild = world.guild(world.guild_ids[0])
    channel = {**guild["channels"][1], "guild_id": guild["id"]}
    await rig.publish("GUILD_CREATE", guild)
    await eventually(lambda: _name(cache, channel["id"], channel["name"]))
    await rig.publish("CHANNEL_UPDATE", {**channel, "name": "renamed"})
    await eventually(lambda: _name(cache, channel["id"], "renamed"))
    await rig.publish("CHANNEL_DELETE", channel)
    await eventually(lambda: _name(cache, channel["id"], None))
    role = guild["roles"][0]
    assert (await cache.get_role(int(role["id"]))).name == role["name"]


async def _name(cache: Any, channel_id: str, expected: str | None) -> bool:
    try:
        found = (await cache.get_guild_channel(int(channel_id))).name
    except sake.errors.EntryNotFound:
        found = None
    return bool(found == expected)
