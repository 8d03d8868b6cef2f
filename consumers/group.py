"""A consumer group as one of its processes sees it: deliveries in, handlers run, each delivery settled once."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING

from consumers.lane import Lane
from consumers.partitions import Partitions
from eventbus.amqp.group_queues import LANES, MOST_UNWANTED, GroupQueues, slot_count
from eventbus.errors import BrokerLostError
from eventbus.names import EVENT_TYPE_PATTERN, INTERACTION_LANE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from consumers.limits import TypeLimits
    from eventbus.amqp.deliveries import Delivery
    from eventbus.amqp.link import DeliveryLink, Link
    from eventbus.group_layout import GroupLayout
    from eventbus.names import Names

    Service = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

MAX_SHARD_COUNT = 10_000
"""What a malformed dispatch may at most make a group bind."""
BIND_AGAIN_S = 60.0
"""Bindings go with an exchange that is deleted, and nobody tells if another process declares it anew."""


class Group:
    """This process's share of a group. `link` only consumes, `publishing` publishes: an alarm stops links that do."""

    def __init__(  # noqa: PLR0913 - what a process makes of a group
        self,
        link: DeliveryLink,
        publishing: Link,
        names: Names,
        group: str,
        *,
        layout: GroupLayout,
        prefetch_count: int,
        limits: TypeLimits,
        wanted: Callable[[], frozenset[str]],
        handle: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        self._link = link
        self._changed = asyncio.Event()
        self._must_bind_again = False
        self._wanted = wanted
        self._told_unwanted: set[str] = set()
        self._lanes = {
            lane: Lane(
                names.group(group, lane),
                slot_count=slot_count(lane, prefetch_count),
                limits=limits,
                handle=handle,
                urgent=lane == INTERACTION_LANE,
            )
            for lane in LANES
        }
        self._queues = GroupQueues(
            link,
            names,
            group,
            prefetch_count=prefetch_count,
            wanted=wanted,
            take=self._take,
            layout=layout,
            shard_count=lambda: self._partitions.shard_count if self._partitions else 1,
        )
        self._partitions: Partitions | None = None
        if layout.is_partitioned:
            self._partitions = Partitions(
                link,
                publishing,
                names,
                group,
                partition_count=layout.partition_count,
                prefetch_count=prefetch_count,
                take=functools.partial(self._take, None),
            )

    @property
    def bound(self) -> frozenset[str]:
        """The event types that this process bound."""
        return self._queues.bound

    @property
    def held_partitions(self) -> frozenset[int]:
        """The partitions that this process consumes."""
        return self._partitions.held if self._partitions is not None else frozenset()

    @property
    def placed_shard_count(self) -> int:
        """How many shards of the fleet partitions were bound for; 0 of a group without partitions."""
        return self._queues.placed_shard_count

    def request_sync(self) -> None:
        """Listeners came or went: bind and unbind soon."""
        self._changed.set()

    def bind_again(self, event_type: str) -> None:
        """The exchange of an event type is there again, without its bindings."""
        if event_type in self.bound:
            self._must_bind_again = True
            self._changed.set()

    def grow(self, shard_count: int) -> None:
        """The fleet has so many shards."""
        if self._partitions is not None and shard_count > self._partitions.shard_count:
            self._partitions.grow(shard_count)
            self._changed.set()

    def _take(self, lane: str | None, delivery: Delivery) -> None:
        if self._partitions is not None:
            shard_count = delivery.headers.get("shard_count")
            if isinstance(shard_count, int) and shard_count <= MAX_SHARD_COUNT:
                self.grow(shard_count)
        if delivery.event_type not in self._queues.bound:
            self._note_unwanted(delivery.event_type)
        self._lanes[lane].take(delivery)

    def _note_unwanted(self, event_type: str | None) -> None:
        if event_type is None or event_type in self._wanted() or EVENT_TYPE_PATTERN.fullmatch(event_type) is None:
            return
        self._queues.note_unwanted(event_type)
        if event_type not in self._told_unwanted and len(self._told_unwanted) < MOST_UNWANTED:
            self._told_unwanted.add(event_type)
            sentence = "nobody in this process listens to what comes: another process, or an earlier release, bound it"
            _log.info(sentence, extra={"action": "unwanted_type", "type": event_type})

    async def open(self, *, timeout_s: float) -> None:
        """Declare, bind and consume. Raises BrokerUnreachableError, BrokerLostError or BrokerRefusedError."""
        await self._link.open(timeout_s=timeout_s)

    def services(self) -> tuple[tuple[str, Service], ...]:
        """What runs as long as the group is open: name and coroutine function."""
        lanes = ((f"lane {lane or 'events'}", one.run) for lane, one in self._lanes.items())
        partitions = self._partitions.services() if self._partitions is not None else ()
        return (("group link", self._link.keep), ("bindings", self._keep_bound), *lanes, *partitions)

    async def _keep_bound(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BIND_AGAIN_S):
                    await self._changed.wait()
            except TimeoutError:
                self._must_bind_again = True
            again, self._must_bind_again = self._must_bind_again, False
            self._changed.clear()
            try:
                await self._queues.sync(again=again)
            except BrokerLostError as error:
                _log.debug("bindings wait for the broker", extra={"action": "bind_later", "reason": str(error)})

    async def drain(self) -> None:
        """Take no more, and wait until every handler ended and every delivery is settled."""
        await self._queues.stop()
        if self._partitions is not None:
            await self._partitions.stop()  # what it took starts before the lanes start nothing more
        _log.info("taking no more", extra={"action": "taking_no_more"})
        await asyncio.gather(*(lane.drain() for lane in self._lanes.values()))

    async def cancel(self) -> int:
        """Cancel the handlers that still run; their deliveries come again. How many that were."""
        return sum([await lane.cancel() for lane in self._lanes.values()])
