"""Which session the next holder of a shard resumes."""

from __future__ import annotations

from coordinator.checkpoint_book import RECORD_SIZE, CheckpointBook
from coordinator.lease_records import ShardRecord
from eventbus.messages import Checkpoint, Session


def session(session_id: str = "a", seq: int = 1, shard_count: int = 4) -> Session:
    return Session(session_id=session_id, resume_url="wss://r", seq=seq, shard_count=shard_count)


def book(*checkpoints: Checkpoint) -> CheckpointBook:
    made = CheckpointBook()
    for checkpoint in checkpoints:
        made.learn(checkpoint, "w")
    return made


def test_a_shard_that_nobody_told_of_resumes_from_its_checkpoint() -> None:
    found = book(Checkpoint(shard=2, fencing_token=7, session=session(seq=9)))

    assert found.session_for(ShardRecord(2)) == session(seq=9)
    assert found.session_for(ShardRecord(3)) is None
    assert found.highest_token == 7


def test_the_later_checkpoint_of_a_lease_wins_even_with_a_lower_seq_because_a_new_session_counts_from_0() -> None:
    found = book(
        Checkpoint(shard=0, fencing_token=7, session=session("old", seq=900)),
        Checkpoint(shard=0, fencing_token=7, session=session("new", seq=3)),
    )

    assert found.session_for(ShardRecord(0, fencing_token=7)) == session("new", seq=3)


def test_a_checkpoint_of_an_older_lease_changes_nothing() -> None:
    found = book(
        Checkpoint(shard=0, fencing_token=8, session=session(seq=50)),
        Checkpoint(shard=0, fencing_token=7, session=session(seq=99)),
    )

    assert found.session_for(ShardRecord(0)) == session(seq=50)


def test_a_lease_without_a_checkpoint_keeps_the_session_that_it_came_with() -> None:
    record = ShardRecord(0, fencing_token=8, session=session(seq=50))
    found = book(Checkpoint(shard=0, fencing_token=7, session=session(seq=40)))

    assert found.session_for(record) == session(seq=50)


def test_a_renewal_that_is_ahead_of_the_stream_wins_and_one_that_is_behind_does_not() -> None:
    found = book(Checkpoint(shard=0, fencing_token=7, session=session(seq=50)))

    assert found.session_for(ShardRecord(0, fencing_token=7, session=session(seq=60))) == session(seq=60)
    assert found.session_for(ShardRecord(0, fencing_token=7, session=session(seq=40))) == session(seq=50)


def test_a_session_that_has_ended_is_an_identify() -> None:
    ended = book(Checkpoint(shard=0, fencing_token=7, session=None))

    assert ended.session_for(ShardRecord(0, fencing_token=7, session=session())) is None
    assert ended.token_of(0) == 7


def test_a_lease_that_has_not_begun_a_session_has_not_ended_one() -> None:
    """Workers write a checkpoint of each shard that they hold: such an identify is no recovery."""
    fresh = Checkpoint(shard=0, fencing_token=7, session=None)
    without_the_former = Checkpoint(shard=1, fencing_token=8, session=None)  # of other intents
    found = book(fresh, fresh, Checkpoint(shard=1, fencing_token=7, session=session()), without_the_former)

    assert not found.has_ended(0)
    assert not found.has_ended(1)
    assert not found.has_ended(2)


def test_a_session_that_ended_has_ended_for_later_holders_too_until_there_is_a_new_one() -> None:
    found = book(
        Checkpoint(shard=0, fencing_token=7, session=session()), Checkpoint(shard=0, fencing_token=7, session=None)
    )
    assert found.has_ended(0)
    found.learn(Checkpoint(shard=0, fencing_token=8, session=None), "w")
    assert found.has_ended(0)
    found.learn(Checkpoint(shard=0, fencing_token=8, session=session("new")), "w")
    assert not found.has_ended(0)


def test_an_earlier_checkpoint_of_the_same_session_that_is_written_again_changes_nothing() -> None:
    found = book(
        Checkpoint(shard=0, fencing_token=7, session=session(seq=50)),
        Checkpoint(shard=0, fencing_token=7, session=session(seq=40)),
    )

    assert found.session_for(ShardRecord(0)) == session(seq=50)


def test_what_is_known_is_written_again_as_its_writers_wrote_it() -> None:
    found = CheckpointBook()
    written = [Checkpoint(shard=shard, fencing_token=7, session=session(seq=shard)) for shard in range(RECORD_SIZE + 3)]
    for checkpoint in written:
        found.learn(checkpoint, "a" if checkpoint.shard else "b")
    found.learn(Checkpoint(shard=200, fencing_token=7, session=None), "a")

    records = list(found.records([*range(RECORD_SIZE + 2), 200, 300]))

    assert [record.worker_id for record in records] == ["b", "a", "a"]
    assert [one for record in records for one in record.checkpoints] == written[:-1]
