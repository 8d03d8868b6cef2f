"""The chunks of one request for members."""

from __future__ import annotations

from typing import Any

import hikari

from consumers.members import Chunks

GUILD = hikari.Snowflake(5)
NOTHING: Any = None


def chunk(index: int, count: int, *user_ids: int, not_found: tuple[int, ...] = ()) -> hikari.MemberChunkEvent:
    members: dict[hikari.Snowflake, Any] = {hikari.Snowflake(one): f"member {one}" for one in user_ids}
    return hikari.MemberChunkEvent(
        app=NOTHING,
        shard=NOTHING,
        guild_id=GUILD,
        members=members,
        chunk_index=index,
        chunk_count=count,
        not_found=[hikari.Snowflake(one) for one in not_found],
        presences={},
        nonce="n",
    )


def test_chunks_are_complete_when_each_came_in_whatever_order_and_however_often() -> None:
    chunks = Chunks()
    assert not chunks.is_complete
    chunks.add(chunk(2, 3, 30))
    chunks.add(chunk(0, 3, 10, not_found=(7,)))
    chunks.add(chunk(0, 3, 10, not_found=(7,)))
    assert not chunks.is_complete
    assert (chunks.count, chunks.expected_count) == (2, 3)
    chunks.add(chunk(1, 3, 20, not_found=(8,)))
    assert chunks.is_complete
    answer = chunks.put_together(GUILD)
    assert list(answer.members) == [10, 20, 30]
    assert answer.not_found == (7, 8)
    assert answer.guild_id == GUILD
