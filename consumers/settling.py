"""Settles what is not simply acknowledged: a copy is stored elsewhere first, so that it cannot get lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING

from consumers.recent_keys import RecentKeys
from eventbus.errors import BrokerLostError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.counters import Counters
    from consumers.frame import Frame
    from eventbus.amqp.delay_queues import DelayQueues
    from eventbus.amqp.deliveries import DeadLetters, Delivery, Quarantine

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 10.0
CALM_TIMEOUT_S = 5.0


class Settling:
    """One process's way to dead letters, delays and the quarantine lane; many deliveries are stored at once."""

    def __init__(
        self, counters: Counters, *, dead_letters: DeadLetters, delays: DelayQueues, quarantine: Quarantine
    ) -> None:
        self._counters = counters
        self._dead_letters = dead_letters
        self._delays = delays
        self._quarantine = quarantine
        self._stored = RecentKeys()
        self._moving_count = 0
        self._is_calm = asyncio.Event()
        self._is_calm.set()

    def is_stored(self, delivery: Delivery, frame: Frame) -> bool:
        """Whether a copy of just this attempt is stored: only its acknowledgement was lost with a connection."""
        is_new = not delivery.is_redelivered and frame.dispatch.attempt == 1
        return not is_new and _attempt_key(delivery, frame) in self._stored

    async def bury(self, delivery: Delivery, reason: str, frame: Frame | None) -> bool:
        """Make it a dead letter; `frame` is None if it could not be read. False if it comes again instead."""
        attempts = delivery.attempts
        if frame is not None:
            attempts += frame.dispatch.attempt - 1 + frame.unsettled_before

        async def store() -> None:
            await self._dead_letters.put(delivery, reason, attempts=attempts)

        is_stored = await self._store_then_ack(delivery, frame, store)
        if is_stored:
            self._counters.dead_letters += 1
            _log.error(
                "a delivery became a dead letter",
                extra={"action": "dead_letter", "queue": delivery.queue, "type": delivery.event_type, "reason": reason},
            )
        return is_stored

    async def retry(self, delivery: Delivery, frame: Frame, delay_s: int) -> bool:
        """Have its next attempt come after `delay_s`. False if this one comes again instead."""

        async def store() -> None:
            await self._delays.put(delivery, delay_s=delay_s, failed_attempts=frame.dispatch.attempt)

        is_stored = await self._store_then_ack(delivery, frame, store)
        self._counters.retried += is_stored
        return is_stored

    async def isolate(self, delivery: Delivery, frame: Frame, unsettled_count: int) -> None:
        """Move it to the quarantine lane."""

        async def store() -> None:
            await self._quarantine.put(delivery, unsettled_count=unsettled_count)

        self._moving_count += 1
        self._is_calm.clear()
        try:
            if await self._store_then_ack(delivery, frame, store):
                self._counters.isolated += 1
        finally:
            self._moving_count -= 1
            if not self._moving_count:
                self._is_calm.set()

    async def calm(self) -> None:
        """Wait until nothing is being moved: what a process's end interrupts there would be in both lanes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALM_TIMEOUT_S):
                await self._is_calm.wait()

    async def _store_then_ack(
        self, delivery: Delivery, frame: Frame | None, store: Callable[[], Awaitable[None]]
    ) -> bool:
        if not delivery.begin():  # from here on it is not given back with its partition: that would make two of it
            return False
        retry_s = FIRST_RETRY_S
        while not delivery.is_gone:
            try:
                await store()
            except (BrokerLostError, UnroutableError) as error:
                _log.warning("no copy stored yet", extra={"action": "store_retry", "reason": str(error)})
                await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                retry_s = min(retry_s * 2, MAX_RETRY_S)
                continue
            if frame is not None:
                self._stored.add(_attempt_key(delivery, frame))
            delivery.ack()
            return True
        return False


def _attempt_key(delivery: Delivery, frame: Frame) -> str:
    return f"{delivery.queue} {frame.dispatch.message_id} {frame.sent_again} {frame.dispatch.attempt}"
