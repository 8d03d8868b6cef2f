"""The ledger records every dispatch exactly once, whatever its ids, and replays apart."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway_sim.dispatch import Dispatch
from gateway_sim.ledger import Ledger

Row = tuple[int, int, str, int, str, float, bool]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 2**40),
        st.sampled_from(["MESSAGE_CREATE", "READY", 'ODD "NAME"']),
        st.integers(0, 2**64 - 1),
        st.one_of(st.integers(0, 2**70).map(str), st.text(max_size=8), st.just("007"), st.just("²")),
        st.floats(0, 2e9),
        st.booleans(),
    ),
    max_size=40,
)


def _ledger(rows: list[Row]) -> Ledger:
    ledger = Ledger()
    for number in range(3):
        ledger.add_session(f"s{number}", number, 3)
    for session, seq, event_type, guild_id, entity_id, at, replay in rows:
        ledger.record(session, [(seq, at, Dispatch(event_type, guild_id, entity_id, b"{}"))], replay=replay)
    return ledger


def _read(ledger: Ledger, **options: int | bool) -> list[dict[str, object]]:
    return [json.loads(line) for chunk in ledger.lines(**options) for line in chunk.splitlines()]  # type: ignore[arg-type]


@given(ROWS)
def test_every_row_comes_back_as_it_was_recorded(rows: list[Row]) -> None:
    read = _read(_ledger(rows), replays=True)
    assert [row["n"] for row in read] == list(range(1, len(rows) + 1))
    for row, (session, seq, event_type, guild_id, entity_id, at, replay) in zip(read, rows, strict=True):
        assert row == {
            "n": row["n"],
            "session": f"s{session}",
            "shard": session,
            "shard_count": 3,
            "seq": seq,
            "type": event_type,
            "guild": str(guild_id),
            "id": entity_id,
            "at": round(at, 6),
            "replay": replay,
        }


@given(ROWS, st.integers(0, 50))
def test_replays_are_counted_apart_and_left_out_unless_asked_for(rows: list[Row], after: int) -> None:
    ledger = _ledger(rows)
    first_sends = [n for n, row in enumerate(rows, 1) if not row[6]]
    assert ledger.sent == len(first_sends) == sum(ledger.by_type().values())
    assert ledger.replayed == len(rows) - len(first_sends)
    assert [row["n"] for row in _read(ledger, after=after)] == [n for n in first_sends if n > after]


def test_rows_that_still_wait_are_counted() -> None:
    ledger = _ledger([(0, 1, "A", 0, "1", 0.0, False)])
    assert len(ledger) == ledger.sent == 1


def test_many_rows_are_given_out_in_several_chunks() -> None:
    ledger = Ledger()
    session = ledger.add_session("s", 0, 1)
    ledger.record(session, [(seq, 1.0, Dispatch("A", 1, str(seq), b"{}")) for seq in range(1, 20_001)])
    chunks = list(ledger.lines())
    assert len(chunks) == 10
    assert sum(chunk.count(b"\n") for chunk in chunks) == 20_000
