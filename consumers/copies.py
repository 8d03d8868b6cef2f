"""Brings copies of dispatches to this process: its own queues, bound to what somebody here waits for."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from consumers.errors import MalformedDispatchError
from consumers.frame import decode
from eventbus.amqp.own_queue import OwnQueue
from eventbus.errors import BrokerLostError
from eventbus.names import INTERACTION_CREATE
from eventbus.refusal_log import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import hikari
    from hikari.api import GatewayShard

    from consumers.dispatch import Dispatch
    from consumers.event_manager import EventManager
    from consumers.frame import Frame
    from eventbus.amqp.deliveries import Delivery
    from eventbus.amqp.link import DeliveryLink
    from eventbus.names import Names

_log = logging.getLogger(__name__)

BIND_AGAIN_S = 60.0
"""Bindings go with an exchange that is deleted, and nobody tells if another process declares it anew."""
RETRY_S = 1.0
LINK_PATIENCE_S = 10.0
MAX_BEHIND_CACHE = 10_000
LATE_S = 5.0
"""A copy that comes so long after the worker had it: the queue may be full, and then the oldest copies are dropped."""
URGENT = frozenset(
    {
        *(INTERACTION_CREATE, "GUILD_MEMBERS_CHUNK", "RATE_LIMITED", "VOICE_SERVER_UPDATE", "VOICE_STATE_UPDATE"),
        *("READY", "RESUMED", "USER_UPDATE"),
    }
)
"""They have a queue of their own, so that a flood of others neither delays them nor takes their place."""


class Copies:
    """One process's; run `run()` and `follow_cache()` as tasks. `link` serves nothing that publishes.

    `reach(dispatch)` waits for the process's cache, if it keeps one and `reaches(event_type)`.
    """

    def __init__(
        self,
        link: DeliveryLink,
        names: Names,
        consumer_id: str,
        *,
        manager: EventManager,
        shard_of: Callable[[Dispatch], GatewayShard],
        reach: Callable[[Dispatch], Awaitable[hikari.Event | None]],
        reaches: Callable[[str], bool],
    ) -> None:
        self._link = link
        self._manager = manager
        self._shard_of = shard_of
        self._reach = reach
        self._reaches = reaches
        self._behind_cache: dict[bool, asyncio.Queue[Frame]] = {
            is_urgent: asyncio.Queue(MAX_BEHIND_CACHE) for is_urgent in (True, False)
        }
        self._unreadable = RefusalLog("a copy of what is waited for cannot be read", action="copy_refused")
        self._too_late = RefusalLog("waiters miss dispatches: the cache is too far behind", action="copy_dropped")
        self._late = RefusalLog(
            "copies of what is waited for come late, and some may be dropped: this process is too slow for them",
            action="copy_late",
        )
        self._changed = asyncio.Event()
        self._bind_again_at = 0.0
        own = functools.partial(OwnQueue, link, names, take=self._take, on_loss=self._changed.set)
        self._queues = (
            own(names.consumer(f"{consumer_id}.urgent"), wanted=lambda: self._wanted() & URGENT),
            own(names.consumer(consumer_id), wanted=lambda: self._wanted() - URGENT),
        )

    @property
    def bound(self) -> frozenset[str]:
        """The event types whose copies come to this process."""
        return frozenset().union(*(queue.bound for queue in self._queues))

    def _wanted(self) -> frozenset[str]:
        return self._manager.waiters.demand.wanted(time.monotonic()) | self._manager.types_for_everyone()

    def request_sync(self) -> None:
        """What is wanted changed: bind and unbind soon."""
        self._changed.set()

    def bind_again(self, event_type: str) -> None:
        """The exchange of an event type is there again, without its bindings."""
        if event_type in self.bound:
            self._bind_again_at = 0.0
            self._changed.set()

    async def sync(self) -> None:
        """Return when all that is wanted is bound. Raises BrokerLostError."""
        try:
            async with asyncio.timeout(LINK_PATIENCE_S):
                await self._link.is_up.wait()
        except TimeoutError:
            raise BrokerLostError("no connection to RabbitMQ to get copies over: try again when it is back") from None
        await self._sync(again=False)

    async def _sync(self, *, again: bool) -> None:
        for queue in self._queues:
            await queue.sync(again=again)

    async def run(self) -> None:
        """Bind and unbind for ever."""
        while True:
            again = await self._due()
            try:
                await self._sync(again=again)
            except BrokerLostError as error:
                _log.debug("bindings wait for the broker", extra={"action": "bind_later", "reason": str(error)})
                await self._link.is_up.wait()
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def _due(self) -> bool:
        """Wait for the next thing to do; whether all is to be bound again."""
        end = self._manager.waiters.demand.next_end()
        due_at = self._bind_again_at if end is None else min(self._bind_again_at, end)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(due_at - time.monotonic(), 0)):
                await self._changed.wait()
        self._changed.clear()
        if time.monotonic() < self._bind_again_at:
            return False
        self._bind_again_at = time.monotonic() + BIND_AGAIN_S
        return True

    def _take(self, copy: Delivery) -> None:
        if not self._manager.hears(copy.event_type):
            return
        try:
            frame = decode(
                copy.body,
                event_type=copy.event_type,
                message_id=copy.message_id,
                headers=copy.headers,
                redelivered=copy.is_redelivered,
            )
        except MalformedDispatchError as error:  # if the group listens to it, its own copy becomes a dead letter
            self._unreadable.refuse(copy.event_type or "", type=copy.event_type, reason=str(error))
            return
        late_s = time.time() - frame.dispatch.received_at
        if late_s > LATE_S:
            self._late.refuse(frame.dispatch.type, type=frame.dispatch.type, late_s=round(late_s, 1))
        behind_cache = self._behind_cache[frame.dispatch.type in URGENT]
        if not self._reaches(frame.dispatch.type):
            self._tell(frame, None)
        elif behind_cache.full():
            self._too_late.refuse(frame.dispatch.type, type=frame.dispatch.type)
        else:
            behind_cache.put_nowait(frame)

    async def follow_cache(self) -> None:
        """Tell of what changes the cache when it is changed, in the order of its queue, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._behind_cache.values():
                tasks.create_task(self._follow_cache(queue), name="copies behind the cache")

    async def _follow_cache(self, queue: asyncio.Queue[Frame]) -> None:
        while True:
            frame = await queue.get()
            self._tell(frame, await self._reach(frame.dispatch))

    def _tell(self, frame: Frame, made: hikari.Event | None) -> None:
        contextvars.copy_context().run(self._manager.take_copy, frame, self._shard_of(frame.dispatch), made)
