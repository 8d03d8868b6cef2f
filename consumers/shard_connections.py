"""Which shards came to be connected to Discord, or ceased to be, by what their workers tell everyone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventbus.messages import ShardsStatus, WorkerDead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventbus.messages import ControlEvent, LiveShard

CONNECTED = "connected"


class ConnectionChange(NamedTuple):
    """A shard was connected, or disconnected."""

    shard: int
    is_connected: bool


class _Holding(NamedTuple):
    worker_id: str
    fencing_token: int
    is_connected: bool
    connect_count: int


class ShardConnections:
    """What a worker says first is what was before: no news. `found_connected`: some shard was connected before."""

    def __init__(self) -> None:
        self._workers: set[str] = set()
        self._shards: dict[int, _Holding] = {}
        self.found_connected = False

    def hear(self, event: ControlEvent) -> list[ConnectionChange]:
        """What changed, in order; what does not concern shards changes nothing."""
        if isinstance(event, ShardsStatus):
            return list(self._hear_status(event))
        if isinstance(event, WorkerDead):
            self._workers.discard(event.worker_id)
            return list(self._lose(event.worker_id, frozenset()))
        return []

    def _hear_status(self, status: ShardsStatus) -> Iterator[ConnectionChange]:
        is_news = status.worker_id in self._workers
        self._workers.add(status.worker_id)
        yield from self._lose(status.worker_id, frozenset(live.shard for live in status.shards))
        for live in status.shards:
            yield from self._learn(status.worker_id, live, is_news=is_news)

    def _learn(self, worker_id: str, live: LiveShard, *, is_news: bool) -> Iterator[ConnectionChange]:
        before = self._shards.get(live.shard)
        if before is not None and before.fencing_token > live.fencing_token:
            return  # what its former holder still says
        now = _Holding(worker_id, live.fencing_token, live.state == CONNECTED, live.connect_count)
        self._shards[live.shard] = now
        was_connected = before.is_connected if before is not None else now.is_connected and not is_news
        self.found_connected = self.found_connected or (before is None and was_connected)
        is_another = before is not None and (
            before.fencing_token != now.fencing_token or before.connect_count < now.connect_count
        )
        if was_connected and (is_another or not now.is_connected):
            yield ConnectionChange(live.shard, is_connected=False)
        if now.is_connected and (is_another or not was_connected):
            yield ConnectionChange(live.shard, is_connected=True)

    def _lose(self, worker_id: str, held: frozenset[int]) -> Iterator[ConnectionChange]:
        """The worker does not run other shards than `held` any more."""
        for shard, holding in self._shards.items():
            if holding.worker_id == worker_id and holding.is_connected and shard not in held:
                self._shards[shard] = holding._replace(is_connected=False)
                yield ConnectionChange(shard, is_connected=False)
