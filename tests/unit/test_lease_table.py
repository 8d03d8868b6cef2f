"""The lease table: one holder for a shard, tokens that grow, sessions that outlive their holders."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coordinator.errors import (
    MalformedRangeError,
    NotReadyError,
    ShardOutOfRangeError,
    StaleLeaseError,
    UnknownWorkerError,
)
from coordinator.lease_records import ChangeKind
from coordinator.lease_table import MAX_FENCING_TOKEN, LeaseTable
from eventbus.messages import Checkpoint, Grant, HeldLease, Lease, Register, Release, Renew, Session


def session(seq: int = 1, *, shard_count: int = 4, session_id: str = "s") -> Session:
    return Session(session_id=session_id, resume_url="wss://resume", seq=seq, shard_count=shard_count)


def held(shard: int, token: int, of: Session | None = None) -> HeldLease:
    return HeldLease(shard=shard, fencing_token=token, session=of, state="connected")


def enter(
    table: LeaseTable, worker_id: str, shards: str = "auto", *holding: HeldLease, capacity: int | None = None
) -> None:
    table.register(Register(worker_id=worker_id, shards=shards, capacity=capacity, held=holding), 0.0)


def grant_all(table: LeaseTable) -> dict[int, Lease]:
    leases = [table.grant(shard, worker_id) for shard, worker_id in table.proposals()]
    return {lease.shard: lease for lease in leases if lease is not None}


def holders(table: LeaseTable) -> dict[int, str | None]:
    return {record.shard: record.holder for record in table.shards}


def give_back(worker_id: str, lease: Lease, of: Session | None = None) -> Release:
    return Release(worker_id=worker_id, shard=lease.shard, fencing_token=lease.fencing_token, session=of)


# Granting


def test_a_worker_gets_the_shards_of_its_range() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0,2-3")
    grant_all(table)
    assert [lease.shard for lease in table.leases_of("a")] == [0, 2, 3]


def test_auto_takes_what_is_free_up_to_the_capacity() -> None:
    table = LeaseTable(4)
    enter(table, "a", "1")
    grant_all(table)
    enter(table, "b", "auto", capacity=2)
    grant_all(table)
    assert holders(table) == {0: "b", 1: "a", 2: "b", 3: None}


def test_nothing_is_granted_without_the_shells_word() -> None:
    table = LeaseTable(4)
    enter(table, "a")
    assert table.proposals() == [(0, "a"), (1, "a"), (2, "a"), (3, "a")]
    assert table.leases_of("a") == ()


def test_fencing_tokens_grow_with_every_grant_and_start_above_what_led_before() -> None:
    table = LeaseTable(2)
    table.start_tokens_above(1000)
    enter(table, "a")
    first = grant_all(table)
    table.release(give_back("a", first[0]))
    second = grant_all(table)
    assert 1000 < first[0].fencing_token < first[1].fencing_token < second[0].fencing_token


def test_a_learned_token_raises_the_next_one() -> None:
    table = LeaseTable(2)
    enter(table, "a", "0", held(0, 5000))
    enter(table, "b", "1")
    assert grant_all(table)[1].fencing_token == 5001


def test_a_proposal_that_no_longer_holds_good_is_not_granted() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    enter(table, "b")
    assert table.grant(0, "a") is not None
    assert table.grant(0, "b") is None
    table.bury("a")
    table.leave("b")
    assert table.grant(0, "b") is None
    assert table.grant(0, "gone") is None


def test_overlapping_ranges_make_stand_bys() -> None:
    table = LeaseTable(2)
    enter(table, "a", "0-1")
    grant_all(table)
    enter(table, "b", "0-1")
    assert grant_all(table) == {}
    table.bury("a")
    grant_all(table)
    assert holders(table) == {0: "b", 1: "b"}


# Registering


@pytest.mark.parametrize("shards", ["", "a-b", "3-1", "0-", "-1", "0;1", "1e3"])
def test_a_malformed_range_is_refused_with_the_parsers_sentence(shards: str) -> None:
    with pytest.raises(MalformedRangeError, match=r"shard range"):
        enter(LeaseTable(4), "a", shards)


def test_a_range_beyond_the_shard_count_names_both_and_what_to_change() -> None:
    with pytest.raises(ShardOutOfRangeError) as caught:
        enter(LeaseTable(4), "a", "0-15")
    for part in ("'0-15'", "shard 15", "4 shards", "0-3", "--shards", "--shard-count"):
        assert part in str(caught.value)


def test_a_refused_registration_changes_nothing() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0-3")
    grant_all(table)
    with pytest.raises(ShardOutOfRangeError):
        enter(table, "a", "0-4")
    assert len(table.leases_of("a")) == 4


def test_registering_again_replaces_and_frees_what_is_not_held_any_more() -> None:
    table = LeaseTable(2)
    enter(table, "a", "0-1")
    first = grant_all(table)
    enter(table, "a", "0-1", held(1, first[1].fencing_token))
    assert holders(table) == {0: None, 1: "a"}
    assert grant_all(table)[0].fencing_token > first[1].fencing_token


def test_registering_again_with_all_that_is_held_keeps_everything() -> None:
    table = LeaseTable(2)
    enter(table, "a", "0-1")
    first = grant_all(table)
    enter(table, "a", "0-1", *(held(lease.shard, lease.fencing_token) for lease in first.values()))
    assert table.leases_of("a") == tuple(first.values())


def test_a_draining_worker_that_answers_a_roll_call_still_drains() -> None:
    table = LeaseTable(2)
    enter(table, "a", "0-1", held(0, 7))
    table.leave("a")
    enter(table, "a", "0-1", held(0, 7))
    assert table.proposals() == []


def test_a_worker_that_starts_again_under_its_name_does_not_drain() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    table.leave("a")
    enter(table, "a")
    assert table.proposals() == [(0, "a")]


# Learning


def test_running_leases_are_adopted_with_their_tokens_and_sessions() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0-3", held(2, 77, session(9)))
    assert table.leases_of("a") == (Lease(shard=2, fencing_token=77, session=session(9)),)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_claimants_the_higher_token_wins_in_either_order(order: tuple[str, str]) -> None:
    tokens = {"a": 5, "b": 7}
    table = LeaseTable(1)
    for worker_id in order:
        enter(table, worker_id, "0", held(0, tokens[worker_id]))
    assert holders(table) == {0: "b"}
    assert table.leases_of("a") == ()


def test_an_unknown_worker_cannot_renew() -> None:
    with pytest.raises(UnknownWorkerError, match="register"):
        LeaseTable(1).renew(Renew(worker_id="a"), 0.0)


def test_a_lease_that_was_given_back_cannot_be_claimed_again() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    lease = grant_all(table)[0]
    table.release(give_back("a", lease))
    table.renew(Renew(worker_id="a", held=(held(0, lease.fencing_token),)), 1.0)
    assert table.leases_of("a") == ()


def test_a_worker_that_was_buried_too_early_gets_back_what_is_still_free() -> None:
    table = LeaseTable(2)
    enter(table, "a", "0-1")
    leases = grant_all(table)
    table.bury("a")
    enter(table, "b", "1")
    taken = grant_all(table)[1]
    enter(table, "a", "0-1", *(held(lease.shard, lease.fencing_token) for lease in leases.values()))
    assert holders(table) == {0: "a", 1: "b"}
    assert table.leases_of("b") == (taken,)


def test_a_former_holder_cannot_claim_what_was_granted_and_freed_since() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    old = grant_all(table)[0]
    table.bury("a")
    enter(table, "b")
    grant_all(table)
    table.bury("b")
    enter(table, "a", "0", held(0, old.fencing_token))
    assert table.leases_of("a") == ()


def test_a_claim_of_a_shard_that_does_not_exist_or_with_an_absurd_token_is_ignored() -> None:
    table = LeaseTable(1)
    enter(table, "a", "0", held(3, 5), held(0, MAX_FENCING_TOKEN + 1))
    assert table.leases_of("a") == ()
    assert grant_all(table)[0].fencing_token <= MAX_FENCING_TOKEN


def test_a_lease_of_another_shard_count_is_not_adopted_but_granted_anew_without_its_session() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0", held(0, 5, session(shard_count=2)))
    assert table.leases_of("a") == ()
    assert grant_all(table)[0].session is None


@pytest.mark.parametrize(("intents", "is_kept"), [(None, True), (5, True), (7, False)])
def test_a_session_of_other_intents_goes_on_with_its_holder_and_is_not_passed_on(
    intents: int | None, is_kept: bool
) -> None:
    """It would keep them for ever: who changes the coordinator's intents and restarts workers wants the new ones."""
    table = LeaseTable(4, intents=5)
    of = session().model_copy(update={"intents": intents})
    enter(table, "a", "0", held(0, 5, of))
    assert [lease.session for lease in table.leases_of("a")] == [of]
    table.release(Release(worker_id="a", shard=0, fencing_token=5, session=of))
    enter(table, "b", "0")
    assert (grant_all(table)[0].session is not None) == is_kept


