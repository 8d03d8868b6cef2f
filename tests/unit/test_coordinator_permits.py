"""Permits over a slow way: they are asked for so long that they are of use when they come."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from coordinator.identify_gate import IdentifyGate, IdentifyLimit
from eventbus import messages
from gateway_workers import permits
from gateway_workers.permits import CoordinatorPermits

if TYPE_CHECKING:
    import pytest


class SlowCoordinator:
    """A real gate behind answers that take `delay_s`."""

    def __init__(self, delay_s: float) -> None:
        limit = IdentifyLimit(total=1000, remaining=1000, reset_after_s=3600.0, max_concurrency=16)
        self.gate = IdentifyGate(limit, asked_at=0.0)
        self.delay_s = delay_s
        self.requests: list[messages.IdentifyRequest] = []

    async def call(self, request: messages.IdentifyRequest, _: Any) -> messages.IdentifyPermit:
        self.requests.append(request)
        permit = self.gate.request(
            request.shard, asyncio.get_running_loop().time(), recovery=False, valid_s=request.valid_s
        )
        await asyncio.sleep(self.delay_s)
        return messages.IdentifyPermit(granted=permit.granted, valid_s=permit.valid_s)


async def test_a_permit_that_was_over_when_it_came_is_followed_by_one_that_is_not() -> None:
    coordinator = SlowCoordinator(0.55)
    asking = CoordinatorPermits(coordinator, worker_id="w")  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    assert await asking.acquire(0, 1, recovery=False) < loop.time()
    assert await asking.acquire(1, 1, recovery=False) > loop.time() + 0.3
    coordinator.delay_s = 0
    await asking.acquire(2, 1, recovery=False)
    await asking.acquire(3, 1, recovery=False)
    assert coordinator.requests[-1].valid_s == messages.PERMIT_VALID_S


async def test_a_way_that_is_too_slow_for_any_permit_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(permits, "MAX_PERMIT_VALID_S", 0.6)
    coordinator = SlowCoordinator(0.65)
    asking = CoordinatorPermits(coordinator, worker_id="w")  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        await asking.acquire(0, 1, recovery=False)
        await asking.acquire(1, 1, recovery=False)
    assert [record.__dict__["action"] for record in caplog.records] == ["permit_too_late"]
