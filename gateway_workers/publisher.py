"""Publishes dispatches in order over one connection, with confirms and a bounded window.

No task and no future per dispatch: a dispatch is rendered to bytes, appended to the outbox, and written with all others
of the same turn of the event loop. When the connection is lost, everything unconfirmed is written again on the next
one, after the worker's leases were validated anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from eventbus.amqp.link import FIRST_BACKOFF_S, next_backoff
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.publish_frames import PublishTemplate, as_replayed
from eventbus.amqp.session_stream import STREAM_ARGUMENTS
from eventbus.errors import BrokerLostError, BrokerRefusedError, BrokerUnreachableError
from eventbus.names import EVENT_TYPE_PATTERN
from gateway_workers.outbox import ConfirmedSeq, Outbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names

_log = logging.getLogger(__name__)

BATCH_SIZE = 100


class Outlet:
    """Where one lease's dispatches go; made by `DispatchPublisher.outlet`."""

    def __init__(
        self, publisher: DispatchPublisher, *, shard: int, shard_count: int, fencing_token: int, seq: int
    ) -> None:
        self._publisher = publisher
        self._shard = shard
        self._headers = {"shard": shard, "shard_count": shard_count, "fencing_token": fencing_token}
        self._templates: dict[str, PublishTemplate] = {}
        self.mark = ConfirmedSeq(seq)

    @property
    def is_drained(self) -> bool:
        """Whether all that was published is confirmed."""
        return self.mark.confirmed == self.mark.added

    def new_session(self) -> None:
        """A new Discord session begins: its seq counts from 0, and nothing of it is confirmed."""
        self.mark = ConfirmedSeq(0)

    async def prepare(self, event_type: str) -> None:
        """Declare the exchange of `event_type` if need be. Raises ValueError for a name that is no event type."""
        if event_type not in self._templates:
            await self._publisher.declare(event_type)
            self._templates[event_type] = PublishTemplate(
                exchange=self._publisher.names.event(event_type),
                routing_key=str(self._shard),
                event_type=event_type,
                headers=self._headers,
                frame_max=self._publisher.frame_max,
            )

    def knows(self, event_type: str) -> bool:
        """Whether `prepare` was done for `event_type`."""
        return event_type in self._templates

    def publish(
        self, event_type: str, frame: bytes, *, seq: int, session_id: str, replayed: bool, received_at: float
    ) -> None:
        """Append a dispatch; `prepare(event_type)` must have been done."""
        message_id = f"{session_id}:{seq}".encode()
        publish = self._templates[event_type].render(frame, message_id, replayed=replayed, received_at=received_at)
        self._publisher.add(self.mark, seq, publish)


