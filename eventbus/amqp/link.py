"""A connection to the broker that is opened again, with jittered back-off, whenever it is lost.

What a process needs on the broker (queues, bindings, consumers) is set up by its `on_connect` callbacks, each time
anew: nothing is left to a client library's own recovery. What is lost alone, a channel or a consumer, is set up again
by the same way: the whole connection is given up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import aiormq.exceptions
from pamqp import commands

from eventbus.amqp.border import broker_border
from eventbus.amqp.broker import Broker, connect
from eventbus.amqp.consume_connection import ConsumeConnection
from eventbus.errors import BrokerLostError, BrokerRefusedError, BrokerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection

_log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 5.0
SETUP_TIMEOUT_S = 15.0


class Connection(Protocol):
    """What a link keeps open."""

    @property
    def is_closed(self) -> bool:
        """Whether it is gone."""

    async def close(self) -> None:
        """Close it in good order."""


C = TypeVar("C", bound=Connection)


class KeptConnection(ABC, Generic[C]):
    """One connection of a process. `open()` first, then `keep()` as a task, `close()` at the end."""

    def __init__(self, broker: Broker, *, name: str) -> None:
        self._broker = broker
        self._name = name
        self._callbacks: list[Callable[[C], Awaitable[None]]] = []
        self._connection: C | None = None
        self._lost = asyncio.Event()
        self._given_up: C | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.is_up = asyncio.Event()

    @property
    def broker(self) -> Broker:
        """Where this link leads."""
        return self._broker

    @property
    def connection(self) -> C:
        """The live connection. Raises BrokerLostError while there is none."""
        if self._connection is None or self._lost.is_set():
            raise BrokerLostError(f"the connection to RabbitMQ at {self._broker} is down; it is being opened again")
        return self._connection

    def on_connect(self, callback: Callable[[C], Awaitable[None]]) -> None:
        """Have `callback(connection)` awaited after every connect, in the order of registration."""
        self._callbacks.append(callback)

    def _give_up(self, connection: C, reason: str) -> None:
        if connection.is_closed or connection is self._given_up:
            return
        self._given_up = connection
        _log.warning("connection to the broker opened again", extra={"action": "link_restart", "reason": reason})
        task = asyncio.create_task(self._close_lost(connection), name="close after a lost channel")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_lost(self, connection: C) -> None:
        await close_quietly(connection)
        if connection is self._connection:
            self._lost.set()

    async def open(self, *, timeout_s: float) -> None:
        """Connect for the first time, trying again until `timeout_s` has passed.

        Raises BrokerUnreachableError, or BrokerRefusedError at once.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await self._connect()
            except (BrokerUnreachableError, BrokerLostError):
                if asyncio.get_running_loop().time() + backoff_s > deadline:
                    raise
            await asyncio.sleep(backoff_s)
            backoff_s = next_backoff(backoff_s)

    async def keep(self) -> None:
        """Wait for the loss of the connection and open it again, for ever; run it as a task."""
        while True:
            await self._lost.wait()
            self.is_up.clear()
            _log.warning("broker lost, reconnecting", extra={"action": "broker_lost", "broker": str(self._broker)})
            await self._reconnect()
            _log.info("broker is back", extra={"action": "broker_back", "broker": str(self._broker)})

    async def _reconnect(self) -> None:
        backoff_s, is_told = FIRST_BACKOFF_S, False
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            try:
                return await self._connect()
            except (BrokerUnreachableError, BrokerRefusedError, BrokerLostError) as error:
                if isinstance(error, BrokerRefusedError) and not is_told:
                    is_told = True
                    _log.error("the broker refuses us", extra={"action": "broker_refuses", "reason": str(error)})
                _log.debug("no broker yet", extra={"action": "broker_retry", "reason": str(error)})
            backoff_s = next_backoff(backoff_s)

    @abstractmethod
    async def _connect_once(self) -> C:
        """One attempt. Raises BrokerUnreachableError or BrokerRefusedError."""

    @abstractmethod
    def _watch(self, connection: C, lost: asyncio.Event) -> None:
        """Set `lost` when the connection is gone."""

    async def _connect(self) -> None:
        _end_if_cancelled()
        connection = await self._connect_once()
        lost = asyncio.Event()
        self._watch(connection, lost)
        what = f"RabbitMQ at {self._broker} did not set up what we need"
        try:
            async with broker_border(what, timeout_s=SETUP_TIMEOUT_S):
                for callback in self._callbacks:
                    await callback(connection)
            _end_if_cancelled()
        except BrokerLostError as error:
            await close_quietly(connection)
            raise BrokerLostError(f"{what}: {str(error).removeprefix(f'{what}: ')}") from error
        except BaseException:
            await close_quietly(connection)
            raise
        self._connection, self._lost = connection, lost
        if connection.is_closed:  # given up while it was set up
            lost.set()
        self.is_up.set()

    async def restart(self, reason: str) -> None:
        """Close the connection, so that `keep` opens it again and all is set up anew."""
        if self._connection is not None:
            self._give_up(self._connection, reason)
        if self._closing:
            await asyncio.wait(tuple(self._closing))

    async def close(self) -> None:
        """Close the connection for good."""
        connection, self._connection = self._connection, None
        self.is_up.clear()
        if connection is not None:
            await close_quietly(connection)


