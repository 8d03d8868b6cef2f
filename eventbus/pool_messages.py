"""What the processes of a partitioned group tell each other; see docs/wire.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from eventbus.group_layout import MAX_PARTITIONS
from eventbus.messages import Message, ShardCount

MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]


class PoolRollCall(Message):
    """The process whose queue is `member` is about to join: tell it who you are."""

    kind: Literal["pool.roll_call"] = "pool.roll_call"
    member: MemberName


class PoolMember(Message):
    """The process whose queue is `member` takes its share of the partitions, and knows of so many shards."""

    kind: Literal["pool.member"] = "pool.member"
    member: MemberName
    shard_count: ShardCount


class PoolLeft(Message):
    """`member` takes no partitions any more: it stops, or its connection is gone."""

    kind: Literal["pool.left"] = "pool.left"
    member: MemberName


class PartitionFreed(Message):
    """`member` no longer consumes the partition, and has started all that it took from it."""

    kind: Literal["partition.freed"] = "partition.freed"
    member: MemberName
    partition: Annotated[int, Field(ge=0, lt=MAX_PARTITIONS)]


PoolNotice = Annotated[PoolRollCall | PoolMember | PoolLeft | PartitionFreed, Field(discriminator="kind")]

pool_notice: TypeAdapter[PoolNotice] = TypeAdapter(PoolNotice)
