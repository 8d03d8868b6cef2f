"""The path of one delivery: read, not handled twice, admitted, handled, settled once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from consumers.counters import Counters
from consumers.errors import MalformedDispatchError
from consumers.failure_policy import Admission, FailurePolicy, OnError
from consumers.former_holders import FormerHolders
from consumers.frame import decode
from consumers.seen import SeenDispatches, Sighting

if TYPE_CHECKING:
    from collections.abc import Callable

    from hikari.api import GatewayShard

    from consumers.dispatch import Dispatch
    from consumers.event_manager import EventManager
    from consumers.frame import Frame
    from consumers.handling import Handling
    from consumers.settling import Settling
    from eventbus.amqp.deliveries import Delivery


class DeliveryPath:
    """What one process does with the deliveries of its group, whatever lane they come from."""

    def __init__(
        self,
        manager: EventManager,
        settling: Settling,
        policy: FailurePolicy,
        *,
        counters: Counters,
        quarantine: str,
        shard_of: Callable[[Dispatch], GatewayShard],
    ) -> None:
        self._manager = manager
        self._settling = settling
        self._policy = policy
        self._counters = counters
        self._quarantine = quarantine
        self._shard_of = shard_of
        self._seen = SeenDispatches()
        self._former_holders = FormerHolders()

    async def handle(self, delivery: Delivery) -> None:
        """Settle it, or leave it to the broker to deliver it again."""
        try:
            frame = decode(
                delivery.body,
                event_type=delivery.event_type,
                message_id=delivery.message_id,
                headers=delivery.headers,
                redelivered=delivery.is_redelivered,
            )
        except MalformedDispatchError as error:
            await self._settling.bury(delivery, str(error), None)
            return
        if self._settling.is_stored(delivery, frame):
            self._counters.duplicates_dropped += 1
            await delivery.ack()
        elif frame.sent_again:  # an operator wants it to be handled, whatever came of it before
            await self._attempt(delivery, frame)
        elif self._is_of_a_former_holder(frame.dispatch):
            self._counters.former_holder_dropped += 1
            await delivery.ack()
        else:
            await self._handle_once(delivery, frame)

    def _is_of_a_former_holder(self, dispatch: Dispatch) -> bool:
        return self._former_holders.is_duplicate(
            shard=dispatch.shard,
            session_id=dispatch.session_id,
            fencing_token=dispatch.fencing_token,
            resumed_from=dispatch.resumed_from,
            seq=dispatch.seq,
        )

    async def _handle_once(self, delivery: Delivery, frame: Frame) -> None:
        """Handle it, unless another copy was handled; while one is being handled, wait for what comes of it."""
        message_id = frame.dispatch.message_id
        while (sighting := self._seen.begin(message_id)) is Sighting.RUNNING:
            ended = asyncio.Event()
            self._seen.when_ended(message_id, ended.set)
            await ended.wait()
            if delivery.is_gone:
                return  # it comes again
        if sighting is Sighting.HANDLED:
            self._counters.duplicates_dropped += 1
            await delivery.ack()
            return
        handled = False
        try:
            handled = await self._attempt(delivery, frame)
        finally:
            self._seen.end(message_id, handled=handled)

    async def _attempt(self, delivery: Delivery, frame: Frame) -> bool:
        """Whether it was handled, and is not to be handled again."""
        if not await self._is_admitted(delivery, frame):
            return False
        handling = self._manager.handle(frame, self._shard_of(frame.dispatch))
        try:
            await handling.finish()
        except asyncio.CancelledError:
            handling.cancel()
            raise
        if handling.failure is None and handling.listener_failure is None:
            self._counters.handled += 1
            await delivery.ack()
            return True
        return await self._on_failure(delivery, frame, handling)

    async def _is_admitted(self, delivery: Delivery, frame: Frame) -> bool:
        """Whether it may be handled now; if not, it is settled."""
        unsettled_count = frame.unsettled_before + delivery.unsettled_count
        is_isolated = delivery.queue == self._quarantine
        match self._policy.admit(unsettled_count=unsettled_count, is_isolated=is_isolated):
            case Admission.DEAD_LETTER:
                reason = f"delivered {unsettled_count} times and never settled: it seems to end whoever handles it"
                await self._settling.bury(delivery, reason, frame)
                return False
            case Admission.ISOLATE:
                await self._settling.isolate(delivery, frame, unsettled_count)
                return False
            case Admission.HANDLE:
                if is_isolated:
                    await self._settling.calm()
                return True

    async def _on_failure(self, delivery: Delivery, frame: Frame, handling: Handling) -> bool:
        failure = handling.failure
        if failure is not None:
            reason = f"hikari cannot read this {frame.dispatch.type}: {type(failure).__name__}: {failure}"
            await self._settling.bury(delivery, reason, frame)
            return False
        self._counters.failed += 1
        if self._policy.on_error is OnError.ACK:
            self._counters.failures_acknowledged += 1
            await delivery.ack()
            return True
        delay_s = self._policy.retry_delay_s(
            attempt_count=frame.dispatch.attempt, interaction_age_s=frame.interaction_age_s(time.time())
        )
        if delay_s is None:
            await self._settling.bury(delivery, handling.listener_failure or "a listener raised", frame)
        else:
            await self._settling.retry(delivery, frame, delay_s)
        return False