def test_a_running_fleets_shard_count_wins_over_a_new_recommendation() -> None:
    table = LeaseTable(2, is_count_fixed=False)
    with pytest.raises(NotReadyError):
        enter(table, "b", "0-3")
    enter(table, "a", "0-3", held(3, 5, session(shard_count=4)))
    enter(table, "b", "0-3")
    assert table.shard_count == 4
    assert holders(table)[3] == "a"


def test_after_learning_the_shard_count_stays() -> None:
    table = LeaseTable(2, is_count_fixed=False)
    table.settle()
    with pytest.raises(ShardOutOfRangeError):
        enter(table, "a", "0-3", held(3, 5, session(shard_count=4)))
    assert table.shard_count == 2


# Grants that were written to the stream


def granted_before(shard: int, token: int, worker_id: str) -> LeaseTable:
    table = LeaseTable(4)
    table.grants.learn(Grant(shard=shard, fencing_token=token, worker_id=worker_id))
    return table


def test_an_older_lease_than_the_newest_grant_can_never_be_claimed() -> None:
    table = granted_before(0, 101, "b")
    enter(table, "a", "0-3", held(0, 100))
    assert table.leases_of("a") == ()
    table.renew(Renew(worker_id="a", held=(held(0, 100),)), 1.0)
    assert table.leases_of("a") == ()