class DispatchPublisher:
    """A worker's way to the broker. `open()` first, then `keep()` as a task, `close()` at the end."""

    def __init__(self, broker: Broker, names: Names, *, worker_id: str, max_count: int, max_bytes: int) -> None:
        self.names = names
        self.frame_max = 131072
        self._broker = broker
        self._worker_id = worker_id
        self._outbox = Outbox(max_count=max_count, max_bytes=max_bytes, as_repeated=as_replayed)
        self._connection: PublishConnection | None = None
        self._is_valid = False
        self._held: set[int] = set()
        self._declared: set[str] = set()
        self._flush_is_due = False
        self._progress = asyncio.Event()

    # The path of a dispatch

    def outlet(self, *, shard: int, shard_count: int, fencing_token: int, seq: int) -> Outlet:
        """A way out for one lease; `seq` is the last one that is known to be confirmed."""
        return Outlet(self, shard=shard, shard_count=shard_count, fencing_token=fencing_token, seq=seq)

    def add(self, mark: ConfirmedSeq, seq: int, publish: bytes) -> None:
        """Append a rendered publish; it is written in this turn of the event loop or when the broker takes it."""
        self._outbox.add(mark, seq, publish)
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    @property
    def is_full(self) -> bool:
        """Whether readers must wait until the broker confirmed something."""
        return self._outbox.is_full

    @property
    def backlog(self) -> tuple[int, int]:
        """Unconfirmed publishes and their bytes."""
        return len(self._outbox), self._outbox.byte_count

    async def room(self) -> None:
        """Wait until the window has room."""
        while self._outbox.is_full:
            await self._next_progress()

    async def drained(self, outlet: Outlet) -> None:
        """Wait until all that `outlet` published is confirmed."""
        while not outlet.is_drained:
            await self._next_progress()

    async def confirmed(self, mark: ConfirmedSeq) -> None:
        """Wait until all that was added with `mark` is confirmed."""
        while mark.confirmed != mark.added:
            await self._next_progress()

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def withdraw(self, outlet: Outlet) -> None:
        """Forget all that is unconfirmed of a lease; what was written already is cut off with the connection."""
        is_on_its_way = self._outbox.has_sent(outlet.mark)
        self.drop(outlet)
        if is_on_its_way and self._connection is not None:
            self._connection.abort("a lease ends with unconfirmed publishes")

    def drop(self, outlet: Outlet) -> None:
        """Forget what was not sent yet of a lease that was lost."""
        self._outbox.drop(outlet.mark)
        outlet.mark.added = outlet.mark.confirmed
        self._progress.set()

    def _flush(self) -> None:
        self._flush_is_due = False
        connection = self._connection
        while connection is not None and self._is_valid and connection.is_writable and self._outbox.has_unsent:
            connection.publish(self._outbox.take(BATCH_SIZE))

    def _on_confirm(self, tag: int, multiple: bool, ok: bool) -> None:
        if self._connection is None:
            return
        if not ok:
            # What was refused must go again before what follows it, or the shard's order is lost.
            self._connection.abort(f"RabbitMQ refused publish {tag}")
            return
        self._outbox.on_ack(tag, multiple=multiple)
        self._progress.set()

    # The connection

    async def open(self, *, timeout_s: float) -> None:
        """Connect for the first time, trying again until `timeout_s` has passed.

        Raises BrokerUnreachableError, or BrokerRefusedError at once.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                await self._connect()
            except (BrokerUnreachableError, BrokerLostError):
                if asyncio.get_running_loop().time() + backoff_s > deadline:
                    raise
            else:
                self._is_valid = True
                return
            await asyncio.sleep(backoff_s)
            backoff_s = next_backoff(backoff_s)

    async def keep(self, revalidate: Callable[[], Awaitable[None]]) -> None:
        """Open the connection again whenever it is lost, for ever.

        `revalidate()` asks for the leases again and drops those that were lost; not a byte is published before it
        returned. It raises BrokerLostError to be called again.
        """
        while True:
            if self._connection is None:
                raise RuntimeError("open() comes before keep()")
            reason = await asyncio.shield(self._connection.closed)
            self._is_valid = False
            self._outbox.rewind()
            _log.warning(
                "publishing connection lost", extra={"action": "publisher_lost", "reason": reason, **self._fields()}
            )
            await self._reopen(revalidate)
            _log.info("publishing connection is back", extra={"action": "publisher_back", **self._fields()})

    async def _reopen(self, revalidate: Callable[[], Awaitable[None]]) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            try:
                await self._connect()
                await revalidate()
            except (BrokerUnreachableError, BrokerRefusedError, BrokerLostError) as error:
                _log.debug("no broker yet", extra={"action": "publisher_retry", "reason": str(error)})
                if self._connection is not None:
                    self._connection.abort("starting again")
            else:
                self._is_valid = True
                self._flush()
                return
            backoff_s = next_backoff(backoff_s)

    def _fields(self) -> dict[str, int]:
        count, byte_count = self.backlog
        return {"unconfirmed": count, "unconfirmed_bytes": byte_count}

    async def _connect(self) -> None:
        connection = await PublishConnection.open(
            self._broker, name=f"{self._worker_id} publishing", on_confirm=self._on_confirm, on_writable=self._flush
        )
        try:
            await connection.declare_proof_queue(self.names.worker(self._worker_id))
            await connection.declare_holder_exchange(self.names.holder)
            await connection.declare_stream(self.names.sessions, STREAM_ARGUMENTS)
            for event_type in tuple(self._declared):
                await connection.declare_event_exchange(self.names.event(event_type))
            await self._bind_held(connection)
        except BaseException:
            connection.abort("could not be set up")
            raise
        self.frame_max = min(self.frame_max, connection.frame_max)
        self._connection = connection

    async def _bind_held(self, connection: PublishConnection) -> None:
        bound: set[int] = set()
        while bound != self._held:  # `hold` and `let_go` go on meanwhile
            for shard in self._held - bound:
                await self._bind(connection, shard)
                bound.add(shard)
            for shard in bound - self._held:
                await self._unbind(connection, shard)
                bound.discard(shard)

    async def _bind(self, connection: PublishConnection, shard: int) -> None:
        await connection.bind(self.names.worker(self._worker_id), self.names.holder, str(shard))

    async def _unbind(self, connection: PublishConnection, shard: int) -> None:
        await connection.unbind(self.names.worker(self._worker_id), self.names.holder, str(shard))

    async def hold(self, shard: int) -> None:
        """Let the broker vouch that we can publish for `shard`, from now on and after every reconnect."""
        self._held.add(shard)
        if self._connection is not None and not self._connection.closed.done():
            await self._bind(self._connection, shard)

    async def let_go(self, shard: int) -> None:
        """End what `hold` began."""
        self._held.discard(shard)
        if self._connection is not None and not self._connection.closed.done():
            await self._unbind(self._connection, shard)

    async def declare(self, event_type: str) -> None:
        """Declare the exchange of `event_type`, waiting for the broker if need be. Raises ValueError for a bad name."""
        if EVENT_TYPE_PATTERN.fullmatch(event_type) is None:
            raise ValueError(f"{event_type!r} is not the name of a gateway event")
        while event_type not in self._declared:
            try:
                await self._valid_connection().declare_event_exchange(self.names.event(event_type))
                self._declared.add(event_type)
            except BrokerLostError:
                await asyncio.sleep(FIRST_BACKOFF_S)

    def _valid_connection(self) -> PublishConnection:
        if self._connection is None or not self._is_valid:
            raise BrokerLostError("the publishing connection is being opened again")
        return self._connection

    async def close(self) -> None:
        """Close the connection; the proof of life ends with it."""
        if self._connection is not None:
            await self._connection.close()
