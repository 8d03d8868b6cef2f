"""What Discord should show of each shard, from records in any order that a stream can have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.gateway_payloads import InvalidPayloadError
from eventbus.messages import PresenceRecord
from gateway_workers.presence_book import USUAL, PresenceBook

CHESS = [{"name": "chess", "type": 0}]


def record(shards: tuple[int, ...] | None = None, **fields: Any) -> PresenceRecord:
    first, as_of = fields.pop("is_first", False), fields.pop("as_of", None)
    return PresenceRecord(shards=shards, d=fields, is_first=first, as_of=as_of)


def book_of(*records: PresenceRecord) -> PresenceBook:
    book = PresenceBook()
    for offset, one in enumerate(records):
        book.take(one, offset, written_at=offset * 100)
    return book


def test_nobody_set_any() -> None:
    assert book_of().wanted(0) is None


def test_what_a_record_leaves_out_stays_as_it_was() -> None:
    book = book_of(record(activities=CHESS), record(status="idle"))
    assert book.wanted(3) == USUAL | {"activities": CHESS, "status": "idle"}


def test_the_newest_counts_be_it_for_all_or_for_one() -> None:
    book = book_of(record(status="idle"), record((1,), status="dnd"))
    assert (book.wanted(0), book.wanted(1)) == (USUAL | {"status": "idle"}, USUAL | {"status": "dnd"})
    book.take(record(status="invisible"), 2)
    assert book.wanted(1) == USUAL | {"status": "invisible"}


def test_it_is_the_same_object_until_it_changes() -> None:
    book = book_of(record(status="idle"))
    before = book.wanted(0)
    assert book.wanted(0) is before
    book.take(record((1,), status="dnd"), 1)
    assert book.wanted(0) is before


def test_a_first_presence_that_is_stored_again_does_not_undo_what_was_set_since() -> None:
    first = record(is_first=True, activities=CHESS, status="online")
    book = book_of(first, record(status="dnd"), first)
    assert book.wanted(0) == USUAL | {"activities": CHESS, "status": "dnd"}


def test_another_first_presence_counts() -> None:
    book = book_of(record(is_first=True, status="online"), record(status="dnd"), record(is_first=True, status="idle"))
    assert book.wanted(0) == USUAL | {"status": "idle"}


@pytest.mark.parametrize("d", [{}, {"status": "busy"}, {"status": None}, {"name": "x"}, {"afk": 1}])
def test_what_discord_would_refuse_changes_nothing(d: dict[str, Any]) -> None:
    book = book_of(record(status="idle"))
    with pytest.raises(InvalidPayloadError):
        book.take(PresenceRecord(d=d), 1)
    assert book.wanted(0) == USUAL | {"status": "idle"}


def test_a_stream_that_was_deleted_is_forgotten() -> None:
    book = book_of(record(is_first=True, status="idle"), record((1,), status="dnd"))
    book.clear()
    assert (book.wanted(0), book.wanted(1)) == (None, None)
    book.take(record(is_first=True, status="idle"), 0)
    assert book.wanted(1) == USUAL | {"status": "idle"}


def test_only_what_stands_far_behind_is_copied_and_that_of_all_by_the_holder_of_shard_0() -> None:
    book = book_of(record(status="idle"), record((1,), status="dnd"), record((2,), status="dnd"))
    assert book.fading([1, 2], before=150) == [record((1,), status="dnd", as_of=1)]
    assert book.fading([0], before=150) == [record(status="idle", as_of=0)]
    assert book.fading([0, 1, 2], before=0) == []


fields = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["online", "idle", "dnd"]),
        "afk": st.booleans(),
        "since": st.one_of(st.none(), st.integers(0, 3)),
    },
).filter(bool)
records = st.lists(
    st.builds(lambda d, shards, first: record(None if first else shards, is_first=first, **d), fields,
              st.sampled_from([None, (0,), (1,), (0, 1)]), st.booleans()),
    min_size=1, max_size=12,
)  # fmt: skip


@given(records, st.data())
def test_copies_keep_what_the_forgotten_beginning_said_wherever_they_stand(
    written: list[PresenceRecord], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(written)), label="forgotten records")
    copied_at = data.draw(st.integers(cut, len(written)), label="records before the copies")
    full = book_of(*written)
    copies = book_of(*written[:copied_at]).fading([0, 1, 2], before=cut * 100)

    fresh = PresenceBook()
    stream = [*enumerate(written[:copied_at])][cut:]
    after = [(copied_at + number, one) for number, one in enumerate([*copies, *written[copied_at:]])]
    for offset, one in stream + after:
        fresh.take(one, offset)
    assert [fresh.wanted(shard) for shard in range(3)] == [full.wanted(shard) for shard in range(3)]
