"""Free shards that stay free although somebody would take them are named once."""

from __future__ import annotations

from coordinator.ungranted import OVERDUE_S, Ungranted


def test_a_shard_is_named_once_until_it_was_granted() -> None:
    ungranted = Ungranted()
    assert ungranted.overdue([(3, "a")], 0.0) == []
    assert ungranted.overdue([(3, "a"), (1, "b")], OVERDUE_S - 1) == []
    assert ungranted.overdue([(3, "b"), (1, "b")], OVERDUE_S) == [3]
    assert ungranted.overdue([(3, "b"), (1, "b")], OVERDUE_S + 1) == []
    assert ungranted.overdue([(3, "b"), (1, "b")], 2 * OVERDUE_S) == [1]
    assert ungranted.overdue([], 3 * OVERDUE_S) == []
    assert ungranted.overdue([(3, "b")], 3 * OVERDUE_S) == []
    assert ungranted.overdue([(3, "b")], 4 * OVERDUE_S) == [3]
