"""A flood of what is not believed makes few log lines and is counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from eventbus.refusal_log import MAX_REPORTED_KEYS, RefusalLog

if TYPE_CHECKING:
    import pytest


def test_each_kind_is_logged_once_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    refusals = RefusalLog("refused", action="bad")
    with caplog.at_level(logging.WARNING):
        for key in ("a", "a", "b", "a"):
            refusals.refuse(key, reason=f"reason of {key}")
    assert [(line.message, line.__dict__["action"], line.__dict__["reason"]) for line in caplog.records] == [
        ("refused", "bad", "reason of a"),
        ("refused", "bad", "reason of b"),
    ]
    assert caplog.records[-1].__dict__["refused_count"] == 3
    assert refusals.refused_count == 4


def test_kinds_without_end_are_only_counted(caplog: pytest.LogCaptureFixture) -> None:
    refusals = RefusalLog("refused", action="bad")
    with caplog.at_level(logging.WARNING):
        for number in range(MAX_REPORTED_KEYS + 5):
            refusals.refuse(str(number))
    assert len(caplog.records) == MAX_REPORTED_KEYS
    assert refusals.refused_count == MAX_REPORTED_KEYS + 5
