"""The machine finds planted defects: the same steps pass without them. A test of the test."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from coordinator.lease_table import LeaseTable
from coordinator.liveness import Liveness
from eventbus.amqp.control_channel import ControlChannel
from gateway_workers.held_shards import HeldShards
from gateway_workers.lease_keeper import LeaseKeeper
from gateway_workers.shard_session import ShardSession
from tests.lease_protocol.machine import LeaseProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventbus.messages import HeldLease, Session


def begin(machine: LeaseProtocol, *, running_s: float) -> None:
    machine.begin(
        seed=1,
        worker_count=2,
        coordinator_count=2,
        requeues_behind=False,
        confirm_delay_s=0.0,
        running_s=running_s,
    )


def a_frozen_holder_and_a_new_coordinator(machine: LeaseProtocol) -> None:
    begin(machine, running_s=4.0)
    machine.strike_worker(which=0, action="freeze", then_s=0.0)
    machine.strike_coordinator(which=0, action="kill", then_s=6.0, is_replaced=False)


def a_holder_that_wakes_after_its_connection_was_cut(machine: LeaseProtocol) -> None:
    begin(machine, running_s=4.0)
    machine.strike_worker(which=0, action="stall control", then_s=0.0)
    machine.strike_worker(which=0, action="freeze", then_s=16.0)
    machine.pass_time(duration_s=6.0)
    machine.wake(which=0, then_s=2.5)


def a_grant_that_is_read_after_the_next_grant(machine: LeaseProtocol) -> None:
    begin(machine, running_s=0.3)
    machine.trap_worker(which=0, label="got leases", action="freeze", then_s=1.0)
    machine.strike_coordinator(which=0, action="kill", then_s=3.5, is_replaced=False)
    machine.wake(which=0, then_s=2.5)


def a_coordinator_that_leads_again(machine: LeaseProtocol) -> None:
    begin(machine, running_s=4.0)
    machine.strike_coordinator(which=0, action="cut control", then_s=2.5, is_replaced=False)
    machine.strike_worker(which=0, action="freeze", then_s=16.0)
    machine.pass_time(duration_s=6.0)
    machine.wake(which=0, then_s=0.6)
    machine.strike_worker(which=0, action="freeze", then_s=0.0)
    machine.strike_coordinator(which=0, action="kill", then_s=6.0, is_replaced=False)


def a_death_with_dispatches_on_the_way(machine: LeaseProtocol) -> None:
    begin(machine, running_s=4.0)
    machine.strike_worker(which=0, action="slow publishing", then_s=2.5)
    machine.strike_worker(which=0, action="lose machine", then_s=16.0)


def a_former_holder_that_comes_back_with_the_broker(machine: LeaseProtocol) -> None:
    begin(machine, running_s=4.0)
    machine.strike_worker(which=0, action="part", then_s=16.0)
    machine.pass_time(duration_s=6.0)
    machine.strike_worker(which=0, action="freeze", then_s=0.0)
    machine.strike_coordinator(which=0, action="kill", then_s=0.0, is_replaced=False)
    machine.mend(which=0, then_s=0.0)
    machine.restart_broker(down_s=0.5, then_s=1.5)
    machine.wake(which=0, then_s=6.0)


async def _nobody_holds(*_: Any) -> bool:
    return False


async def _nothing(*_: Any) -> None:
    return None


_ask = LeaseKeeper._ask


async def _confirm_unasked(keeper: LeaseKeeper, starting: tuple[HeldLease, ...] = ()) -> Any:
    return SimpleNamespace(leases=starting) if starting else await _ask(keeper)


def _older_claims_count(_: LeaseTable, record: Any, worker_id: str, lease: HeldLease) -> bool:
    return bool(record.holder != worker_id and lease.fencing_token != record.fencing_token)


def _up_to_what_was_added(session: ShardSession) -> Session | None:
    return session.session and session.session.model_copy(update={"seq": session.outlet.mark.added})


DEFECTS = {
    "grants without asking the broker for a holder": (
        (ControlChannel, "has_holder", _nobody_holds),
        a_frozen_holder_and_a_new_coordinator,
        "can both publish",
    ),
    "the broker does not vouch for holders": (
        (HeldShards, "hold", _nothing),
        a_frozen_holder_and_a_new_coordinator,
        "can both publish",
    ),
    "leases are not validated on a new connection": (
        (LeaseKeeper, "revalidate", _nothing),
        a_holder_that_wakes_after_its_connection_was_cut,
        "can both publish",
    ),
    "a lease is used without a second confirmation": (
        (LeaseKeeper, "_ask", _confirm_unasked),
        a_grant_that_is_read_after_the_next_grant,
        "can both publish",
    ),
    "an older claim goes through": (
        (LeaseTable, "_may_claim", _older_claims_count),
        a_grant_that_is_read_after_the_next_grant,
        "can both publish",
    ),
    "a new coordinator does not know the newest grants": (
        (LeaseTable, "_newest_token", lambda _, record: record.fencing_token),
        a_former_holder_that_comes_back_with_the_broker,
        "after the broker had taken one under",
    ),
    "a coordinator that leads again believes what it knew": (
        (LeaseTable, "forget_holders", lambda _: None),
        a_coordinator_that_leads_again,
        "can both publish",
    ),
    "checkpoints count what is not confirmed": (
        (ShardSession, "checkpoint", _up_to_what_was_added),
        a_death_with_dispatches_on_the_way,
        "would be lost",
    ),
    "nobody is ever taken for dead": (
        (Liveness, "is_dead", lambda *_, **__: False),
        a_death_with_dispatches_on_the_way,
        "not every shard is served",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_the_machine_finds_that(name: str) -> None:
    patch, steps, sentence = DEFECTS[name]
    with mock.patch.object(*patch), pytest.raises(AssertionError, match=sentence):
        run(steps)


STEPS = dict.fromkeys(steps for _, steps, _ in DEFECTS.values())


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: steps.__name__)
def test_and_nothing_without_the_defect(steps: Callable[[LeaseProtocol], None]) -> None:
    run(steps)


def run(steps: Callable[[LeaseProtocol], None]) -> None:
    machine = LeaseProtocol()
    try:
        steps(machine)
    finally:
        machine.teardown()