def test_the_newest_grantee_is_believed_and_nobody_else_under_its_token() -> None:
    table = granted_before(0, 101, "b")
    enter(table, "a", "0-3", held(0, 101))
    enter(table, "b", "0-3", held(0, 101))
    assert holders(table)[0] == "b"


def test_a_token_that_nobody_granted_takes_nothing_from_the_newest_grantee() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    lease = grant_all(table)[0]
    enter(table, "b", "0", held(0, lease.fencing_token + 1))
    assert table.leases_of("a") == (lease,)
    assert table.leases_of("b") == ()


@pytest.mark.parametrize("told_by", ["grant", "checkpoint"])
def test_a_token_beyond_what_the_stream_tells_is_nobodys(told_by: str) -> None:
    table = LeaseTable(2, is_count_fixed=False)
    if told_by == "grant":
        table.grants.learn(Grant(shard=0, fencing_token=101, worker_id="a"))
    else:
        table.checkpoints.learn(Checkpoint(shard=0, fencing_token=101, session=session(1, shard_count=2)), "a")
    forged = [1, 100, 102] if told_by == "checkpoint" else [1, 100, 101, 102]
    for token in forged:
        with pytest.raises(NotReadyError):
            enter(table, "x", "0-3", held(0, token, session(9)))
    enter(table, "x", "0-1", held(0, 102, session(9, shard_count=2)))
    assert table.leases_of("x") == ()
    enter(table, "a", "0-1", held(0, 101, session(2, shard_count=2)))
    assert table.leases_of("a") == (Lease(shard=0, fencing_token=101, session=session(2, shard_count=2)),)
    enter(table, "x", "0-1", held(0, 102))
    assert [lease.shard for lease in table.leases_of("a")] == [0]


def test_after_a_loss_of_the_stream_a_newer_token_is_believed() -> None:
    table = granted_before(0, 101, "a")
    table.note_loss()
    enter(table, "b", "0-3", held(0, 150, session(9)))
    assert holders(table)[0] == "b"


def test_a_checkpoint_that_the_grants_speak_against_is_doubted() -> None:
    table = granted_before(0, 101, "a")
    assert table.doubt_of(Checkpoint(shard=0, fencing_token=101, session=session(9)), "a") is None
    assert table.doubt_of(Checkpoint(shard=0, fencing_token=100, session=session(9)), "b") is None
    assert table.doubt_of(Checkpoint(shard=0, fencing_token=101, session=session(9)), "b") is not None
    assert table.doubt_of(Checkpoint(shard=0, fencing_token=102, session=session(9)), "a") is not None
    table.note_loss()
    assert table.doubt_of(Checkpoint(shard=0, fencing_token=102, session=session(9)), "a") is None


