"""Which shards were connected and disconnected, from what workers tell."""

from __future__ import annotations

from consumers.shard_connections import ShardConnections
from eventbus.messages import LiveShard, ShardsStatus, WorkerDead


def status(worker_id: str, **states: str) -> ShardsStatus:
    """`s3_7="connected"`: shard 3 under token 7."""
    shards = []
    for name, state in states.items():
        shard, token = name.removeprefix("s").split("_")
        shards.append(LiveShard(shard=int(shard), fencing_token=int(token), state=state))
    return ShardsStatus(worker_id=worker_id, shards=tuple(shards))


def test_what_a_worker_says_first_is_no_news() -> None:
    connections = ShardConnections()
    assert connections.hear(status("w", s0_1="connected", s1_1="resuming")) == []
    assert connections.found_connected
    assert connections.hear(status("w", s0_1="connected", s1_1="connected")) == [(1, True)]
    assert connections.hear(status("w", s0_1="connected", s1_1="connected")) == []


def test_a_shard_that_reconnects_was_disconnected_and_is_connected() -> None:
    connections = ShardConnections()
    connections.hear(status("w"))
    assert connections.hear(status("w", s0_1="connected")) == [(0, True)]
    assert not connections.found_connected
    assert connections.hear(status("w", s0_1="resuming")) == [(0, False)]
    assert connections.hear(status("w", s0_1="connected")) == [(0, True)]


def test_a_break_that_was_over_before_its_worker_said_so_is_both() -> None:
    connections = ShardConnections()
    for count, changes in ((1, []), (1, []), (2, [(0, False), (0, True)]), (2, [])):
        live = LiveShard(shard=0, fencing_token=1, state="connected", connect_count=count)
        assert connections.hear(ShardsStatus(worker_id="w", shards=(live,))) == changes


def test_a_shard_that_moves_is_disconnected_and_connected_once() -> None:
    connections = ShardConnections()
    connections.hear(status("a", s0_1="connected"))
    connections.hear(status("b"))
    assert connections.hear(status("a", s0_1="handing_over")) == [(0, False)]
    assert connections.hear(status("b", s0_2="resuming")) == []
    assert connections.hear(status("b", s0_2="connected")) == [(0, True)]
    assert connections.hear(status("a", s0_1="connected")) == []  # late
    assert connections.hear(status("a")) == []


def test_a_takeover_that_nobody_saw_end_is_both() -> None:
    connections = ShardConnections()
    connections.hear(status("a", s0_1="connected"))
    assert connections.hear(status("b", s0_2="connected")) == [(0, False), (0, True)]
    assert connections.hear(WorkerDead(worker_id="a", shards=(0,))) == []


def test_the_shards_of_a_dead_worker_are_disconnected() -> None:
    connections = ShardConnections()
    connections.hear(status("a", s0_1="connected", s1_1="waiting"))
    assert connections.hear(WorkerDead(worker_id="a", shards=(0, 1))) == [(0, False)]
    assert connections.hear(status("a", s0_1="connected")) == [(0, True)]
