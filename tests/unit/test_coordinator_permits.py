"""Permits over a slow way: they are asked for so long that they are of use when they come."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from coordinator.identify_gate import IdentifyGate, IdentifyLimit
from eventbus import messages
from gateway_workers.permits import CoordinatorPermits

if TYPE_CHECKING:
    import pytest


class SlowCoordinator:
    """A real gate behind answers that take `delay_s` of the event loop's time, which nothing else moves."""

    def __init__(self, delay_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
        limit = IdentifyLimit(total=1000, remaining=1000, reset_after_s=3600.0, max_concurrency=16)
        self.now = 1000.0
        self.gate = IdentifyGate(limit, asked_at=self.now)
        self.delay_s = delay_s
        self.requests: list[messages.IdentifyRequest] = []
        self.permits = CoordinatorPermits(self, worker_id="w")  # type: ignore[arg-type]
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    async def call(self, request: messages.IdentifyRequest, _: Any) -> messages.IdentifyPermit:
        self.requests.append(request)
        permit = self.gate.request(request.shard, self.now, recovery=False, valid_s=request.valid_s)
        self.now += self.delay_s
        return messages.IdentifyPermit(granted=permit.granted, valid_s=permit.valid_s)


async def test_a_permit_that_was_over_when_it_came_is_followed_by_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator = SlowCoordinator(0.75, monkeypatch)
    assert await coordinator.permits.acquire(0, 1, recovery=False) == coordinator.now - 0.25
    assert await coordinator.permits.acquire(1, 1, recovery=False) == coordinator.now + 0.75
    coordinator.delay_s = 0
    await coordinator.permits.acquire(2, 1, recovery=False)
    await coordinator.permits.acquire(3, 1, recovery=False)
    assert [request.valid_s for request in coordinator.requests] == [0.5, 1.5, 1.5, 0.5]


async def test_a_way_that_is_too_slow_for_any_permit_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = SlowCoordinator(messages.MAX_PERMIT_VALID_S + 0.5, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert await coordinator.permits.acquire(0, 1, recovery=False) < coordinator.now
        assert await coordinator.permits.acquire(1, 1, recovery=False) < coordinator.now
    assert [record.__dict__["action"] for record in caplog.records] == ["permit_too_late"]
    assert coordinator.requests[-1].valid_s == messages.MAX_PERMIT_VALID_S