def test_a_newest_grantee_that_never_shows_up_leaves_a_free_shard_with_a_higher_token() -> None:
    table = granted_before(0, 101, "b")
    enter(table, "a", "0", held(0, 100))
    assert grant_all(table)[0].fencing_token > 101


def test_an_older_lease_than_the_newest_grant_can_not_be_released() -> None:
    table = granted_before(0, 101, "b")
    for worker_id, token in (("a", 100), ("a", 101)):
        with pytest.raises(StaleLeaseError):
            table.release(Release(worker_id=worker_id, shard=0, fencing_token=token, session=session(9)))
    table.release(Release(worker_id="b", shard=0, fencing_token=101, session=session(10)))
    enter(table, "c", "0")
    assert grant_all(table)[0].session == session(10)


def test_a_checkpoint_under_a_newer_token_proves_a_newer_grant() -> None:
    table = LeaseTable(4)
    table.checkpoints.learn(Checkpoint(shard=0, fencing_token=101, session=session(9)), "a")
    enter(table, "a", "0-3", held(0, 100))
    assert table.leases_of("a") == ()


def test_no_older_lease_is_believed_while_a_grant_is_being_written_or_after_that_failed() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    old = grant_all(table)[0]
    table.bury("a")
    enter(table, "b")
    reserved = table.reserve(0, "b")
    assert reserved is not None
    enter(table, "a", "0", held(0, old.fencing_token))
    assert holders(table) == {0: None}
    later = table.reserve(0, "b")
    assert later is not None
    assert later.fencing_token > reserved.fencing_token
    assert table.grant(0, "b", reserved.fencing_token) is None
    assert table.grant(0, "b", later.fencing_token) is not None


def test_a_reserved_grant_whose_worker_left_meanwhile_does_not_come_about() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    reserved = table.reserve(0, "a")
    assert reserved is not None
    table.leave("a")
    assert table.grant(0, "a", reserved.fencing_token) is None
    enter(table, "b")
    assert grant_all(table)[0].fencing_token > reserved.fencing_token


def test_a_reservation_does_not_hide_the_last_checkpoint() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0")
    token = grant_all(table)[0].fencing_token
    table.bury("a")
    enter(table, "b", "0")
    reserved = table.reserve(0, "b")
    assert reserved is not None
    table.checkpoints.learn(Checkpoint(shard=0, fencing_token=token, session=session(77)), "a")
    table.grants.learn(reserved)
    lease = table.grant(0, "b", reserved.fencing_token)
    assert lease is not None
    assert lease.session == session(77)


def test_a_checkpoint_of_another_shard_count_is_dropped_and_noted() -> None:
    table = LeaseTable(4)
    table.checkpoints.learn(Checkpoint(shard=0, fencing_token=7, session=session(9, shard_count=8)), "a")
    enter(table, "a", "0")
    assert grant_all(table)[0].session is None
    dropped = [one for one in table.take_changes() if one.kind is ChangeKind.SESSION_DROPPED]
    assert [one.reason for one in dropped] == ["it was of 8 shards: identify instead"]


def test_what_no_coordinator_can_have_granted_is_not_believed() -> None:
    table = LeaseTable(4)
    table.highest_believable_token = 1000
    assert table.doubt_of(Checkpoint(shard=0, fencing_token=1001, session=None), "a") is not None
    assert table.doubt_of(Checkpoint(shard=4, fencing_token=7, session=session()), "a") is not None
    assert table.doubt_of(Checkpoint(shard=3, fencing_token=1000, session=session()), "a") is None
    enter(table, "a", "0-1", held(0, 1001), held(1, 1000))
    assert holders(table) == {0: None, 1: "a", 2: None, 3: None}
    with pytest.raises(StaleLeaseError):
        table.release(Release(worker_id="b", shard=2, fencing_token=1001))


# Sessions and releases


def test_the_last_checkpoint_goes_to_the_next_holder() -> None:
    table = LeaseTable(4)
    enter(table, "a")
    lease = grant_all(table)[0]
    table.renew(Renew(worker_id="a", held=(held(0, lease.fencing_token, session(41)),)), 1.0)
    table.bury("a")
    enter(table, "b")
    assert grant_all(table)[0].session == session(41)


def test_a_report_without_a_session_does_not_lose_the_known_one() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0", held(0, 5, session(41)))
    table.renew(Renew(worker_id="a", held=(held(0, 5),)), 1.0)
    assert table.leases_of("a")[0].session == session(41)


