"""Identify permits from the coordinator: asked for until granted, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from eventbus.errors import BrokerLostError, RemoteError, RpcTimeoutError, UnroutableError
from eventbus.messages import IdentifyPermit, IdentifyRequest

if TYPE_CHECKING:
    from eventbus.coordinator_client import CoordinatorClient

_log = logging.getLogger(__name__)

NO_ANSWER_WAIT_S = 1.0
MIN_WAIT_S = 0.05
LOUD_WAIT_S = 60.0


class CoordinatorPermits:
    """Asks the coordinator that leads."""

    def __init__(self, coordinator: CoordinatorClient, *, worker_id: str) -> None:
        self._coordinator = coordinator
        self._worker_id = worker_id

    async def acquire(self, shard: int, fencing_token: int, *, recovery: bool) -> float:
        """Wait for leave to send one Identify; until when it may be sent, on the event loop's clock."""
        request = IdentifyRequest(
            worker_id=self._worker_id, shard=shard, fencing_token=fencing_token, recovery=recovery
        )
        warned = False
        while True:
            asked_at = asyncio.get_running_loop().time()
            wait_s, reason = NO_ANSWER_WAIT_S, ""
            try:
                permit = await self._coordinator.call(request, IdentifyPermit)
            except (RpcTimeoutError, UnroutableError, BrokerLostError, RemoteError) as error:
                reason = str(error)
            else:
                if permit.granted:
                    return asked_at + permit.valid_s
                wait_s, reason = permit.retry_after_s, permit.reason
            if not warned and (wait_s >= LOUD_WAIT_S or wait_s == NO_ANSWER_WAIT_S):
                warned = True
                _log.warning("no identify permit", extra={"action": "identify_waits", "shard": shard, "reason": reason})
            await asyncio.sleep(max(wait_s, MIN_WAIT_S) + random.uniform(0, 0.02))  # noqa: S311 - jitter
