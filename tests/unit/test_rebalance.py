"""Plans of hand-overs: even counts, no capacity and no range broken, a draining worker only gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.hand_over_book import EXPIRE_S
from coordinator.lease_table import LeaseTable
from coordinator.placement import Candidate
from coordinator.rebalance import Move, plan_drain, plan_spread
from coordinator.rebalancer import GIVING_AT_ONCE, Rebalancer
from coordinator.running_shards import STUCK_S, RunningShards
from eventbus.messages import HeldLease, Leave, Register, Release, Renew, Session

SHARDS = 12


def worker(
    worker_id: str, *, wanted: frozenset[int] | None = None, capacity: int | None = None, is_draining: bool = False
) -> Candidate:
    return Candidate(worker_id, wanted, capacity, 0, is_draining)


def counts(workers: list[Candidate], holders: dict[int, str]) -> dict[str, int]:
    return {one.worker_id: list(holders.values()).count(one.worker_id) for one in workers}


def after(holders: dict[int, str], moves: list[Move]) -> dict[int, str]:
    return holders | {move.shard: move.receiver for move in moves}


# The planner


def test_a_worker_that_joins_gets_half() -> None:
    workers = [worker("a"), worker("b")]
    moves = plan_spread(workers, dict.fromkeys(range(4), "a"))
    assert moves == [Move(0, "a", "b"), Move(1, "a", "b")]


def test_a_balanced_fleet_has_no_move() -> None:
    workers = [worker("a"), worker("b"), worker("c")]
    assert plan_spread(workers, {0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}) == []


def test_the_fullest_gives_to_the_emptiest() -> None:
    workers = [worker("a"), worker("b"), worker("c")]
    holders = {0: "a", 1: "a", 2: "a", 3: "b", 4: "b"}
    assert plan_spread(workers, holders) == [Move(0, "a", "c")]


def test_a_fixed_shard_counts_and_stays() -> None:
    workers = [worker("a"), worker("b")]
    assert plan_spread(workers, {0: "a", 1: "a", 2: "a"}, fixed=frozenset({0, 2})) == [Move(1, "a", "b")]


def test_the_shard_that_fewer_workers_take_leaves_a_draining_worker_first() -> None:
    workers = [worker("a", is_draining=True), worker("b", capacity=1), worker("c", wanted=frozenset({0}), capacity=1)]
    moves = plan_drain(workers, {0: "a", 1: "a"})
    assert sorted((move.shard, move.receiver) for move in moves) == [(0, "c"), (1, "b")]


def test_shards_of_an_unknown_worker_stay() -> None:
    assert plan_drain([worker("a")], {0: "gone"}) == []
    assert plan_spread([worker("a")], {0: "gone", 1: "gone"}) == []


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Candidate], dict[int, str]]:
    """Workers and who holds what; everybody holds what it may."""
    one = st.builds(
        Candidate,
        worker_id=st.sampled_from("abcdef"),
        wanted=st.none() | st.frozensets(st.integers(0, SHARDS - 1)),
        capacity=st.none() | st.integers(1, 6),
        lease_count=st.just(0),
        is_draining=st.booleans(),
    )
    workers = draw(st.lists(one, max_size=6, unique_by=lambda candidate: candidate.worker_id))
    holders: dict[int, str] = {}
    for shard in draw(st.sets(st.integers(0, SHARDS - 1))):
        held = counts(workers, holders)
        takers = [
            one.worker_id
            for one in workers
            if (one.wanted is None or shard in one.wanted)
            and (one.capacity is None or held[one.worker_id] < one.capacity)
        ]
        if takers:
            holders[shard] = draw(st.sampled_from(takers))
    return workers, holders


@given(fleets(), st.frozensets(st.integers(0, SHARDS - 1)), st.booleans())
def test_no_plan_breaks_range_capacity_draining_or_moves_a_shard_twice(
    fleet: tuple[list[Candidate], dict[int, str]], fixed: frozenset[int], drains: bool
) -> None:
    workers, holders = fleet
    moves = (plan_drain if drains else plan_spread)(workers, holders, fixed=fixed)
    by_id = {one.worker_id: one for one in workers}
    now = dict(holders)
    for move in moves:
        receiver = by_id[move.receiver]
        assert now[move.shard] == move.giver != move.receiver
        assert move.shard not in fixed
        assert receiver.takes(move.shard, lease_count=counts(workers, now)[move.receiver])
        assert by_id[move.giver].is_draining is drains
        now[move.shard] = move.receiver
    assert len({move.shard for move in moves}) == len(moves) or not drains


@given(fleets())
def test_the_spread_never_grows_and_what_is_spread_stays(fleet: tuple[list[Candidate], dict[int, str]]) -> None:
    workers, holders = fleet
    staying = [one for one in workers if not one.is_draining]
    spread, now = list(counts(staying, holders).values()), dict(holders)
    for move in plan_spread(workers, holders):
        now[move.shard] = move.receiver
        moved = list(counts(staying, now).values())
        assert max(moved) - min(moved) <= max(spread) - min(spread)
        assert sum(count**2 for count in moved) < sum(count**2 for count in spread)
        spread = moved
    assert plan_spread(workers, now) == []


@given(fleets())
def test_after_a_drain_nobody_takes_what_is_left(fleet: tuple[list[Candidate], dict[int, str]]) -> None:
    workers, holders = fleet
    now = after(holders, plan_drain(workers, holders))
    held = counts(workers, now)
    draining = {one.worker_id for one in workers if one.is_draining}
    for shard, holder in now.items():
        if holder in draining:
            assert not any(one.takes(shard, lease_count=held[one.worker_id]) for one in workers)


# When and how many


def session(seq: int = 1) -> Session:
    return Session(session_id="s", resume_url="wss://resume", seq=seq, shard_count=SHARDS)


def report(table: LeaseTable, worker_id: str, *, state: str = "connected", now: float = 0.0) -> None:
    held = tuple(
        HeldLease(shard=lease.shard, fencing_token=lease.fencing_token, session=session(), state=state)
        for lease in table.leases_of(worker_id)
    )
    table.renew(Renew(worker_id=worker_id, held=held), now)


def grant_all(table: LeaseTable) -> None:
    for shard, worker_id in table.proposals():
        table.grant(shard, worker_id)


def fleet_of_two(shard_count: int = 6, **of_b: object) -> LeaseTable:
    """`a` holds all, connected; `b` is idle."""
    table = LeaseTable(shard_count)
    table.register(Register(worker_id="a", shards="auto"), 0.0)
    grant_all(table)
    report(table, "a")
    table.register(Register.model_validate({"worker_id": "b", "shards": "auto"} | of_b), 0.0)
    return table


def hand_over(table: LeaseTable, shard: int) -> None:
    """What the giver does with a request."""
    record = table.shards[shard]
    assert record.holder is not None
    assert shard in table.asked_of(record.holder)
    table.release(Release(worker_id=record.holder, shard=shard, fencing_token=record.fencing_token, session=session()))
    grant_all(table)


def counted(table: LeaseTable) -> dict[str, int]:
    return {worker.worker_id: len(table.leases_of(worker.worker_id)) for worker in table.workers}


def test_a_calm_fleet_is_spread_and_a_busy_one_is_not() -> None:
    table = fleet_of_two()
    rebalancer = Rebalancer(table, after_s=60.0)
    assert rebalancer.begin(0.0) == []
    assert rebalancer.begin(59.0) == []
    table.register(Register(worker_id="c", shards="auto"), 59.5)
    for worker_id in ("a", "b"):
        report(table, worker_id, now=59.5)  # nobody is late
    assert rebalancer.begin(60.0) == []
    for worker_id in ("a", "b", "c"):
        report(table, worker_id, now=119.0)
    assert rebalancer.begin(119.0) == []
    assert rebalancer.begin(120.0) != []


def test_a_calm_fleet_is_looked_at_again_after_as_long_a_calm() -> None:
    table = fleet_of_two(2)
    report(table, "a", state="identifying")
    rebalancer = Rebalancer(table, after_s=60.0)
    assert [rebalancer.begin(now) for now in (0.0, 60.0)] == [[], []]
    report(table, "a", now=61.0)
    report(table, "b", now=61.0)
    assert rebalancer.begin(61.0) == []
    report(table, "a", now=120.0)
    report(table, "b", now=120.0)
    assert [move.receiver for move in rebalancer.begin(120.0)] == ["b"]


def test_zero_stands_for_never() -> None:
    table = fleet_of_two()
    report(table, "a", now=1e6)
    report(table, "b", now=1e6)
    assert Rebalancer(table, after_s=0.0).begin(1e6) == []


def test_few_hand_overs_run_at_once_and_each_shard_is_asked_for_once() -> None:
    table = fleet_of_two(12)
    rebalancer = Rebalancer(table, after_s=0.0)
    rebalancer.begin(0.0)  # it sees the workers for the first time
    rebalancer.spread_now()
    prove(table, rebalancer)
    assert len(rebalancer.begin(0.0)) == GIVING_AT_ONCE
    assert rebalancer.begin(0.1) == []
    assert table.asked_of("a") == (1, 2)
    assert table.asked_of("b") == ()


def prove(table: LeaseTable, rebalancer: Rebalancer) -> None:
    """The first shard of `b` goes there alone, and runs."""
    (first,) = rebalancer.begin(0.0)
    assert rebalancer.begin(0.0) == []
    hand_over(table, first.shard)
    report(table, "b")
    assert rebalancer.sweep(0.0) == []


def spread(table: LeaseTable, rebalancer: Rebalancer) -> None:
    """Play a whole spread."""
    rebalancer.begin(0.0)  # it sees the workers for the first time
    rebalancer.spread_now()
    for _ in range(50):
        rebalancer.sweep(0.0)
        for move in rebalancer.begin(0.0):
            hand_over(table, move.shard)
            report(table, move.receiver)


def test_a_spread_goes_on_until_the_counts_are_even_and_the_receiver_gets_each_shard() -> None:
    table = fleet_of_two()
    spread(table, Rebalancer(table, after_s=0.0))
    assert counted(table) == {"a": 3, "b": 3}
    assert list(table.hand_overs) == []


def test_a_receiver_whose_sessions_do_not_run_gets_no_more() -> None:
    table = fleet_of_two(12)
    rebalancer = Rebalancer(table, after_s=0.0)
    table.drain("a")
    for _ in range(10):
        rebalancer.sweep(0.0)
        for move in rebalancer.begin(0.0):
            hand_over(table, move.shard)
            report(table, "b", state="resuming")
    assert counted(table) == {"a": 11, "b": 1}


def live(table: LeaseTable, rebalancer: Rebalancer, seconds: range, **states: str) -> None:
    """All workers renew each second, in these states; what is asked for is handed over at once."""
    for now in seconds:
        for worker_id, state in states.items():
            report(table, worker_id, state=state, now=now)
        rebalancer.sweep(now)
        for move in rebalancer.begin(now):
            hand_over(table, move.shard)


@pytest.mark.parametrize("drains", [False, True])
def test_a_worker_that_never_reaches_discord_costs_one_shard(drains: bool) -> None:
    table = fleet_of_two(16)
    rebalancer = Rebalancer(table, after_s=60.0)
    if drains:
        table.drain("a")
    live(table, rebalancer, range(1, 600), a="connected", b="connecting")
    assert counted(table) == {"a": 15, "b": 1}


def test_a_worker_that_is_cut_off_from_discord_gets_nothing_until_all_its_shards_run_again() -> None:
    table = fleet_of_two(16)
    rebalancer = Rebalancer(table, after_s=0.0)
    rebalancer.begin(0.0)  # it sees the workers for the first time
    rebalancer.spread_now()
    prove(table, rebalancer)
    cut_at = 1 + int(STUCK_S)
    live(table, rebalancer, range(1, cut_at + 1), a="identifying", b="connecting")  # nothing can move
    rebalancer.spread_now()
    live(table, rebalancer, range(cut_at + 1, 200), a="connected", b="waiting")  # between two attempts
    assert counted(table) == {"a": 15, "b": 1}
    live(table, rebalancer, range(200, 220), a="connected", b="connected")
    rebalancer.spread_now()
    live(table, rebalancer, range(220, 240), a="connected", b="connected")
    assert counted(table) == {"a": 8, "b": 8}


def test_waiting_for_a_first_permit_is_no_failure() -> None:
    table = fleet_of_two(2)
    running = RunningShards()
    for now in (0.0, STUCK_S, 2 * STUCK_S):
        report(table, "a", state="waiting")
        running.watch(table.shards, now)
    assert running.stuck(2 * STUCK_S) == frozenset()
    report(table, "a", state="connecting")
    running.watch(table.shards, 50.0)
    report(table, "a", state="waiting")
    running.watch(table.shards, 50.0 + STUCK_S)
    assert running.stuck(49.0 + STUCK_S) == frozenset()
    assert running.stuck(50.0 + STUCK_S) == {"a"}


def test_room_that_is_promised_is_not_given_away() -> None:
    table = fleet_of_two(4, capacity=1)
    table.drain("a")
    Rebalancer(table, after_s=0.0).begin(0.0)
    (asked,) = table.asked_of("a")
    other = next(record for record in table.shards if record.shard != asked)
    table.release(Release(worker_id="a", shard=other.shard, fencing_token=other.fencing_token, session=session()))
    assert table.proposals() == []
    hand_over(table, asked)
    assert table.shards[asked].holder == "b"


def test_a_hand_over_that_takes_too_long_leaves_the_shard_and_stops_the_spread() -> None:
    table = fleet_of_two()
    rebalancer = Rebalancer(table, after_s=0.0)
    rebalancer.begin(0.0)
    rebalancer.spread_now()
    moves = rebalancer.begin(0.0)
    assert rebalancer.sweep(EXPIRE_S - 1) == []
    assert [late.move for late in rebalancer.sweep(EXPIRE_S)] == moves
    assert table.asked_of("a") == ()
    assert counted(table) == {"a": 6, "b": 0}
    for worker_id in ("a", "b"):
        report(table, worker_id, now=EXPIRE_S)
    assert rebalancer.begin(EXPIRE_S) == []
    rebalancer.spread_now()
    assert rebalancer.begin(EXPIRE_S) == moves


def test_a_dead_receiver_is_asked_for_no_more_and_a_released_shard_stays_with_no_one_dead() -> None:
    table = fleet_of_two()
    table.drain("a")
    rebalancer = Rebalancer(table, after_s=0.0)
    (first,) = rebalancer.begin(0.0)
    table.bury("b")
    assert table.asked_of("a") == ()
    record = table.shards[first.shard]
    table.release(Release(worker_id="a", shard=record.shard, fencing_token=record.fencing_token, session=session()))
    assert table.proposals() == []  # `a` drains
    table.undrain("a")
    grant_all(table)
    assert table.shards[first.shard].holder == "a"


def test_a_dead_givers_shard_goes_to_the_receiver() -> None:
    table = fleet_of_two()
    rebalancer = Rebalancer(table, after_s=0.0)
    rebalancer.begin(0.0)
    rebalancer.spread_now()
    moves = rebalancer.begin(0.0)
    table.register(Register(worker_id="aa", shards="auto"), 0.0)  # placement alone would prefer it
    table.bury("a")
    grant_all(table)
    for move in moves:
        assert table.shards[move.shard].holder == move.receiver


def test_shards_that_nobody_takes_are_stuck() -> None:
    table = fleet_of_two(4, shards="1-2", capacity=1)
    table.drain("a")
    rebalancer = Rebalancer(table, after_s=0.0)
    rebalancer.begin(0.0)
    assert table.asked_of("a") == (1,)
    assert rebalancer.stuck_of("a", 0.0) == (0, 2, 3)


def test_a_shard_without_a_session_yet_does_not_move() -> None:
    table = fleet_of_two(2)
    report(table, "a", state="identifying")
    table.drain("a")
    rebalancer = Rebalancer(table, after_s=0.0)
    assert rebalancer.begin(0.0) == []
    assert rebalancer.stuck_of("a", 0.0) == ()
    report(table, "a", state="waiting")
    assert len(rebalancer.begin(0.0)) == 1


def test_a_worker_that_leaves_is_asked_for_nothing_and_does_not_come_back() -> None:
    table = fleet_of_two()
    table.drain("a")
    rebalancer = Rebalancer(table, after_s=0.0)
    assert rebalancer.begin(0.0) != []
    table.leave(Leave(worker_id="a").worker_id)
    assert table.asked_of("a") == ()
    assert rebalancer.begin(0.0) == []


def test_a_worker_that_says_it_drains_gets_nothing_from_a_new_coordinator() -> None:
    table = LeaseTable(2)
    table.register(Register(worker_id="a", shards="auto", draining=True), 0.0)
    assert table.proposals() == []
    table.undrain("a")
    assert len(table.proposals()) == 2
