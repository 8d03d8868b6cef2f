"""Publishes dispatches over one connection, with confirms and a bounded window; in order, but for urgent ones.

No task and no future per dispatch: a dispatch is rendered to bytes, appended to the outbox, and written with all others
of the same turn of the event loop. When the connection is lost, everything unconfirmed is written again on the next
one, after the worker's leases were validated anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from typing import TYPE_CHECKING

from eventbus.amqp.link import FIRST_BACKOFF_S, next_backoff
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.publish_frames import BULK_CHANNEL, URGENT_CHANNEL, as_replayed, body_size, exchange_of
from eventbus.errors import BrokerLostError, BrokerRefusedError, BrokerUnreachableError
from gateway_workers import broker_refusals
from gateway_workers.heap import Heap
from gateway_workers.outbox import Outbox
from gateway_workers.outlet import Outlet
from gateway_workers.topology import WorkerTopology

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.amqp.broker import Broker
    from eventbus.amqp.publish_topology import PublishTopology
    from eventbus.names import Names
    from gateway_workers.outbox import ChannelMark

_log = logging.getLogger(__name__)

BATCH_SIZE = 100
CHECK_INTERVAL_S = 2.0
"""Well below the grace after which the coordinator takes a worker without proof of life for dead."""
RESTORED_HOLD_S = 1.0
"""So long consumers have to bind again to an exchange that was gone."""
ENTRY_BYTES = 400
"""What Python and its allocator take for each unconfirmed publish beside its bytes: of small ones half of the whole."""


class DispatchPublisher:
    """A worker's way to the broker. `open()` first, then `keep()` as a task, `close()` at the end."""

    def __init__(self, broker: Broker, names: Names, *, worker_id: str, max_count: int, max_bytes: int) -> None:
        self.names = names
        self.frame_max = 131072
        self.max_body_bytes = sys.maxsize  # until the broker says otherwise
        self.refused_count = 0
        self.topology = WorkerTopology(names, worker_id=worker_id)
        self._broker = broker
        self._worker_id = worker_id
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._outboxes = {  # in the order in which they are written
            URGENT_CHANNEL: Outbox(as_repeated=as_replayed),
            BULK_CHANNEL: Outbox(as_repeated=as_replayed, is_paced=True),
        }
        self._connection: PublishConnection | None = None
        self._is_valid = False
        self._flush_is_due = False
        self._progress = asyncio.Event()
        self._heap = Heap()

    # The path of a dispatch

    def outlet(self, *, shard: int, shard_count: int, fencing_token: int, seq: int) -> Outlet:
        """A way out for one lease; `seq` is the last one that is known to be confirmed."""
        return Outlet(self, shard=shard, shard_count=shard_count, fencing_token=fencing_token, seq=seq)

    def add(self, mark: ChannelMark, seq: int, publish: bytes) -> None:
        """Append a publish that was rendered for the mark's channel.

        It is written in this turn of the event loop or when the broker takes it.
        """
        self._outboxes[mark.channel].add(mark, seq, publish)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    @property
    def is_full(self) -> bool:
        """Whether readers must wait until the broker confirmed something."""
        count, byte_count = self.backlog
        return byte_count + count * ENTRY_BYTES >= self._max_bytes or count >= self._max_count

    @property
    def backlog(self) -> tuple[int, int]:
        """Unconfirmed publishes and their bytes."""
        outboxes = self._outboxes.values()
        return sum(map(len, outboxes)), sum(outbox.byte_count for outbox in outboxes)

    async def room(self) -> None:
        """Wait until the window has room."""
        while self.is_full:
            await self._next_progress()

    async def drained(self, outlet: Outlet) -> None:
        """Wait until all that `outlet` published is confirmed."""
        while not outlet.is_drained:
            await self._next_progress()

    async def confirmed(self, mark: ChannelMark, *, all_but: int = 0) -> None:
        """Wait until what was added with `mark` is confirmed, but for the last `all_but` seqs."""
        while mark.added - mark.confirmed > all_but:
            await self._next_progress()

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def withdraw(self, outlet: Outlet) -> None:
        """Forget all that is unconfirmed of a lease; what was written already is cut off with the connection."""
        ways = [way for mark in outlet.marks for way in mark.ways]
        is_on_its_way = any(self._outboxes[way.channel].has_sent(way) for way in ways)
        self.drop(outlet)
        if is_on_its_way and self._connection is not None:
            self._connection.abort("a lease ends with unconfirmed publishes")

    def drop(self, outlet: Outlet) -> None:
        """Forget what was not sent yet of a lease that was lost."""
        for mark in outlet.marks:
            for way in mark.ways:
                self._outboxes[way.channel].drop(way)
            mark.close()
        self._progress.set()

    def refuse(self, mark: ChannelMark, seq: int, event_type: str, size: int) -> None:
        """Count a dispatch that the broker would not take; what follows it goes on."""
        self.refused_count += 1
        self._outboxes[mark.channel].skip(mark, seq)
        _log.debug("dispatch refused", extra={"action": "dispatch_refused", "type": event_type, "bytes": size})

    def _on_writable(self) -> None:
        self._flush()
        self._progress.set()

    def _flush(self) -> None:
        self._flush_is_due = False
        connection = self._connection
        if connection is None or not self._is_valid:
            return
        for outbox in self._outboxes.values():
            while connection.is_writable and (publishes := outbox.take(BATCH_SIZE)):
                connection.publish(publishes)

    def _on_confirm(self, channel: int, tag: int, multiple: bool, ok: bool) -> None:
        if self._connection is None:
            return
        if not ok:
            # What was refused must go again before what follows it, or the shard's order is lost.
            self._connection.abort(f"RabbitMQ refused publish {tag}")
            return
        outbox = self._outboxes[channel]
        outbox.on_ack(tag, multiple=multiple)
        if outbox.has_unsent:
            self._flush_soon()
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
            reason = await self._lost()
            self._is_valid = False
            for outbox in self._outboxes.values():
                outbox.rewind()
            _log.warning(
                "publishing connection lost", extra={"action": "publisher_lost", "reason": reason, **self._fields()}
            )
            self._learn(reason)
            await self._reopen(revalidate)
            _log.info("publishing connection is back", extra={"action": "publisher_back", **self._fields()})

    async def _lost(self) -> str:
        """Check what we have on the broker from time to time; why the connection ended."""
        connection = self._connection
        if connection is None:
            raise RuntimeError("open() comes before keep()")
        while True:
            self._heap.look(self.backlog[1])
            await asyncio.wait([connection.closed], timeout=CHECK_INTERVAL_S)
            if connection.closed.done():
                return connection.closed.result()
            if not connection.is_blocked:
                try:
                    await self.topology.check(connection.topology)
                except BrokerLostError as error:
                    _log.debug("check failed", extra={"action": "topology_check", "reason": str(error)})

    def _learn(self, reason: str) -> None:
        """The broker refused a publish: do what its words ask for, or the same would happen again."""
        missing, forbidden = broker_refusals.missing_exchange(reason), broker_refusals.forbidden_exchange(reason)
        limit = broker_refusals.size_limit(reason)
        if missing is not None:
            self.topology.on_missing(missing)
        if forbidden is not None:
            self.topology.on_forbidden(forbidden, reason)
        if limit is not None:
            self.max_body_bytes = limit
            advice = "raise RabbitMQ's max_message_size and restart the worker"
            fields = {"action": "frame_too_large", "limit_bytes": limit, "advice": advice}
            _log.warning("a dispatch is larger than RabbitMQ takes: refused", extra=fields)

    def _refuse_what_cannot_go(self) -> None:
        lost, limit = self.topology.lost_exchanges, self.max_body_bytes
        if not lost and limit == sys.maxsize:
            return
        for outbox in self._outboxes.values():
            self.refused_count += outbox.refuse(
                lambda publish: body_size(publish) > limit or (bool(lost) and exchange_of(publish) in lost)
            )
        lost.clear()

    async def _reopen(self, revalidate: Callable[[], Awaitable[None]]) -> None:
        backoff_s, is_told = FIRST_BACKOFF_S, False
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            is_connected = False
            try:
                await self._connect()
                is_connected = True
                await revalidate()
                await self._hold_back()
            except (BrokerUnreachableError, BrokerRefusedError, BrokerLostError) as error:
                if (is_connected or isinstance(error, BrokerRefusedError)) and not is_told:
                    is_told = True
                    fields = {"action": "publisher_waits", "reason": str(error)}
                    _log.warning("the broker is there, and nothing can be published yet", extra=fields)
                _log.debug("no broker yet", extra={"action": "publisher_retry", "reason": str(error)})
                if self._connection is not None:
                    self._connection.abort("starting again")
            else:
                self._refuse_what_cannot_go()
                self._is_valid = True
                self._on_writable()
                return
            backoff_s = next_backoff(backoff_s)

    async def _hold_back(self) -> None:
        """After an exchange was gone: consumers bind to it again before anything is published."""
        if self.topology.restored:
            await asyncio.sleep(RESTORED_HOLD_S)
            self.topology.restored.clear()

    async def vouched(self) -> None:
        """Wait until the broker has just said, on a valid connection that takes publishes, that it knows this worker.

        A worker that was frozen, or whose connection is half open, learns here that it is taken for dead.
        """
        while True:
            connection = self._usable_connection()
            if connection is None:
                await self._next_progress()
                continue
            try:
                await self.topology.prove(connection.topology)
            except BrokerLostError as error:
                _log.debug("not vouched for", extra={"action": "not_vouched", "reason": str(error)})
            else:
                if connection is self._usable_connection():
                    return

    def _usable_connection(self) -> PublishConnection | None:
        connection = self._connection
        if connection is None or not self._is_valid or connection.is_blocked or connection.closed.done():
            return None
        return connection

    def _fields(self) -> dict[str, int]:
        count, byte_count = self.backlog
        return {"unconfirmed": count, "unconfirmed_bytes": byte_count}

    async def _connect(self) -> None:
        connection = await PublishConnection.open(
            self._broker,
            name=f"{self._worker_id} publishing",
            on_confirm=self._on_confirm,
            on_writable=self._on_writable,
        )
        try:
            await self.topology.set_up(connection.topology)
        except BaseException:
            connection.abort("could not be set up")
            raise
        self.frame_max = min(self.frame_max, connection.frame_max)
        self._connection = connection

    async def hold(self, shard: int) -> None:
        """Let the broker vouch that we can publish for `shard`, from now on and after every reconnect."""
        await self.topology.hold(self._live_topology(), shard)

    async def let_go(self, shard: int) -> None:
        """End what `hold` began."""
        await self.topology.let_go(self._live_topology(), shard)

    def _live_topology(self) -> PublishTopology | None:
        connection = self._connection
        return None if connection is None or connection.closed.done() else connection.topology

    async def declare(self, event_type: str) -> None:
        """Declare the exchange of `event_type`, waiting for the broker if need be. Raises EventTypeRefusedError."""
        while True:
            try:
                return await self.topology.declare(self._valid_connection().topology, event_type)
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
