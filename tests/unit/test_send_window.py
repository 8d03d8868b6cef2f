"""Discord's limit on sending holds for any pattern of sends, with room left for heartbeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_workers.send_window import HEARTBEAT_RESERVE, LIMIT, WINDOW_S, SendWindow

steps = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.01, 0.3, 7.0, 29.9, 60.0]), st.booleans()), min_size=1, max_size=600
)


@given(steps, st.floats(0, 1e6))
def test_never_more_than_120_sends_lie_within_any_60_s(pattern: list[tuple[float, bool]], start: float) -> None:
    window, now, sent = SendWindow(), start, []
    for pause_s, is_heartbeat in pattern * 2:
        now += pause_s
        if (window.try_heartbeat(now) if is_heartbeat else window.try_command(now)) == 0.0:
            sent.append(now)
    assert all(later - earlier >= WINDOW_S for earlier, later in zip(sent, sent[LIMIT:], strict=False))


def test_a_burst_of_commands_leaves_the_reserve_for_heartbeats() -> None:
    window = SendWindow()
    commands = sum(window.try_command(0.0) == 0.0 for _ in range(500))
    assert commands == LIMIT - HEARTBEAT_RESERVE
    assert sum(window.try_heartbeat(1.0) == 0.0 for _ in range(500)) == HEARTBEAT_RESERVE


def test_the_window_slides_so_that_two_bursts_cannot_meet_at_its_edge() -> None:
    window = SendWindow()
    for _ in range(LIMIT):
        window.try_heartbeat(59.0)
    assert window.try_heartbeat(61.0) > 0
    assert window.try_command(118.9) > 0


@given(steps)
def test_after_the_told_wait_the_send_is_allowed(pattern: list[tuple[float, bool]]) -> None:
    window, now = SendWindow(limit=6, window_s=10.0, reserve=2), 0.0
    for pause_s, is_heartbeat in pattern:
        now += pause_s
        attempt = window.try_heartbeat if is_heartbeat else window.try_command
        wait_s = attempt(now)
        if wait_s > 0:
            assert attempt(now + wait_s - 0.001) > 0
            now += wait_s + 1e-6
            assert attempt(now) == 0.0


def test_a_refused_send_is_not_counted() -> None:
    window = SendWindow(limit=3, window_s=10.0, reserve=1)
    assert [window.try_command(0.0) == 0.0 for _ in range(5)] == [True, True, False, False, False]
    assert window.try_heartbeat(0.0) == 0.0


@pytest.mark.parametrize("when", [WINDOW_S - 0.1, WINDOW_S])
def test_a_margin_covers_a_network_that_brings_sends_together(when: float) -> None:
    window = SendWindow(limit=1, reserve=0)
    assert window.try_command(0.0) == 0.0
    assert window.try_command(when) > 0
