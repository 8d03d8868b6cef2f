"""Requests and replies over the broker: a client with typed failures, a server that answers everything."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import PublishError

from eventbus import messages
from eventbus.amqp.border import broker_border
from eventbus.errors import BrokerLostError, RpcTimeoutError, UnroutableError
from eventbus.refusal_log import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

    from eventbus.amqp.link import Link

_log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_S = 5.0
ACK_TIMEOUT_S = 5.0


class RpcClient:
    """Calls over a link; replies come to an exclusive queue of the link's connection."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: AbstractChannel | None = None
        self._reply_queue = ""
        self._pending: dict[str, asyncio.Future[bytes]] = {}
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(BrokerLostError("the broker was lost while a reply was awaited"))
        channel = await self._link.open_channel(connection, confirms=True)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        await queue.consume(self._on_reply, no_ack=True)
        self._channel, self._reply_queue = channel, queue.name

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        future = self._pending.get(message.correlation_id or "")
        if future is not None and not future.done():
            future.set_result(message.body)

    async def call(self, *, exchange: str, routing_key: str, body: bytes, timeout_s: float) -> bytes:
        """Publish `body` and wait for the reply's body.

        Raises UnroutableError (nobody there), RpcTimeoutError or BrokerLostError (outcome unknown).
        """
        correlation_id = uuid.uuid4().hex
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self._publish(exchange, routing_key, body, correlation_id, timeout_s)
                return await future
        except TimeoutError as error:
            raise RpcTimeoutError(f"no reply on {routing_key!r} within {timeout_s:g} s") from error
        finally:
            del self._pending[correlation_id]
            future.cancel()

    async def _publish(self, exchange: str, routing_key: str, body: bytes, correlation_id: str, ttl_s: float) -> None:
        message = Message(
            body,
            content_type="application/json",
            delivery_mode=DeliveryMode.NOT_PERSISTENT,
            correlation_id=correlation_id,
            message_id=correlation_id,
            reply_to=self._reply_queue,
            expiration=ttl_s,
        )
        await publish_routed(self._channel_now(), exchange, routing_key, message)

    def _channel_now(self) -> AbstractChannel:
        _ = self._link.connection
        if self._channel is None or self._channel.is_closed:
            raise BrokerLostError("the connection to RabbitMQ is being opened again")
        return self._channel


async def publish_routed(channel: AbstractChannel, exchange: str, routing_key: str, message: Message) -> None:
    """Publish and wait for the confirm. Raises UnroutableError if no queue takes the message, or BrokerLostError."""
    async with broker_border(f"the publish to {exchange or routing_key!r} is unconfirmed", timeout_s=PUBLISH_TIMEOUT_S):
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        try:
            await target.publish(message, routing_key, mandatory=True)
        except PublishError as error:  # it came back; a nack is another error, and no proof that nobody is there
            raise UnroutableError(
                f"nobody takes messages for {routing_key!r} on {exchange or 'the broker'!r}"
            ) from error


async def is_bound(channel: AbstractChannel, exchange: str, routing_key: str) -> bool:
    """Whether a queue would take a message with `routing_key` now: the broker's own word, by a `mandatory` ping.

    Raises BrokerLostError if the broker gave no answer.
    """
    ping = Message(b"", message_id=uuid.uuid4().hex, expiration=1, delivery_mode=DeliveryMode.NOT_PERSISTENT)
    try:
        await publish_routed(channel, exchange, routing_key, ping)
    except UnroutableError:
        return False
    return True


class RpcServer:
    """Answers the requests that arrive on one queue, one after another.

    `declare(channel)` gives the queue, on every connect anew. `handle(body)` gives the reply; a
    MalformedMessageError becomes a typed failure, anything else an `internal` one. Run `serve()` as a task.
    """

    def __init__(
        self,
        link: Link,
        *,
        declare: Callable[[AbstractChannel], Awaitable[AbstractQueue]],
        handle: Callable[[bytes], Awaitable[messages.Message]],
        prefetch: int = 64,
    ) -> None:
        self._link = link
        self._declare = declare
        self._handle = handle
        self._prefetch = prefetch
        self._refusals = RefusalLog("malformed request", action="bad_request")
        self._waiting: asyncio.Queue[tuple[AbstractChannel, AbstractIncomingMessage]] = asyncio.Queue()
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await self._link.open_channel(connection, confirms=False)
        await channel.set_qos(prefetch_count=self._prefetch)
        queue = await self._declare(channel)

        async def take(request: AbstractIncomingMessage) -> None:
            await self._waiting.put((channel, request))  # bounded by the prefetch

        await queue.consume(take)

    async def serve(self) -> None:
        """Answer for ever."""
        while True:
            channel, request = await self._waiting.get()
            if channel.is_closed:
                continue  # the request was redelivered to whoever consumes the queue now
            reply = None if _is_ping(request) else await self._reply_to(request.body)
            try:
                if reply is not None:
                    async with broker_border("the reply", timeout_s=PUBLISH_TIMEOUT_S):
                        await _send_reply(channel, request, reply)
            except BrokerLostError as error:
                _log.warning("a reply could not be sent", extra={"action": "reply_lost", "reason": repr(error)})
            await self._acknowledge(channel, request)

    async def _acknowledge(self, channel: AbstractChannel, request: AbstractIncomingMessage) -> None:
        """Answered or not: too many that are neither acknowledged nor given back would be the last that we get."""
        try:
            async with broker_border("the acknowledgement", timeout_s=ACK_TIMEOUT_S):
                await request.ack()
        except BrokerLostError as error:
            if not channel.is_closed:
                await self._link.restart(f"a request could not be acknowledged: {error}")

    async def _reply_to(self, body: bytes) -> messages.Message:
        try:
            return await self._handle(body)
        except messages.MalformedMessageError as error:
            self._refusals.refuse(error.failure.message, reason=error.failure.message)
            return error.failure
        except Exception as error:  # noqa: BLE001 - the border of one control request: the service goes on
            _log.exception("request failed", extra={"action": "request_failed"})
            return messages.Failure(code=messages.ErrorCode.INTERNAL, message=f"the request failed: {error}")


def _is_ping(request: AbstractIncomingMessage) -> bool:
    """Whether somebody only wanted to know, from the broker, that the queue is there (`is_bound`)."""
    return not request.body and request.reply_to is None


async def _send_reply(channel: AbstractChannel, request: AbstractIncomingMessage, reply: messages.Message) -> None:
    if request.reply_to is None:
        return
    body = messages.encode(reply)
    message = Message(body, content_type="application/json", correlation_id=request.correlation_id)
    await channel.default_exchange.publish(message, request.reply_to, mandatory=False)
