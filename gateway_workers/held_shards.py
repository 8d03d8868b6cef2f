"""What a worker holds: a running shard for each lease, and its bindings on the broker."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventbus.errors import BrokerLostError
from eventbus.messages import Checkpoint, HeldLease, LiveShard
from gateway_workers.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventbus.amqp.bound_queue import BoundQueue
    from eventbus.messages import BotConfig, Lease, Leases
    from gateway_workers.publisher import DispatchPublisher
    from gateway_workers.shard import ShardTools

_log = logging.getLogger(__name__)

UNBIND_TIMEOUT_S = 1.0
HANDING_OVER = "handing_over"


class HeldShards:
    """One worker's, by shard id; their tasks run in `group`."""

    def __init__(
        self, publisher: DispatchPublisher, inbox: BoundQueue, tools: ShardTools, group: asyncio.TaskGroup
    ) -> None:
        self._publisher = publisher
        self._inbox = inbox
        self._tools = tools
        self._group = group
        self._by_shard: dict[int, Shard] = {}
        self._leaving: set[Shard] = set()
        self._releasing: set[Shard] = set()
        self._unbinding: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Shard]:
        return iter(tuple(self._by_shard.values()))

    def __contains__(self, shard: Shard) -> bool:
        return self._by_shard.get(shard.lease.shard) is shard

    def get(self, number: int) -> Shard | None:
        """The shard with this id, if it is held."""
        return self._by_shard.get(number)

    def held(self) -> tuple[HeldLease, ...]:
        """All leases as the coordinator is told of them."""
        return tuple(self._told(shard) for shard in self)

    def _told(self, shard: Shard) -> HeldLease:
        held = shard.held()
        return held.model_copy(update={"state": HANDING_OVER}) if shard in self._leaving else held

    def live(self) -> tuple[LiveShard, ...]:
        """All shards as everyone is told of them."""
        return tuple(
            LiveShard(
                shard=shard.lease.shard,
                fencing_token=shard.lease.fencing_token,
                state=HANDING_OVER if shard in self._leaving else shard.state.value,
                latency_s=shard.latency_s,
                connect_count=shard.connect_count,
            )
            for shard in self
        )

    def checkpoints(self) -> list[Checkpoint]:
        """Those that may be written now: the last one of a lease comes before its release."""
        return [shard.stream_checkpoint() for shard in self if shard not in self._releasing]

    # The life of one

    async def hold(self, numbers: Iterable[int]) -> None:
        """Have the broker vouch that we can publish for shards. Raises BrokerLostError."""
        for number in numbers:
            await self._publisher.hold(number)

    def start(self, lease: Lease, config: BotConfig) -> None:
        """Run a shard whose lease is confirmed."""
        shard = Shard(lease, config, self._tools)
        self._by_shard[lease.shard] = shard
        self._group.create_task(shard.run(), name=f"shard {lease.shard}")
        how = "resume" if lease.session else "identify"
        fields = {"action": "lease_taken", "shard": lease.shard, "token": lease.fencing_token, "how": how}
        _log.info("lease", extra=fields)

    async def take_commands(self, numbers: Iterable[int]) -> None:
        """Take gateway commands for shards that run."""
        await asyncio.gather(*(self._inbox.bind(self._publisher.names.shard, str(number)) for number in numbers))

    def begin_hand_over(self, shard: Shard) -> bool:
        """Whether its hand-over begins now: not if it has begun before, or if the shard is no longer held."""
        if shard in self._leaving or shard not in self:
            return False
        self._leaving.add(shard)
        return True

    def is_leaving(self, shard: Shard) -> bool:
        """Whether its hand-over has begun."""
        return shard in self._leaving

    async def refuse_commands(self, number: int) -> None:
        """Take no more gateway commands for a shard; what came before is answered."""
        unbinding = asyncio.create_task(
            self._inbox.unbind(self._publisher.names.shard, str(number)), name=f"no more commands for shard {number}"
        )
        self._unbinding.add(unbinding)
        unbinding.add_done_callback(self._unbinding.discard)
        # Never cancelled: that would close the inbox's channel, and the commands of all shards would end.
        await asyncio.wait([unbinding], timeout=UNBIND_TIMEOUT_S)

    def begin_release(self, shard: Shard) -> None:
        """From here on an answer that does not name the shard is no news."""
        self._releasing.add(shard)

    def forget(self, shard: Shard) -> None:
        """It is no longer held; a later lease of the same shard stays."""
        if shard in self:
            del self._by_shard[shard.lease.shard]
        self._leaving.discard(shard)
        self._releasing.discard(shard)

    async def let_go(self, numbers: Iterable[int]) -> None:
        """End the bindings of shards, side by side: the broker vouches for us no longer."""
        await asyncio.gather(*(self._let_go_one(number) for number in numbers))

    async def _let_go_one(self, number: int) -> None:
        await self.refuse_commands(number)
        await self.unvouch(number)

    async def unvouch(self, number: int) -> None:
        """End what `hold` began."""
        try:
            await self._publisher.let_go(number)
        except BrokerLostError as error:
            fields = {"action": "unbind_failed", "shard": number, "reason": str(error)}
            _log.debug("unbind failed", extra=fields)

    # What the coordinator says

    def is_news(self, lease: Lease, reported: frozenset[tuple[int, int]]) -> bool:
        """Whether a lease in an answer is to be taken; `reported` is what the request named, as (shard, token)."""
        current = self._by_shard.get(lease.shard)
        if current is not None:
            return current in self._releasing and lease.fencing_token > current.lease.fencing_token
        return (lease.shard, lease.fencing_token) not in reported  # else it was given back meanwhile

    async def drop_all_but(self, reply: Leases) -> None:
        """Abandon what is no longer ours."""
        granted = {(lease.shard, lease.fencing_token) for lease in reply.leases}
        lost = [
            shard
            for shard in self
            if (shard.lease.shard, shard.lease.fencing_token) not in granted and shard not in self._releasing
        ]
        await asyncio.gather(*(self._drop(shard) for shard in lost))

    async def _drop(self, shard: Shard) -> None:
        number = shard.lease.shard
        self.forget(shard)
        _log.warning("lease lost", extra={"action": "lease_lost", "shard": number})
        await shard.abandon()
        await self._let_go_one(number)
