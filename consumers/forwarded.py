"""Handles the dispatches that other processes of the group forward to this one, which owns what they are about."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from consumers.errors import MalformedDispatchError
from consumers.frame import decode
from eventbus.owner_messages import ForwardBegun, ForwardDeclined, ForwardHandled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.frame import Frame
    from consumers.limits import TypeLimits
    from consumers.outcome import Outcome
    from eventbus.amqp.deliveries import Delivery
    from eventbus.messages import Message

_log = logging.getLogger(__name__)

BEGUN_AFTER_S = 0.5
"""So long a handler runs until its sender is told that it runs: most have ended by then."""


class Forwarded:
    """Bounded by what the senders may have unsettled. Who forwarded a dispatch settles it, by the reply.

    `limits` are its own: with those of the lanes, two processes that forward to each other could wait for ever.
    """

    def __init__(
        self,
        handle: Callable[[Frame], Awaitable[Outcome | None]],
        reply: Callable[[Delivery, Message], Awaitable[object]],
        *,
        limits: TypeLimits,
    ) -> None:
        self._handle = handle
        self._reply = reply
        self._limits = limits
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Event] = set()
        self._is_draining = False

    def take(self, delivery: Delivery) -> None:
        """Start it as soon as there is room for its type, or decline."""
        task = asyncio.create_task(self._serve(delivery), name="forwarded delivery")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, delivery: Delivery) -> None:
        if self._is_draining:
            await self._reply(delivery, ForwardDeclined())
            return
        turn = asyncio.Event()
        self._limits.enter(delivery.event_type, turn.set)
        self._waiting.add(turn)
        try:
            await turn.wait()
        finally:
            self._waiting.discard(turn)
        try:
            telling = asyncio.create_task(self._tell_begun(delivery), name="tell that it runs")
            try:
                reply = await self._reply_to(delivery)
            finally:
                telling.cancel()
            await self._reply(delivery, reply)
        finally:
            self._limits.leave(delivery.event_type)

    async def _tell_begun(self, delivery: Delivery) -> None:
        await asyncio.sleep(BEGUN_AFTER_S)
        await self._reply(delivery, ForwardBegun())

    async def _reply_to(self, delivery: Delivery) -> Message:
        if self._is_draining:
            return ForwardDeclined()
        try:
            frame = decode(
                delivery.body,
                event_type=delivery.event_type,
                message_id=delivery.message_id,
                headers=delivery.headers,
                redelivered=delivery.is_redelivered,
            )
            outcome = await self._handle(frame)
        except MalformedDispatchError as error:
            _log.warning("forwarded dispatch refused", extra={"action": "bad_forward", "reason": str(error)})
            return ForwardDeclined()
        except Exception:  # noqa: BLE001 - the border of one delivery: who forwarded it handles it
            _log.exception("a forwarded delivery failed", extra={"action": "forwarded_failed"})
            return ForwardDeclined()
        if outcome is None:
            return ForwardDeclined()
        return ForwardHandled(failure=outcome.failure, listener_failure=outcome.listener_failure)

    async def finish_begun(self) -> None:
        """Wait until what runs now has ended, and take what comes meanwhile: it may be what a handler waits for."""
        if begun := tuple(self._running):
            await asyncio.wait(begun)

    async def drain(self) -> None:
        """Decline what waits or comes from now on, and wait until what runs has ended and its senders were told."""
        self._decline_from_now_on()
        while self._running:
            await asyncio.wait(tuple(self._running))

    async def cancel(self) -> int:
        """Cancel what still runs; how many that were."""
        self._decline_from_now_on()
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return len(running)

    def _decline_from_now_on(self) -> None:
        self._is_draining = True
        for turn in self._waiting:
            turn.set()
