"""A consumer group as one of its processes sees it: deliveries in, handlers run, each delivery settled once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from consumers.errors import MalformedDispatchError
from consumers.frame import decode
from consumers.lane import Lane
from eventbus.amqp.group_queues import LANES, GroupQueues
from eventbus.errors import BrokerLostError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from hikari.api import GatewayShard

    from consumers.dispatch import Dispatch
    from consumers.event_manager import EventManager
    from eventbus.amqp.deliveries import DeadLetters, Delivery
    from eventbus.amqp.link import Link
    from eventbus.names import Names

    Service = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 10.0


class Group:
    """This process's share of a group. `link` serves nothing else: an alarm stops links that publish."""

    def __init__(
        self,
        link: Link,
        names: Names,
        group: str,
        *,
        prefetch_count: int,
        manager: EventManager,
        dead_letters: DeadLetters,
        shard_of: Callable[[Dispatch], GatewayShard],
    ) -> None:
        self._link = link
        self._manager = manager
        self._dead_letters = dead_letters
        self._shard_of = shard_of
        self._changed = asyncio.Event()
        self._lanes = {
            lane: Lane(names.group(group, lane), slot_count=prefetch_count, handle=self._handle) for lane in LANES
        }
        self._queues = GroupQueues(
            link,
            names,
            group,
            prefetch_count=prefetch_count,
            wanted=manager.wanted_types,
            take=lambda lane, delivery: self._lanes[lane].take(delivery),
        )

    @property
    def bound(self) -> frozenset[str]:
        """The event types that this process bound."""
        return self._queues.bound

    def request_sync(self) -> None:
        """Listeners came or went: bind and unbind soon."""
        self._changed.set()

    async def open(self, *, timeout_s: float) -> None:
        """Declare, bind and consume. Raises BrokerUnreachableError, BrokerLostError or BrokerRefusedError."""
        await self._link.open(timeout_s=timeout_s)

    def services(self) -> tuple[tuple[str, Service], ...]:
        """What runs as long as the group is open: name and coroutine function."""
        lanes = ((f"lane {lane or 'events'}", one.run) for lane, one in self._lanes.items())
        return (("group link", self._link.keep), ("bindings", self._keep_bound), *lanes)

    async def _keep_bound(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._queues.sync()
            except BrokerLostError as error:
                _log.debug("bindings wait for the broker", extra={"action": "bind_later", "reason": str(error)})

    async def drain(self) -> None:
        """Take no more, and wait until every handler ended and every delivery is settled."""
        await self._queues.stop()
        _log.info("taking no more", extra={"action": "taking_no_more"})
        await asyncio.gather(*(lane.drain() for lane in self._lanes.values()))

    async def cancel(self) -> int:
        """Cancel the handlers that still run; their deliveries come again. How many that were."""
        return sum([await lane.cancel() for lane in self._lanes.values()])

    # One delivery

    async def _handle(self, delivery: Delivery) -> None:
        try:
            frame = decode(
                delivery.body,
                event_type=delivery.event_type,
                message_id=delivery.message_id,
                headers=delivery.headers,
                redelivered=delivery.is_redelivered,
            )
        except MalformedDispatchError as error:
            await self._bury(delivery, str(error))
            return
        handling = self._manager.handle(frame, self._shard_of(frame.dispatch))
        try:
            await handling.finish()
        except asyncio.CancelledError:
            handling.cancel()
            raise
        if handling.failure is None:
            await delivery.ack()
        else:
            failure = handling.failure
            reason = f"hikari cannot read this {frame.dispatch.type}: {type(failure).__name__}: {failure}"
            await self._bury(delivery, reason)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        """Store a dead letter, then acknowledge: in this order, so that it cannot get lost."""
        _log.error(
            "a delivery became a dead letter",
            extra={"action": "dead_letter", "queue": delivery.queue, "type": delivery.event_type, "reason": reason},
        )
        retry_s = FIRST_RETRY_S
        while not delivery.is_gone:
            try:
                await self._dead_letters.put(delivery, reason)
            except (BrokerLostError, UnroutableError) as error:
                _log.warning("no dead letter yet", extra={"action": "dead_letter_retry", "reason": str(error)})
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)
            else:
                await delivery.ack()
                return