def test_a_released_session_goes_to_another_worker() -> None:
    table = LeaseTable(4)
    enter(table, "a")
    lease = grant_all(table)[0]
    enter(table, "b")
    table.leave("a")
    table.release(give_back("a", lease, session(99)))
    assert grant_all(table)[0].session == session(99)
    assert holders(table)[0] == "b"


def test_a_release_without_a_session_means_identify() -> None:
    table = LeaseTable(4)
    enter(table, "a", "0", held(0, 5, session(41)))
    table.release(Release(worker_id="a", shard=0, fencing_token=5))
    assert grant_all(table)[0].session is None


def test_a_released_session_of_another_shard_count_is_dropped_and_noted() -> None:
    table = LeaseTable(1)
    enter(table, "a")
    lease = grant_all(table)[0]
    table.take_changes()
    table.release(give_back("a", lease, session(99, shard_count=8)))
    assert [change.kind for change in table.take_changes()] == [ChangeKind.SESSION_DROPPED, ChangeKind.RELEASED]
    assert grant_all(table)[0].session is None


@pytest.mark.parametrize(("worker_id", "token_offset", "shard"), [("a", 1, 0), ("a", -1, 0), ("b", 0, 0), ("a", 0, 9)])
def test_a_stale_release_is_refused_and_changes_nothing(worker_id: str, token_offset: int, shard: int) -> None:
    table = LeaseTable(1)
    enter(table, "a")
    lease = grant_all(table)[0]
    enter(table, "b")
    before = table.leases_of("a")
    wrong = Release(worker_id=worker_id, shard=shard, fencing_token=lease.fencing_token + token_offset)
    with pytest.raises(StaleLeaseError, match="drop the lease"):
        table.release(wrong)
    assert table.leases_of("a") == before


def test_a_worker_that_drains_while_the_coordinator_changes_can_still_hand_over() -> None:
    table = LeaseTable(1)
    table.checkpoints.learn(Checkpoint(shard=0, fencing_token=50, session=session(7, shard_count=1)), "a")
    table.release(Release(worker_id="a", shard=0, fencing_token=50, session=session(8, shard_count=1)))
    enter(table, "b")
    lease = grant_all(table)[0]
    assert lease.session == session(8, shard_count=1)
    assert lease.fencing_token > 50


@pytest.mark.parametrize("token", [0, 49, 51])
def test_an_unknown_worker_cannot_release_what_nothing_says_it_held(token: int) -> None:
    table = LeaseTable(2)
    table.checkpoints.learn(Checkpoint(shard=0, fencing_token=50, session=session(7, shard_count=2)), "a")
    for shard in (0, 1):
        with pytest.raises(StaleLeaseError):
            table.release(Release(worker_id="x", shard=shard, fencing_token=token))
    enter(table, "b")
    assert grant_all(table)[0].session == session(7, shard_count=2)


def test_a_registered_worker_cannot_release_what_it_never_held() -> None:
    table = LeaseTable(1)
    enter(table, "a", "auto")
    with pytest.raises(StaleLeaseError):
        table.release(Release(worker_id="a", shard=0, fencing_token=50))


# Any order of all of it

WORKERS = st.sampled_from(["a", "b", "c"])
SHARDS = st.integers(0, 3)
RANGES = st.sampled_from(["auto", "0-3", "0-1", "2,3", "1"])


