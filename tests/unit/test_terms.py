"""Whose records in the session stream count."""

from __future__ import annotations

from coordinator.terms import Terms


def test_what_an_older_term_writes_behind_a_newer_ones_beginning_is_void() -> None:
    terms = Terms()
    terms.began("one")
    assert not terms.is_void("one")
    terms.began("two")
    assert terms.is_void("one")
    assert not terms.is_void("two")


def test_ours_ends_when_another_begins_behind_it_and_not_by_its_own_beginning() -> None:
    terms = Terms()
    terms.expect("ours")
    assert terms.own is None
    assert not terms.began("ours")
    assert terms.own == "ours"
    assert terms.began("theirs")
    assert terms.own is None
    assert not terms.began("another")


def test_a_beginning_that_is_read_before_ours_does_not_end_ours() -> None:
    terms = Terms()
    terms.expect("ours")
    assert not terms.began("theirs")
    assert not terms.began("ours")
    assert terms.own == "ours"


def test_a_predecessor_is_known_by_its_beginning_or_by_its_records() -> None:
    alone, second, trimmed = Terms(), Terms(), Terms()
    second.began("first")
    trimmed.is_void("first")
    for terms in (alone, second, trimmed):
        terms.expect("ours")
        terms.began("ours")
    assert [one.has_predecessor for one in (alone, second, trimmed)] == [False, True, True]


def test_after_a_loss_whoever_writes_counts_and_a_predecessor_is_not_wholly_known() -> None:
    terms = Terms()
    terms.began("one")
    terms.note_loss()
    assert not terms.is_void("two")
    assert terms.is_void("one")
    terms.expect("ours")
    terms.began("ours")
    assert terms.own == "ours"
    assert not terms.has_predecessor
    terms.began("three")
    assert terms.has_predecessor
