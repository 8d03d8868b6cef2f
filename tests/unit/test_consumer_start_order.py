"""The dispatches of a guild start in the order in which they came, though one of them waits for something."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumers.dispatch import Dispatch
from consumers.frame import Frame
from consumers.start_order import StartOrder, guild_of


def frame(event_type: str, payload: Any) -> Frame:
    return Frame(Dispatch(0, 1, "s", 1, event_type, "s:1", 1, False, False, 0.0), payload)


@pytest.mark.parametrize(
    ("event_type", "payload", "guild"),
    [
        ("MESSAGE_CREATE", {"id": "1", "guild_id": "5"}, "5"),
        ("GUILD_CREATE", {"id": "5"}, "5"),
        ("MESSAGE_CREATE", {"id": "1"}, None),
        ("MESSAGE_CREATE", {"guild_id": 5}, None),
        ("RESUMED", None, None),
    ],
)
def test_the_guild_of_a_dispatch(event_type: str, payload: Any, guild: str | None) -> None:
    assert guild_of(frame(event_type, payload)) == guild


async def test_what_is_ready_waits_for_what_came_before_in_its_guild_only() -> None:
    order, started = StartOrder(), list[str]()
    ready = {name: asyncio.Event() for name in ("a1", "a2", "a3", "b1")}

    async def start(name: str) -> None:
        place = order.line_up(frame("MESSAGE_CREATE", {"guild_id": name[0]}))
        assert place is not None
        try:
            await ready[name].wait()
            if name == "a2":
                raise ValueError("it never starts")
            await place.come()
            started.append(name)
        finally:
            place.leave()

    tasks = [asyncio.create_task(start(name)) for name in ready]
    for name in ("a3", "b1", "a2"):
        ready[name].set()
        await asyncio.sleep(0)
    assert started == ["b1"]
    ready["a1"].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert started == ["b1", "a1", "a3"]
    assert order.line_up(frame("MESSAGE_CREATE", {})) is None


async def test_by_shard_even_what_concerns_no_guild_waits_for_what_came_before() -> None:
    order = StartOrder(by_shard=True)
    first = order.line_up(frame("MESSAGE_CREATE", {"guild_id": "1"}))
    second = order.line_up(frame("MESSAGE_CREATE", {}))
    assert first is not None
    assert second is not None
    coming = asyncio.create_task(second.come())
    await asyncio.sleep(0)
    assert not coming.done()
    first.leave()
    await coming


@pytest.mark.parametrize("by_shard", [False, True])
def test_an_interaction_waits_for_nothing(*, by_shard: bool) -> None:
    order = StartOrder(by_shard=by_shard)
    assert order.line_up(frame("GUILD_UPDATE", {"id": "5"})) is not None
    assert order.line_up(frame("INTERACTION_CREATE", {"id": "1", "guild_id": "5"})) is None
