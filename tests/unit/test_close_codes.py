"""Close codes: Discord's whole table, and for each that ends a shard, a sentence that says what to change."""

from __future__ import annotations

import pytest

from gateway_workers.close_codes import RESUMABLE_CLOSE, NextStep, advice, next_step

TABLE = {
    None: NextStep.RESUME,
    1000: NextStep.RESUME,
    1001: NextStep.RESUME,
    1006: NextStep.RESUME,
    1011: NextStep.RESUME,
    4000: NextStep.RESUME,
    4001: NextStep.RESUME,
    4002: NextStep.RESUME,
    4003: NextStep.IDENTIFY,
    4004: NextStep.STOP,
    4005: NextStep.RESUME,
    4006: NextStep.RESUME,
    4007: NextStep.IDENTIFY,
    4008: NextStep.RESUME,
    4009: NextStep.IDENTIFY,
    4010: NextStep.STOP,
    4011: NextStep.STOP,
    4012: NextStep.STOP,
    4013: NextStep.STOP,
    4014: NextStep.STOP,
    4015: NextStep.RESUME,
    4999: NextStep.RESUME,
}


@pytest.mark.parametrize(("code", "step"), TABLE.items())
def test_each_close_code_has_the_tables_next_step(code: int | None, step: NextStep) -> None:
    assert next_step(code) is step


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (4004, "DISCORD_TOKEN"),
        (4010, "GW_SHARD_COUNT"),
        (4011, "GW_SHARD_COUNT"),
        (4012, "update hikari-relay"),
        (4013, "GW_INTENTS"),
        (4014, "developer portal"),
    ],
)
def test_a_code_that_ends_the_shard_says_what_to_change(code: int, change: str) -> None:
    assert change in advice(code)
    assert str(code) in advice(code)
    assert "\n" not in advice(code)


def test_the_code_that_we_close_with_keeps_the_session() -> None:
    assert RESUMABLE_CLOSE not in (1000, 1001)
    assert 4000 <= RESUMABLE_CLOSE <= 4999
