"""The names of everything on the broker, from a namespace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
EVENT_TYPE_PATTERN = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

INTERACTION_LANE = "interactions"
INTERACTION_CREATE = "INTERACTION_CREATE"
"""The event type that has a way of its own, from the worker's publishing channel to the group's queue."""


def is_name(text: str) -> bool:
    """Whether `text` may be a namespace, a group or a process id: letters, digits, `_` and `-`, 1 to 64 of them."""
    return NAME_PATTERN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Names:
    """Exchange and queue names of one namespace; see docs/wire.md for what each carries."""

    namespace: str = "gw"

    def event(self, event_type: str) -> str:
        """Topic exchange of one gateway event type; routing key = shard id."""
        return f"{self.namespace}.event.{event_type}"

    def group(self, group: str, lane: str | None = None) -> str:
        """Queue of a consumer group, or of one lane of it."""
        return f"{self.namespace}.group.{group}" + (f".{lane}" if lane else "")

    def owners(self, group: str) -> str:
        """Fanout exchange on which a group's processes tell what they own; their queues are named after it."""
        return f"{self.namespace}.owners.{group}"

    def partition(self, group: str, number: int) -> str:
        """Queue of one partition of a group: the dispatches of its shards, in order."""
        return self.group(group, f"partition-{number}")

    def partition_owner(self, group: str, number: int) -> str:
        """Exclusive queue of the connection that consumes a partition: the lock of who may."""
        return f"{self.partition(group, number)}.owner"

    def partitions(self, group: str, count: int) -> str:
        """Direct exchange of a group that has `count` partitions; key = shard id."""
        return f"{self.namespace}.partitions.{group}.{count}"

    def unplaced(self, group: str) -> str:
        """Fanout exchange of the dispatches of shards that no partition of the group is bound to yet."""
        return f"{self.namespace}.partitions.{group}.unplaced"

    def layout(self, group: str) -> str:
        """Queue whose arguments say how a group's processes keep the order; it goes with the last of them."""
        return f"{self.group(group)}.layout"

    def pool(self, group: str) -> str:
        """Fanout exchange on which a group's processes know each other; their queues are named after it."""
        return f"{self.namespace}.pool.{group}"

    def dead(self, group: str) -> str:
        """Queue of a group's dead letters."""
        return f"{self.namespace}.dead.{group}"

    def delay(self, delay_s: int) -> str:
        """Fanout exchange and queue of what is to come again after `delay_s`; key = the queue to come back to."""
        return f"{self.namespace}.delay.{delay_s}"

    def commands(self, group: str, made: str | None = None) -> str:
        """Stream of a group's command syncs; with a digest, the queue whose consumers run with those commands."""
        return f"{self.namespace}.commands.{group}" + (f".{made}" if made else "")

    def command_turn(self, group: str) -> str:
        """Exclusive queue of the process of a group that syncs commands now."""
        return f"{self.namespace}.commands.{group}.turn"

    def work(self, group: str, name: str) -> str:
        """Exclusive queue of the process of a group that does what only one is to do."""
        return f"{self.namespace}.work.{group}.{name}"

    def cache(self, heavy: Iterable[str] = (), what: str | None = None) -> str:
        """Stream of what changes the guilds, with the `heavy` parts named.

        `what`: `guilds` are its snapshots, `index` says where they lie; `writer`, `filler` and
        `members` are the locks of who writes one, who fetches guilds over REST, and who asks for missing members.
        """
        return ".".join((self.namespace, "cache", *heavy, *((what,) if what else ())))

    def worker(self, worker_id: str) -> str:
        """Exclusive queue of a worker's publishing connection: while it exists, the worker can publish."""
        return f"{self.namespace}.worker.{worker_id}"

    def inbox(self, worker_id: str) -> str:
        """Exclusive queue of a worker's control connection: pokes from the coordinator and gateway commands."""
        return f"{self.namespace}.inbox.{worker_id}"

    def consumer(self, consumer_id: str) -> str:
        """Exclusive queue of one consumer process: copies of the dispatches that it waits for."""
        return f"{self.namespace}.consumer.{consumer_id}"

    @property
    def coordinator(self) -> str:
        """RPC queue of the coordinator that leads."""
        return f"{self.namespace}.coordinator"

    @property
    def sessions(self) -> str:
        """Stream of the checkpoints of all sessions."""
        return f"{self.namespace}.sessions"

    @property
    def presence(self) -> str:
        """Stream of the presences that bots set."""
        return f"{self.namespace}.presence"

    @property
    def shard(self) -> str:
        """Direct exchange of gateway commands; key = shard id, bound by the shard's holder."""
        return f"{self.namespace}.shard"

    @property
    def holder(self) -> str:
        """Direct exchange that proves who can publish for a shard; key = shard id, bound to `worker` queues."""
        return f"{self.namespace}.holder"

    @property
    def control(self) -> str:
        """Topic exchange of what happens in the fleet."""
        return f"{self.namespace}.control"
