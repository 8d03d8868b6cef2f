"""Who owns a message with components or a modal, as one process knows it."""

from __future__ import annotations

import pytest

from consumers.owner_book import OwnerBook


def test_what_nobody_told_of_belongs_to_nobody() -> None:
    assert OwnerBook().owner_of((1, 2), now=0) is None


def test_the_first_key_that_anybody_owns_decides() -> None:
    book = OwnerBook()
    book.learn("a", [1], now=0)
    book.learn("b", [2], now=0)
    assert book.owner_of((1, 2), now=0) == "a"
    assert book.owner_of((2, 1), now=0) == "b"
    assert book.owner_of((3, 2), now=0) == "b"


def test_what_is_its_own_is_for_nobody_else() -> None:
    book = OwnerBook()
    book.learn("b", [2], now=0)
    book.claim([1], now=0)
    assert book.owner_of((1, 2), now=0) is None


def test_who_edited_last_owns() -> None:
    book = OwnerBook()
    book.claim([1], now=0)
    book.learn("a", [1], now=1)
    assert book.owner_of((1,), now=1) == "a"
    assert book.own_keys() == ()
    book.claim([1], now=2)
    assert book.owner_of((1,), now=2) is None
    assert book.own_keys() == (1,)


def test_who_is_gone_owns_nothing_and_its_heirs_do() -> None:
    book = OwnerBook()
    book.learn("a", [1], now=0)
    book.learn("b", [2], now=0)
    book.lose("a")
    assert book.owner_of((1,), now=0) is None
    assert book.owner_of((1, 2), now=0) == "b"
    book.learn("a-again", [1], now=0)
    assert book.owner_of((1,), now=0) == "a-again"


def test_the_oldest_are_forgotten_and_the_last_ones_are_not() -> None:
    book = OwnerBook(count=10)
    for key in range(100):
        book.learn("a", [key], now=0)
        assert len(book) <= 20
    assert [key for key in range(100) if book.owner_of((key,), now=0)] == list(range(90, 100))


@pytest.mark.parametrize(("age_s", "is_known"), [(0, True), (99, True), (200, False), (100_000, False)])
def test_what_is_old_is_forgotten(age_s: float, *, is_known: bool) -> None:
    book = OwnerBook(age_s=100)
    book.learn("a", [1], now=1000)
    assert (book.owner_of((1,), now=1000 + age_s) == "a") is is_known


def test_what_is_told_again_is_young_again() -> None:
    book = OwnerBook(age_s=100)
    for now in range(0, 1000, 50):
        book.claim([1], now)
        assert book.own_keys() == (1,)
    assert len(book) == 1


def test_who_was_lost_and_is_heard_of_again_owns_what_it_owned() -> None:
    book = OwnerBook()
    book.learn("a", [1], now=0)
    book.lose("a")
    assert book.owner_of((1,), now=0) is None
    book.learn("a", [2], now=1)
    assert book.owner_of((1,), now=1) == "a"
