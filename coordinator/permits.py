"""Identify permits at work: the gate, the writing down of each permit, and Discord's word on the day's budget."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from coordinator.errors import TokenRefusedError
from coordinator.identify_gate import IdentifyGate
from eventbus import messages
from eventbus.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordinator.discord_gateway import GatewayInfo
    from coordinator.stream_log import StreamLog

_log = logging.getLogger(__name__)

BUDGET_CHECK_S = 0.5
UNWRITTEN_RETRY_S = 1.0


class IdentifyPermits:
    """`answer` decides on requests, `keep_budget` runs as a task."""

    def __init__(
        self,
        info: GatewayInfo,
        *,
        reserve: int | None,
        fetch: Callable[[], Awaitable[GatewayInfo]],
        clock: Callable[[], float],
    ) -> None:
        self.gate = IdentifyGate(info.identify_limit, asked_at=info.asked_at, reserve=reserve)
        self.gateway_url = info.url
        self._fetch = fetch
        self._clock = clock

    async def answer(self, request: messages.IdentifyRequest, log: StreamLog) -> messages.IdentifyPermit:
        """Decide, and write a permit down before it is told: whoever leads next keeps its window."""
        now = self._clock()
        permit = self.gate.request(request.shard, now, recovery=request.recovery, valid_s=request.valid_s)
        if permit.granted and not await log.write_permit(request.shard, now, request.valid_s):
            # It may stand in the stream nevertheless, so its slot is used up.
            return messages.IdentifyPermit(
                granted=False, retry_after_s=UNWRITTEN_RETRY_S, reason="the broker did not take the permit's record"
            )
        return messages.IdentifyPermit(
            granted=permit.granted, valid_s=permit.valid_s, retry_after_s=permit.retry_after_s, reason=permit.reason
        )

    def lead(self, *, is_told: bool) -> None:
        """We decide from now on; `is_told`: the stream says what our predecessors granted."""
        now = self._clock()
        if is_told:
            self.gate.lead(now)
        else:
            self.gate.hold(now)

    async def keep_budget(self, is_needed: Callable[[], bool]) -> None:
        """Ask Discord for the identify limit whenever the gate wants to know and `is_needed()`, for ever."""
        while True:
            await asyncio.sleep(BUDGET_CHECK_S)
            if is_needed() and self._clock() >= self.gate.refresh_at:
                await self._refresh()

    async def _refresh(self) -> None:
        try:
            info = await self._fetch()
        except RelayError as error:
            self.gate.refresh_failed(self._clock())
            level = logging.ERROR if isinstance(error, TokenRefusedError) else logging.WARNING
            _log.log(level, "identify limit unknown", extra={"action": "budget_unknown", "reason": str(error)})
            return
        self.gateway_url = info.url
        self.gate.learn(info.identify_limit, asked_at=info.asked_at)
        _log.debug("identify limit", extra={"action": "budget", "remaining": self.gate.remaining})