class AnyOrder(RuleBasedStateMachine):
    """Grants, claims, releases, deaths in any order; `given` is what each grant promised to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable(4)
        self.newest_token = 0
        self.draining: set[str] = set()
        self.limits: dict[str, tuple[str, int | None]] = {}

    def snapshot(self) -> list[tuple[int, str | None, int]]:
        return [(record.shard, record.holder, record.fencing_token) for record in self.table.shards]

    def report(self, worker_id: str) -> tuple[HeldLease, ...]:
        return tuple(held(lease.shard, lease.fencing_token) for lease in self.table.leases_of(worker_id))

    @rule(worker_id=WORKERS, shards=RANGES, capacity=st.none() | st.integers(1, 3), keeps=st.booleans())
    def register(self, worker_id: str, shards: str, capacity: int | None, keeps: bool) -> None:
        report = self.report(worker_id) if keeps else ()
        before = self.table.leases_of(worker_id)
        enter(self.table, worker_id, shards, *report, capacity=capacity)
        assert self.table.leases_of(worker_id) == (before if keeps else ())
        self.limits[worker_id] = (shards, capacity)
        if not report:
            self.draining.discard(worker_id)

    @precondition(lambda self: self.limits)
    @rule(data=st.data(), shard=SHARDS, token=st.integers(0, 60))
    def renew_with_a_claim(self, data: st.DataObject, shard: int, token: int) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.limits)))
        before = {one[0]: one[1:] for one in self.snapshot()}
        self.table.renew(Renew(worker_id=worker_id, held=(*self.report(worker_id), held(shard, token))), 1.0)
        for number, holder, newest in self.snapshot():
            was_holder, was_token = before[number]
            if (holder, newest) != (was_holder, was_token):
                assert (number, holder, newest) == (shard, worker_id, token)
                assert token > was_token or (was_holder is None and token == was_token)
        self.newest_token = max(self.newest_token, *(one[2] for one in self.snapshot()))

    @rule(worker_id=WORKERS, shard=SHARDS, token=st.integers(0, 60), exact=st.booleans())
    def release(self, worker_id: str, shard: int, token: int, exact: bool) -> None:
        record = self.table.shards[shard]
        token = record.fencing_token if exact else token
        is_holder = record.holder == worker_id and record.fencing_token == token
        is_unheard = record.holder is None and record.fencing_token == 0 and worker_id not in self.limits
        before = self.snapshot()
        try:
            self.table.release(Release(worker_id=worker_id, shard=shard, fencing_token=token))
        except StaleLeaseError:
            assert not is_holder
            assert self.snapshot() == before
        else:
            assert is_holder or is_unheard
            assert self.table.shards[shard].holder is None
            self.newest_token = max(self.newest_token, token)

    @rule(worker_id=WORKERS)
    def leave(self, worker_id: str) -> None:
        if worker_id in self.limits:
            self.table.leave(worker_id)
            self.draining.add(worker_id)

    @rule(worker_id=WORKERS)
    def die(self, worker_id: str) -> None:
        lost = {lease.shard for lease in self.table.leases_of(worker_id)}
        others = [one for one in self.snapshot() if one[1] != worker_id]
        assert set(self.table.bury(worker_id)) == lost
        assert [one for one in self.snapshot() if one[0] not in lost] == others
        self.limits.pop(worker_id, None)
        self.draining.discard(worker_id)

    @rule(bound=st.sets(SHARDS))
    def grant(self, bound: set[int]) -> None:
        for shard, worker_id in self.table.proposals():
            if shard in bound:
                continue
            count = len(self.table.leases_of(worker_id))
            lease = self.table.grant(shard, worker_id)
            assert lease is not None
            assert lease.fencing_token > self.newest_token
            assert worker_id not in self.draining
            assert self.limits[worker_id][1] is None or count < (self.limits[worker_id][1] or 0)
            self.newest_token = lease.fencing_token

    @invariant()
    def held_shards_are_listed_once(self) -> None:
        listed = [lease.shard for worker_id in "abc" for lease in self.table.leases_of(worker_id)]
        assert sorted(listed) == [record.shard for record in self.table.shards if record.holder is not None]

    @invariant()
    def only_known_workers_hold(self) -> None:
        assert {record.holder for record in self.table.shards} - {None} <= set(self.limits)

    @invariant()
    def no_held_shard_is_proposed(self) -> None:
        free = {record.shard for record in self.table.shards if record.holder is None}
        assert {shard for shard, _ in self.table.proposals()} <= free


TestAnyOrder = AnyOrder.TestCase


def test_forgotten_holders_register_again_and_older_leases_stay_refused() -> None:
    table = LeaseTable(2)
    table.register(Register(worker_id="a", shards="0-1"), 0.0)
    lease = table.grant(0, "a")
    assert lease is not None
    table.forget_holders()

    with pytest.raises(UnknownWorkerError):
        table.renew(Renew(worker_id="a"), 1.0)
    stale = HeldLease(shard=0, fencing_token=lease.fencing_token - 1)
    table.register(Register(worker_id="b", shards="0-1", held=(stale,)), 1.0)
    assert table.leases_of("b") == ()
    held = HeldLease(shard=0, fencing_token=lease.fencing_token)
    table.register(Register(worker_id="a", shards="0-1", held=(held,)), 1.0)
    assert [(one.shard, one.fencing_token) for one in table.leases_of("a")] == [(0, lease.fencing_token)]
