"""Which partitions of the group this process consumes: its share of them, while processes come and go."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

from consumers.pool import Pool
from eventbus.amqp.held_partition import HeldPartition
from eventbus.amqp.pool_queue import PoolQueue
from eventbus.errors import BrokerLostError
from eventbus.pool_messages import PartitionFreed, PoolLeft, PoolMember, PoolRollCall

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from eventbus.amqp.deliveries import Delivery
    from eventbus.amqp.link import DeliveryLink, Link
    from eventbus.names import Names
    from eventbus.pool_messages import PoolNotice

    Service = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

LEARN_S = 0.3
RETRY_S = 0.25
"""Between attempts at what another process still holds; it tells when it has given it up."""
WATCH_INTERVAL_S = 0.25
TELL_AGAIN_S = 20.0
"""A notice may be lost with a connection, or with the exchange if that is deleted: each tells of itself again."""


class Partitions:
    """This process's share. Run the `services`, `stop` at the end.

    `deliveries` is the link that consumes, `link` the one that publishes. Processes that disagree for a moment about
    who is there do no harm: the lock of each partition decides.
    """

    def __init__(
        self,
        deliveries: DeliveryLink,
        link: Link,
        names: Names,
        group: str,
        *,
        partition_count: int,
        prefetch_count: int,
        take: Callable[[Delivery], None],
    ) -> None:
        self._deliveries = deliveries
        self._names = names
        self._group = group
        self._prefetch_count = prefetch_count
        self._take = take
        self._pool = Pool(partition_count)
        self._queue = PoolQueue(deliveries, link, names, group, hear=self._hear, opened=self._opened)
        self._held: dict[int, HeldPartition] = {}
        self._releasing: dict[int, asyncio.Task[None]] = {}
        self._newcomers: list[str] = []
        self._changed = asyncio.Event()
        self._has_news = asyncio.Event()
        self._lock = asyncio.Lock()
        self._is_stopped = False
        self._must_tell = False
        self._warned = False

    def services(self) -> tuple[tuple[str, Service], ...]:
        """What runs as long as the group is open: name and coroutine function."""
        return (("partitions", self._keep_share), ("pool told", self._tell), ("pool watched", self._watch))

    @property
    def shard_count(self) -> int:
        """As many shards as any process of the group knows of."""
        return self._pool.shard_count

    @property
    def held(self) -> frozenset[int]:
        """What this process consumes."""
        return frozenset(self._held)

    def grow(self, shard_count: int) -> None:
        """The fleet has so many shards: what was not used before is spread evenly, too."""
        if self._pool.grow(shard_count):
            self._changed.set()
            self._must_tell = True
            self._has_news.set()

    # Who is there

    def _opened(self, name: str) -> None:
        """On a new connection: what was held went with the old one."""
        self._pool.begin(name)
        self._held.clear()
        self._has_news.set()

    def _hear(self, notice: PoolNotice) -> None:
        if notice.member == self._pool.me:
            return
        match notice:
            case PoolRollCall():
                self._newcomers.append(notice.member)
                self._has_news.set()
            case PoolMember():
                is_new = self._pool.add(notice.member)
                if self._pool.grow(notice.shard_count) or is_new:
                    self._changed.set()
            case PoolLeft():
                if self._pool.remove(notice.member):
                    self._changed.set()
            case PartitionFreed():
                self._changed.set()

    async def _tell(self) -> None:
        """Join, answer who is about to, and tell again now and then, for ever."""
        while True:
            try:
                async with asyncio.timeout(TELL_AGAIN_S):
                    await self._has_news.wait()
            except TimeoutError:
                self._must_tell = True
                await self._queue.bind_again()
            self._has_news.clear()
            if not self._pool.has_joined and not self._is_stopped:
                await self._join()
            must_tell, self._must_tell = self._must_tell, False
            newcomers, self._newcomers = self._newcomers, []
            if self._pool.has_joined:
                if must_tell:
                    await self._queue.tell_all(self._me())
                for newcomer in newcomers:
                    if self._pool.has_joined:
                        await self._queue.tell(newcomer, self._me())

    async def _join(self) -> None:
        """Hear who is there first: so no partition is wanted that stays with another."""
        me = self._pool.me
        if not me:
            return
        was_told = await self._queue.tell_all(PoolRollCall(member=me))
        await asyncio.sleep(LEARN_S)
        if not was_told:
            self._has_news.set()  # try again
        elif me == self._pool.me and not self._is_stopped:
            self._pool.join()
            self._changed.set()
            self._must_tell = True

    def _me(self) -> PoolMember:
        return PoolMember(member=self._pool.me, shard_count=self._pool.shard_count)

    async def _watch(self) -> None:
        """Look after the others for ever: each time the next in the ring, and one of all in turn.

        Whoever should look after a process that is gone need not know of it: it may have come as that one went.
        """
        for turn in itertools.count():
            await asyncio.sleep(WATCH_INTERVAL_S)
            ring = tuple(self._pool.behind_me())
            for member in ring:
                if not await self._is_gone(member):
                    break
            if ring:
                await self._is_gone(ring[turn % len(ring)])

    async def _is_gone(self, member: str) -> bool:
        """Whether its connection is gone: then it is forgotten, here and everywhere."""
        is_gone = await self._queue.is_gone(member)
        if is_gone and self._pool.remove(member):
            _log.info("a process of the group is gone", extra={"action": "member_gone", "member": member})
            self._changed.set()
            await self._queue.tell_all(PoolLeft(member=member))
        return is_gone

    # What is whose

    async def _keep_share(self) -> None:
        while True:
            async with self._lock:
                has_all = await self._reconcile()
            try:
                async with asyncio.timeout(None if has_all else RETRY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def _reconcile(self) -> bool:
        """Give up what is no longer this process's, take what has come to be; whether it has all of its share."""
        share = self._pool.share()
        self._warn_if_idle(share)
        for number in tuple(self._held):
            if self._held[number].is_gone:
                del self._held[number]
            elif number not in share:
                self._release(number)
        missing = sorted(share - self._held.keys() - self._releasing.keys())
        await asyncio.gather(*(self._hold(number) for number in missing))
        return share <= self._held.keys()

    async def _hold(self, number: int) -> None:
        me = self._pool.me
        try:
            held = await HeldPartition.hold(
                self._deliveries.connection,
                self._names.partition(self._group, number),
                self._names.partition_owner(self._group, number),
                prefetch_count=self._prefetch_count,
                take=self._take,
            )
        except BrokerLostError as error:
            _log.debug("partition not taken", extra={"action": "hold_failed", "reason": str(error)})
            return
        if held is not None and me == self._pool.me:
            self._held[number] = held
            _log.info("partition taken", extra={"action": "partition_taken", "partition": number})

    def _release(self, number: int) -> None:
        held = self._held.pop(number)
        task = asyncio.create_task(self._give_up(number, held), name=f"release partition {number}")
        self._releasing[number] = task

    async def _give_up(self, number: int, held: HeldPartition) -> None:
        me = self._pool.me
        try:
            given_back = await held.release()
            fields = {"action": "partition_freed", "partition": number, "given_back": given_back}
            _log.info("partition given up", extra=fields)
            await self._queue.tell_all(PartitionFreed(member=me, partition=number))
        except BrokerLostError as error:
            _log.warning("partition not given up", extra={"action": "release_failed", "reason": str(error)})
            if not self._is_stopped and me == self._pool.me:
                await self._deliveries.restart("a partition could not be given up")
        finally:
            del self._releasing[number]
            self._changed.set()

    def _warn_if_idle(self, share: frozenset[int]) -> None:
        used_count = self._pool.used_count
        is_idle = self._pool.has_joined and not any(number < used_count for number in share)
        if is_idle and not self._warned:
            _log.warning(
                "more processes than partitions with dispatches: this one gets only interactions",
                extra={"action": "no_partition", "processes": self._pool.size, "partitions": used_count},
            )
        self._warned = is_idle

    async def stop(self) -> None:
        """Give up all partitions, and tell the others. `_keep_share` may go on."""
        self._is_stopped = True
        me, was_member = self._pool.me, self._pool.has_joined
        self._pool.leave()
        if was_member:
            await self._queue.tell_all(PoolLeft(member=me))
        self._changed.set()
        async with self._lock:  # what is about to be taken is taken first
            for number in tuple(self._held):
                self._release(number)
        while self._releasing:
            await asyncio.gather(*self._releasing.values(), return_exceptions=True)
