"""Dispatches of a shard's former holders: dropped only if a successor surely published them too."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from consumers.former_holders import FormerHolders


@dataclass(frozen=True)
class Publish:
    token: int
    resumed_from: int | None
    seq: int


def is_duplicate(
    holders: FormerHolders, publish: Publish, *, session: str = "s", shard: int = 0, is_interaction: bool = False
) -> bool:
    return holders.is_duplicate(
        shard=shard,
        session_id=session,
        is_interaction=is_interaction,
        fencing_token=publish.token,
        resumed_from=publish.resumed_from,
        seq=publish.seq,
    )


def dropped(*publishes: Publish) -> list[Publish]:
    holders = FormerHolders()
    return [publish for publish in publishes if is_duplicate(holders, publish)]


def test_a_late_copy_of_what_the_successor_published_again_is_dropped() -> None:
    late = Publish(1, 0, 12)
    assert dropped(Publish(2, 10, 11), Publish(2, 10, 12), late) == [late]
    assert dropped(Publish(2, 10, 30), late) == [late]


def test_what_the_successor_did_not_publish_again_is_handled_however_late() -> None:
    assert dropped(Publish(2, 10, 11), Publish(2, 10, 12), Publish(1, 0, 10)) == []


def test_while_the_successor_was_not_seen_at_that_seq_the_late_copy_is_handled() -> None:
    assert dropped(Publish(2, 10, 11), Publish(1, 0, 12)) == []


def test_another_session_and_another_shard_prove_nothing() -> None:
    holders = FormerHolders()
    assert not is_duplicate(holders, Publish(2, 0, 99), session="other")
    assert not is_duplicate(holders, Publish(2, 0, 99), shard=1)
    assert not is_duplicate(holders, Publish(1, 0, 12))


def test_an_interaction_proves_nothing_of_other_dispatches_and_they_nothing_of_it() -> None:
    for proof in (True, False):
        holders = FormerHolders()
        assert not is_duplicate(holders, Publish(2, 10, 30), is_interaction=proof)
        assert not is_duplicate(holders, Publish(1, 0, 12), is_interaction=not proof)
        assert is_duplicate(holders, Publish(1, 0, 12), is_interaction=proof)


def test_a_successor_that_does_not_say_from_where_it_resumed_proves_nothing() -> None:
    assert dropped(Publish(2, None, 30), Publish(1, 0, 12)) == []


def test_a_later_holder_proves_what_the_one_between_published() -> None:
    late = Publish(1, 0, 12)
    assert dropped(Publish(2, 10, 11), Publish(3, 40, 41), late) == [late]
    assert dropped(Publish(3, 40, 41), late) == []


def test_what_comes_late_of_a_holder_between_proves_it_too() -> None:
    late = Publish(1, 0, 15)
    assert dropped(Publish(2, 10, 11), Publish(3, 10, 11), Publish(2, 10, 20), late) == [late]


def test_sessions_and_holders_are_bounded_and_what_is_forgotten_is_handled() -> None:
    holders = FormerHolders(session_count=4, holding_count=2)
    is_duplicate(holders, Publish(9, 0, 50), session="first")
    for number in range(20):
        is_duplicate(holders, Publish(2, 0, 1), session=f"s{number}")
    assert not is_duplicate(holders, Publish(1, 0, 12), session="first")
    for token in range(3, 9):
        is_duplicate(holders, Publish(token, token * 10, token * 10 + 5), session="many")
    assert not is_duplicate(holders, Publish(2, 0, 35), session="many")  # 3 is forgotten
    assert is_duplicate(holders, Publish(2, 0, 85), session="many")


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Publish], list[Publish]]:
    """All that the holders of one session published, and what one process sees of it, in any order, copies included.

    Each holder resumes from a checkpoint: not before its predecessor's, not behind what that one published.
    """
    published: list[Publish] = []
    low, high = 0, 0
    for token in range(1, draw(st.integers(2, 5)) + 1):
        start = draw(st.integers(low, high))
        end = draw(st.integers(start, start + 8))
        published += [Publish(token, start, seq) for seq in range(start + 1, end + 1)]
        low, high = start, max(start, end)
    order = draw(st.lists(st.sampled_from(published), max_size=60)) if published else []
    return published, order


@given(histories())
def test_what_is_dropped_was_published_again_by_a_later_holder(history: tuple[list[Publish], list[Publish]]) -> None:
    published, order = history
    holders = FormerHolders()
    for publish in order:
        if is_duplicate(holders, publish):
            assert any(one.seq == publish.seq and one.token > publish.token for one in published)


@given(histories())
def test_just_what_the_rule_says_is_dropped(history: tuple[list[Publish], list[Publish]]) -> None:
    _, order = history
    holders = FormerHolders()
    for index, publish in enumerate(order):
        before = order[:index]
        by_the_rule = any(
            successor.token > publish.token
            and successor.resumed_from is not None
            and successor.resumed_from < publish.seq
            and any(one.token >= successor.token and one.seq >= publish.seq for one in before)
            for successor in before
        )
        assert is_duplicate(holders, publish) == by_the_rule
