"""What the exit code of a chaos run says."""

from __future__ import annotations

import pytest

from ops.chaos.report import MUST_BE_NONE, passes

CLEAN = {**dict.fromkeys(MUST_BE_NONE, 0), "is_complete": True}


def test_a_run_in_which_nothing_went_wrong_passes() -> None:
    assert passes(CLEAN)
    assert passes({**CLEAN, "memory_grown": {}})


@pytest.mark.parametrize("name", MUST_BE_NONE)
def test_whatever_goes_wrong_fails_the_run(name: str) -> None:
    assert not passes({**CLEAN, name: 1})


def test_a_run_that_was_told_to_stop_before_its_end_does_not_pass() -> None:
    assert not passes({**CLEAN, "is_complete": False})


def test_memory_that_grew_fails_a_soak() -> None:
    assert not passes({**CLEAN, "memory_grown": {"worker 1": 1.5}})