class Link(KeptConnection["AbstractConnection"]):
    """A connection of aio-pika's, for everything but a worker's publishing and a consumer's deliveries."""

    async def _connect_once(self) -> AbstractConnection:
        return await connect(self._broker, name=self._name)

    def _watch(self, connection: AbstractConnection, lost: asyncio.Event) -> None:
        # Not `connection.closed()`: aio-pika's plain connection only knows of its own close() there.
        connection.close_callbacks.add(lambda *_: lost.set())

    async def open_channel(
        self, connection: AbstractConnection, *, confirms: bool, on_cancel: Callable[[], None] | None = None
    ) -> AbstractChannel:
        """A channel for an `on_connect` callback; with `confirms`, a message that comes back raises, too.

        If the channel is lost alone, or a consumer on it because its queue was deleted (`on_cancel()` is called
        first), the link starts from a new connection. So do not close it. Raises what aio-pika raises.
        """
        channel = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)

        def on_close(_: Any, reason: BaseException | None) -> None:  # noqa: ANN401 - aio-pika's sender
            if reason is not None and not isinstance(reason, aiormq.exceptions.AMQPConnectionError | OSError):
                self._give_up(connection, repr(reason))

        def on_consumer_cancel(frame: Any) -> None:  # noqa: ANN401 - aiormq's frame
            if isinstance(frame, commands.Basic.Cancel):  # else the answer to a cancel of our own
                if on_cancel is not None:
                    on_cancel()
                self._give_up(connection, "a queue that we consume was deleted")

        channel.close_callbacks.add(on_close, weak=False)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(on_consumer_cancel)
        return channel


class DeliveryLink(KeptConnection[ConsumeConnection]):
    """A consumer's connection for deliveries: it serves nothing else."""

    async def _connect_once(self) -> ConsumeConnection:
        return await ConsumeConnection.open(self._broker, name=self._name)

    def _watch(self, connection: ConsumeConnection, lost: asyncio.Event) -> None:
        connection.closed.add_done_callback(lambda _: lost.set())


def _end_if_cancelled() -> None:
    """`wait_for` of Python 3.11, inside aiormq, loses a cancellation that comes as what it waits for ends."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def close_quietly(connection: Connection) -> None:
    """Close within a bound; a connection that is already dead is no error."""
    try:
        async with broker_border("close", timeout_s=3.0):
            await connection.close()
    except BrokerLostError as error:
        _log.debug("close failed", extra={"action": "close_failed", "reason": repr(error)})


def next_backoff(backoff_s: float) -> float:
    """The wait after `backoff_s`: doubled, up to MAX_BACKOFF_S."""
    return min(backoff_s * 2, MAX_BACKOFF_S)
