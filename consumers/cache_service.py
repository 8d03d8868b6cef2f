"""All that keeps one process's cache fresh, put together; what a consumer opens, serves and closes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import hikari

from consumers.cache_copy import CacheCopy
from consumers.cache_filler import CacheFiller
from consumers.cache_generations import Generations
from consumers.cache_members import CacheMembers
from consumers.cache_writer import CacheWriter
from eventbus.amqp.cache_streams import CacheStreams
from eventbus.amqp.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumers.dispatch import Dispatch
    from consumers.group import Service
    from consumers.parts import HikariParts
    from consumers.shard_proxy import ShardProxy
    from eventbus.names import Names

_log = logging.getLogger(__name__)


class CacheService:
    """The cache of `parts`, if some were chosen; else nothing, at no cost. `writing` is a link that publishes."""

    def __init__(
        self,
        parts: HikariParts,
        writing: Link,
        names: Names,
        *,
        name: str,
        shard_of: Callable[[Dispatch], ShardProxy],
        shards: Callable[[], Mapping[int, ShardProxy]],
        asks_for_members: bool,
    ) -> None:
        chosen = self._chosen = parts.cache_parts
        self._link = Link(writing.broker, name=f"{name} cache")
        streams = CacheStreams(self._link, writing, names, heavy=chosen.heavy, types=chosen.streamed_types)
        generations = Generations(streams, heavy=chosen.heavy)
        self.copy = CacheCopy(
            streams,
            generations,
            CacheWriter(parts.entity_factory, parts.event_factory, parts.cache, chosen),
            listens=parts.event_manager.is_heard,
            shard_of=shard_of,
            any_shard=lambda: next(iter(shards().values())),
        )
        self._members = CacheMembers(self.copy, streams, shards=shards)
        self._asks_for_members = asks_for_members and "members" in chosen.names
        self._filler = CacheFiller(self.copy, streams, generations, heavy=chosen.heavy, make_rest=parts.make_json_rest)

    async def open(self, intents: hikari.Intents, serve: Callable[[str, Service], None], *, timeout_s: float) -> None:
        """Return when the cache is complete; `serve(name, service)` runs what keeps it so. Raises RelayError."""
        if not self._chosen.names:
            return
        for sentence in self._chosen.missing_intents(intents):
            _log.warning(sentence, extra={"action": "missing_intent"})
        await self._link.open(timeout_s=timeout_s)
        serve("cache link", self._link.keep)
        await self.copy.load()
        serve("cache", self.copy.keep)
        serve("cache bindings", self.copy.keep_bound)
        serve("cache generations", self.copy.keep_written)
        serve("cache filler", self._filler.keep)
        if self._asks_for_members and intents & hikari.Intents.GUILD_MEMBERS:
            serve("cache members", self._members.keep)

    async def reach(self, dispatch: Dispatch) -> hikari.Event | None:
        """Wait until the cache has come to a dispatch; the event with the state before it, if it is still known."""
        return await self.copy.reach(dispatch) if dispatch.type in self._chosen.types else None

    async def close(self) -> None:
        """Close its connection."""
        await self._link.close()
