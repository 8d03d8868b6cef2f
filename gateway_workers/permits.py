"""Identify permits from the coordinator: asked for until granted, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from eventbus.errors import BrokerLostError, RemoteError, RpcTimeoutError, UnroutableError
from eventbus.messages import MAX_PERMIT_VALID_S, PERMIT_VALID_S, IdentifyPermit, IdentifyRequest

if TYPE_CHECKING:
    from eventbus.coordinator_client import CoordinatorClient

_log = logging.getLogger(__name__)

NO_ANSWER_WAIT_S = 1.0
REFUSED_WAIT_S = 1.5
MIN_WAIT_S = 0.05
LOUD_WAIT_S = 60.0


class CoordinatorPermits:
    """Asks the coordinator that leads."""

    def __init__(self, coordinator: CoordinatorClient, *, worker_id: str) -> None:
        self._coordinator = coordinator
        self._worker_id = worker_id
        self._is_unanswered = False
        self._valid_s = PERMIT_VALID_S
        self._is_too_slow = False

    async def acquire(self, shard: int, fencing_token: int, *, recovery: bool) -> float:
        """Wait for leave to send one Identify; until when it may be sent, on the event loop's clock."""
        loop = asyncio.get_running_loop()
        is_told = False
        while True:
            asked_at = loop.time()
            request = IdentifyRequest(
                worker_id=self._worker_id,
                shard=shard,
                fencing_token=fencing_token,
                recovery=recovery,
                valid_s=self._valid_s,
            )
            permit = await self._ask(request)
            if permit is not None:
                self._learn_speed(loop.time() - asked_at)
            if permit is not None and permit.granted:
                return asked_at + permit.valid_s
            wait_s = NO_ANSWER_WAIT_S if permit is None else permit.retry_after_s
            if permit is not None and (wait_s >= LOUD_WAIT_S or wait_s == REFUSED_WAIT_S) and not is_told:
                is_told = True
                fields = {"action": "identify_waits", "shard": shard, "wait_s": wait_s, "reason": permit.reason}
                _log.warning("no identify permit", extra=fields)
            await asyncio.sleep(max(wait_s, MIN_WAIT_S) + random.uniform(0, 0.02))  # noqa: S311 - jitter

    def _learn_speed(self, took_s: float) -> None:
        """A permit that is over when it comes is of no use: the next one lasts twice as long as this answer took."""
        is_too_slow = took_s > MAX_PERMIT_VALID_S
        if is_too_slow and not self._is_too_slow:
            fields = {"action": "permit_too_late", "took_s": round(took_s, 3), "valid_s": MAX_PERMIT_VALID_S}
            _log.warning(
                "identify permits are over when they come: the way to the coordinator is too slow", extra=fields
            )
        self._is_too_slow = is_too_slow
        self._valid_s = min(max(2 * took_s, PERMIT_VALID_S), MAX_PERMIT_VALID_S)

    async def _ask(self, request: IdentifyRequest) -> IdentifyPermit | None:
        """None without an answer; that is said once for all shards, until one comes again."""
        try:
            permit = await self._coordinator.call(request, IdentifyPermit)
        except RemoteError as error:
            permit = IdentifyPermit(granted=False, retry_after_s=REFUSED_WAIT_S, reason=str(error))
        except (RpcTimeoutError, UnroutableError, BrokerLostError) as error:
            if not self._is_unanswered:
                fields = {"action": "identify_unanswered", "shard": request.shard, "reason": str(error)}
                _log.warning("no coordinator answers: identifies wait", extra=fields)
            self._is_unanswered = True
            return None
        self._is_unanswered = False
        return permit
