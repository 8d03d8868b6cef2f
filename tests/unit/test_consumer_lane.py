"""Lanes: started in order, and an interaction waits for one delivery of the other lane, not for all of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from consumers.lane import Lane
from consumers.limits import TypeLimits
from eventbus.amqp.deliveries import Delivery
from tests.waiting import eventually

if TYPE_CHECKING:
    import pytest


def delivery(name: str, event_type: str = "MESSAGE_CREATE") -> Delivery:
    message: Any = SimpleNamespace(message_id=name, type=event_type)
    tagged: Any = SimpleNamespace(is_gone=False)
    return Delivery("q", message, tagged)


class Started:
    """Two lanes that share limits, and what they started."""

    def __init__(self, limits: TypeLimits | None = None) -> None:
        self.names: list[str] = []
        self.go_on = asyncio.Event()
        shared = limits or TypeLimits({})
        self.events = Lane("events", slot_count=100, limits=shared, handle=self._handle)
        self.interactions = Lane("interactions", slot_count=100, limits=shared, handle=self._handle, urgent=True)
        self.tasks = [asyncio.create_task(lane.run()) for lane in (self.events, self.interactions)]

    async def _handle(self, one: Delivery) -> None:
        self.names.append(str(one.message_id))
        if one.message_id == "m0":
            self.interactions.take(delivery("interaction", "INTERACTION_CREATE"))
        await self.go_on.wait()

    async def end(self) -> None:
        self.go_on.set()
        await asyncio.gather(self.events.drain(), self.interactions.drain())
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.names) < count:  # noqa: ASYNC110 - every turn of the loop counts
                await asyncio.sleep(0)


async def test_a_lane_whose_handlers_do_not_end_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("consumers.lane.FULL_S", 0.01)
    started = Started()
    for number in range(100):  # it is told of 100, not of fewer
        started.events.take(delivery(f"m{number}"))
    await eventually(lambda: caplog.records)
    assert caplog.records[0].__dict__["count"] == 100
    assert [record.__dict__["action"] for record in caplog.records] == ["lane_full"]
    assert caplog.records[0].__dict__["lane"] == "events"
    await started.end()


async def test_an_interaction_passes_a_full_lane() -> None:
    started = Started()
    names = [f"m{number}" for number in range(50)]
    for name in names:
        started.events.take(delivery(name))
    await started.until(51)
    assert started.names.index("interaction") <= 3
    assert [name for name in started.names if name != "interaction"] == names
    await started.end()


async def test_what_its_type_has_no_room_for_waits_and_holds_nobody_up() -> None:
    started = Started(TypeLimits({"MESSAGE_CREATE": 1}))
    for name in ("m0", "m1", "m2"):
        started.events.take(delivery(name))
    started.events.take(delivery("typing", "TYPING_START"))
    await started.until(3)
    assert set(started.names) == {"m0", "typing", "interaction"}
    started.go_on.set()
    await started.until(5)
    assert [name for name in started.names if name.startswith("m")] == ["m0", "m1", "m2"]
    await started.end()


async def test_a_delivery_that_is_gone_gives_its_room_back() -> None:
    started = Started(TypeLimits({"MESSAGE_CREATE": 1}))
    gone = delivery("gone")
    started.events.take(delivery("m0"))
    started.events.take(gone)
    started.events.take(delivery("m2"))
    await started.until(2)
    gone.tagged.is_gone = True  # type: ignore[misc, union-attr]
    started.go_on.set()
    await started.until(3)
    assert "gone" not in started.names
    assert "m2" in started.names
    await started.end()


async def test_a_drain_ends_what_was_taken_also_what_still_waits() -> None:
    started = Started(TypeLimits({"MESSAGE_CREATE": 1}))
    for name in ("m0", "m1", "m2"):
        started.events.take(delivery(name))
    await started.until(1)
    draining = asyncio.create_task(started.events.drain())
    started.go_on.set()
    await draining
    assert [name for name in started.names if name.startswith("m")] == ["m0", "m1", "m2"]
    await started.end()


async def test_a_cancelled_lane_starts_nothing_more_and_says_how_many_have_not_ended() -> None:
    started = Started(TypeLimits({"MESSAGE_CREATE": 1}))
    for name in ("m0", "m1", "m2"):
        started.events.take(delivery(name))
    await started.until(2)
    assert await started.events.cancel() == 3
    await started.events.drain()
    assert set(started.names) == {"m0", "interaction"}
    await started.end()
