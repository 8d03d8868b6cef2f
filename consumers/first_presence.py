"""The presence that `Bot.start()` was given: sent to every shard, and again to each that begins a new session."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Unpack

import hikari

from eventbus.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from consumers.consumer import Consumer
    from consumers.event_manager import EventManager
    from consumers.shard_proxy import ShardProxy
    from consumers.start_request import Presence

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
COMMANDS_AT_ONCE = 32


class FirstPresence:
    """Listens to ShardReadyEvent while it is open: one process of the group gets it, and sends the presence."""

    def __init__(self, presence: Presence, manager: EventManager) -> None:
        self._presence = presence
        self._manager = manager

    async def during(self, living: Coroutine[Any, Any, None], consumer: Consumer) -> None:
        """Live, and listen and send meanwhile."""
        # Before the start, so that the group is bound to new sessions when the sending begins.
        self._manager.subscribe(hikari.ShardReadyEvent, self._on_ready)
        sending = asyncio.create_task(self._send_to_all(consumer), name="first presence")
        try:
            await living
        finally:
            sending.cancel()
            self._manager.unsubscribe(hikari.ShardReadyEvent, self._on_ready)

    async def _on_ready(self, event: hikari.ShardReadyEvent) -> None:
        try:
            await event.shard.update_presence()  # a shard remembers what was last set
        except RelayError as error:
            _log.warning("presence not set", extra={"action": "presence_failed", "reason": str(error)})

    async def _send_to_all(self, consumer: Consumer) -> None:
        await consumer.consuming.wait()
        places = asyncio.Semaphore(COMMANDS_AT_ONCE)
        await asyncio.gather(*(self._send(shard, places) for shard in consumer.shards.values()))

    async def _send(self, shard: ShardProxy, places: asyncio.Semaphore) -> None:
        wait_s = FIRST_RETRY_S
        if await self._is_taken(shard, places, **self._presence):
            return
        while not await self._is_taken(shard, places):  # what was set meanwhile counts
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MAX_RETRY_S)

    async def _is_taken(self, shard: ShardProxy, places: asyncio.Semaphore, **presence: Unpack[Presence]) -> bool:
        try:
            async with places:
                await shard.update_presence(**presence)
        except RelayError as error:
            fields = {"action": "presence_later", "shard": shard.id, "reason": str(error)}
            _log.debug("presence not taken yet", extra=fields)
            return False
        return True
