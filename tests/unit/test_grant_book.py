"""The newest grant of every shard."""

from __future__ import annotations

from coordinator.grant_book import GrantBook
from eventbus.messages import Grant


def test_the_newest_grant_of_a_shard_counts_in_whatever_order_they_come() -> None:
    book = GrantBook()
    for token, worker_id in ((7, "b"), (5, "a")):
        book.learn(Grant(shard=0, fencing_token=token, worker_id=worker_id))
    assert (book.token_of(0), book.token_of(1), book.highest_token) == (7, 0, 7)


def test_only_the_newest_grant_of_a_shard_names_its_grantee() -> None:
    book = GrantBook()
    book.learn(Grant(shard=0, fencing_token=7, worker_id="b"))
    asked = [(0, 7), (0, 6), (0, 8), (1, 7)]
    assert [book.grantee_of(*one) for one in asked] == ["b", None, None, None]
