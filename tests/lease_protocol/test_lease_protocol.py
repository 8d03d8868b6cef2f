"""The lease protocol under faults at any step: real workers and coordinators on virtual time."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.lease_protocol.machine import LeaseProtocol, asked_example_count, long_profile, short_profile

LONG = asked_example_count()


@pytest.mark.timeout(0 if LONG else 600)
def test_promise_2_never_two_holders_and_no_shard_stuck() -> None:
    run_state_machine_as_test(LeaseProtocol, settings=long_profile(LONG) if LONG else short_profile())
