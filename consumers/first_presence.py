"""The presence that `Bot.start()` was given: the fleet remembers it, and every shard begins its sessions with it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from consumers import payloads
from consumers.errors import CommandTimeoutError, InvalidCommandError
from eventbus import gateway_payloads

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from consumers.consumer import Consumer
    from consumers.start_request import Presence

_log = logging.getLogger(__name__)

RETRY_S = 5.0


class FirstPresence:
    """Every process of a group stores it; what equals the one that was stored last changes nothing.

    So a process that starts again does not undo an `update_presence`, and a new first presence counts at once.
    """

    def __init__(self, presence: Presence) -> None:
        """Raises InvalidCommandError if Discord would refuse it."""
        self._fields = payloads.presence(**presence)
        try:
            gateway_payloads.check_presence_fields(self._fields)
        except gateway_payloads.InvalidPayloadError as error:
            raise InvalidCommandError(None, str(error)) from None

    async def during(self, living: Coroutine[Any, Any, None], consumer: Consumer) -> None:
        """Live, and store it meanwhile."""
        storing = asyncio.create_task(self._store(consumer), name="first presence")
        try:
            await living
        finally:
            storing.cancel()

    async def _store(self, consumer: Consumer) -> None:
        await consumer.consuming.wait()
        while True:
            try:
                await consumer.commands.store_presence(self._fields, None, is_first=True)
            except CommandTimeoutError as error:
                _log.debug("presence not stored yet", extra={"action": "presence_later", "reason": str(error)})
                await asyncio.sleep(RETRY_S)
            else:
                return
