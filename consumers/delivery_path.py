"""The path of one delivery: read, not handled twice, admitted, handled, settled once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from consumers.counters import Counters
from consumers.errors import MalformedDispatchError
from consumers.failure_policy import Admission, FailurePolicy, OnError
from consumers.former_holders import FormerHolders
from consumers.frame import decode
from consumers.handling import described
from consumers.outcome import Outcome
from consumers.owners import NotForwarded
from consumers.seen import SeenDispatches, Sighting
from consumers.staleness import Skip
from eventbus.names import INTERACTION_CREATE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import hikari
    from hikari.api import GatewayShard

    from consumers.dispatch import Dispatch
    from consumers.event_manager import EventManager
    from consumers.frame import Frame
    from consumers.handling import Handling
    from consumers.owners import Owners
    from consumers.settling import Settling
    from consumers.staleness import Staleness
    from consumers.start_order import StartOrder
    from eventbus.amqp.deliveries import Delivery


_log = logging.getLogger(__name__)


class DeliveryPath:
    """What one process does with the deliveries of its group, whatever lane they come from.

    `handler_timeout_s`: what each handler gets, None for no end.
    """

    def __init__(  # noqa: PLR0913 - every station of the path
        self,
        manager: EventManager,
        settling: Settling,
        policy: FailurePolicy,
        *,
        staleness: Staleness,
        handler_timeout_s: float | None,
        counters: Counters,
        quarantine: str,
        shard_of: Callable[[Dispatch], GatewayShard],
        reach: Callable[[Dispatch], Awaitable[hikari.Event | None]],
        owners: Owners | None,
        start_order: StartOrder,
    ) -> None:
        self._manager = manager
        self._settling = settling
        self._policy = policy
        self._staleness = staleness
        self._handler_timeout_s = handler_timeout_s
        self._counters = counters
        self._quarantine = quarantine
        self._shard_of = shard_of
        self._reach = reach
        self._owners = owners
        self._seen = SeenDispatches()
        self._former_holders = FormerHolders()
        self._start_order = start_order

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
            self._drop_duplicate(delivery)
        elif frame.sent_again:  # an operator wants it to be handled, whatever came of it before
            await self._attempt(delivery, frame)
        elif self._is_of_a_former_holder(frame.dispatch):
            self._counters.former_holder_dropped += 1
            delivery.ack()
        else:
            await self._handle_once(delivery, frame)

    def _drop_duplicate(self, delivery: Delivery) -> None:
        self._counters.duplicates_dropped += 1
        delivery.ack()

    def _is_of_a_former_holder(self, dispatch: Dispatch) -> bool:
        return self._former_holders.is_duplicate(
            shard=dispatch.shard,
            session_id=dispatch.session_id,
            is_interaction=dispatch.type == INTERACTION_CREATE,
            fencing_token=dispatch.fencing_token,
            resumed_from=dispatch.resumed_from,
            seq=dispatch.seq,
        )

    async def _handle_once(self, delivery: Delivery, frame: Frame) -> None:
        """Handle it, unless another copy was handled; while one is being handled, wait for what comes of it."""
        key = _attempt_of(frame)
        while (sighting := self._seen.begin(key)) is Sighting.RUNNING:
            ended = asyncio.Event()
            self._seen.when_ended(key, ended.set)
            await ended.wait()
            if delivery.is_gone:
                return  # it comes again
            if self._settling.is_stored(delivery, frame):
                self._drop_duplicate(delivery)
                return
        if sighting is Sighting.HANDLED:
            self._drop_duplicate(delivery)
            return
        handled = False
        try:
            handled = await self._is_skipped(delivery, frame) or await self._attempt(delivery, frame)
        finally:
            self._seen.end(key, handled=handled)

    async def _is_skipped(self, delivery: Delivery, frame: Frame) -> bool:
        """Whether it is too old to be handled; then it is acknowledged."""
        if not self._is_too_old(frame):
            return False
        delivery.ack()
        return True

    def _is_too_old(self, frame: Frame) -> bool:
        """Whether it is, which is counted."""
        skip = self._staleness.skip(frame, time.time())
        if skip is None:
            return False
        if skip is Skip.STALE_INTERACTION:
            self._count_stale(frame)
        else:
            self._counters.skipped_by_age += 1
        return True

    def _count_stale(self, frame: Frame) -> None:
        if not self._counters.stale_interactions:
            sentence = (
                "interactions come too late to be answered and are skipped: consumers were away or are too slow,"
                " or their clock differs from the worker's"
            )
            age_s = frame.interaction_age_s(time.time())
            _log.warning(sentence, extra={"action": "stale_interaction", "age_s": age_s})
        self._counters.stale_interactions += 1

    async def _attempt(self, delivery: Delivery, frame: Frame) -> bool:
        """Whether it was handled, and is not to be handled again."""
        if not await self._is_admitted(delivery, frame):
            return False
        outcome = await self._outcome(delivery, frame)
        if outcome is None:
            delivery.requeue()
            return False
        if outcome.is_good:
            delivery.ack()
            return True
        return await self._on_failure(delivery, frame, outcome)

    async def _outcome(self, delivery: Delivery, frame: Frame) -> Outcome | None:
        """What came of it here, or in the process that owns the component; None if that one is gone with it."""
        is_isolated = delivery.queue == self._quarantine  # what may end its process ends this one
        if self._owners is None or is_isolated or frame.dispatch.type != INTERACTION_CREATE:
            return await self._handle_here(frame, delivery)
        answerable_s = None if frame.sent_again else self._staleness.answerable_s(frame, time.time())
        forwarded = await self._owners.forward(delivery, frame, begin_within_s=answerable_s)
        if isinstance(forwarded, Outcome):
            self._counters.forwarded += 1
            return forwarded
        if forwarded is NotForwarded.LOST:
            return None
        if forwarded is NotForwarded.LATE:  # its owner does not begin with it any more, for the same reason
            self._count_stale(frame)
            return Outcome()
        return await self._handle_here(frame, delivery)

    async def _handle_here(self, frame: Frame, delivery: Delivery | None = None) -> Outcome | None:
        """None: its handlers must not start here any more."""
        if self._owners is not None:
            self._owners.claims.note(frame)
        handling = await self._start(frame, delivery)
        if handling is None:
            return None
        try:
            await handling.finish(self._handler_timeout_s)
        except asyncio.CancelledError:
            handling.cancel()
            raise
        self._counters.handlers_timed_out += handling.timed_out_count
        failure = None if handling.failure is None else described(handling.failure)
        outcome = Outcome(failure, handling.listener_failure)
        self._counters.handled += outcome.is_good
        return outcome

    async def _start(self, frame: Frame, delivery: Delivery | None) -> Handling | None:
        """Start its handlers, behind those of what came before in its guild; None if they must not start here."""
        place = self._start_order.line_up(frame)
        try:
            made = await self._reach(frame.dispatch)
            if place is not None:
                await place.come()
            if delivery is not None and not delivery.begin():
                return None
            return self._manager.handle(frame, self._shard_of(frame.dispatch), made)
        finally:
            if place is not None:
                place.leave()

    async def handle_for_another(self, frame: Frame) -> Outcome | None:
        """Handle once what another process forwarded and settles; None if it is on its way to somebody else."""
        key = _attempt_of(frame)
        if frame.sent_again:
            return await self._handle_here(frame)
        while (sighting := self._seen.begin(key)) is Sighting.RUNNING:
            if self._owners is not None and self._owners.is_forwarding(frame.dispatch.message_id):
                return None  # two that wait for each other would wait for ever
            ended = asyncio.Event()
            self._seen.when_ended(key, ended.set)
            await ended.wait()
        if sighting is Sighting.HANDLED:
            self._counters.duplicates_dropped += 1
            return Outcome()
        outcome = None
        try:  # it may have waited here for its turn
            outcome = Outcome() if self._is_too_old(frame) else await self._handle_here(frame)
        finally:
            self._seen.end(key, handled=outcome is not None and outcome.is_good)
        return outcome

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

    async def _on_failure(self, delivery: Delivery, frame: Frame, outcome: Outcome) -> bool:
        if outcome.failure is not None:
            reason = f"hikari cannot read this {frame.dispatch.type}: {outcome.failure}"
            return await self._settling.bury(delivery, reason, frame)
        self._counters.failed += 1
        if self._policy.on_error is OnError.ACK:
            self._counters.failures_acknowledged += 1
            delivery.ack()
            return True
        delay_s = self._policy.retry_delay_s(
            attempt_count=frame.dispatch.attempt, interaction_age_s=frame.interaction_age_s(time.time())
        )
        if delay_s is None:
            return await self._settling.bury(delivery, outcome.listener_failure or "a listener raised", frame)
        return await self._settling.retry(delivery, frame, delay_s)


def _attempt_of(frame: Frame) -> str:
    """What is handled once: a dispatch, or one more attempt after its listeners failed."""
    dispatch = frame.dispatch
    return dispatch.message_id if dispatch.attempt == 1 else f"{dispatch.message_id} {dispatch.attempt}"
