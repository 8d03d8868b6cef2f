"""Dispatches of which a listener raised, under each of the three policies; and that others do not suffer for them."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.waiting import eventually
from tests.wire.consume_rig import Rig, interaction

if TYPE_CHECKING:
    pass


def snowflake(age_s: float) -> int:
    return int((time.time() - age_s) * 1000 - 1_420_070_400_000) << 22


async def test_a_dispatch_that_fails_becomes_a_dead_letter_with_the_reason(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("fail")
    letter = (await rig.dead_letters())[0]
    reason = "the listener consume_bots.setup.<locals>.on_message raised ValueError: as told"
    assert letter.headers["reason"] == reason
    assert (letter.headers["origin"], letter.headers["attempts"]) == (rig.queue, 1)
    assert (letter.type, letter.message_id) == ("MESSAGE_CREATE", f"{rig.session}-0:1")
    assert b"fail" in letter.body
    await rig.until_recorded("exception", error="ValueError('as told')")
    assert await process.stop() == 0
    counts = rig.closing_counts(process)
    assert (counts["failed"], counts["dead_letters"], counts["handled"]) == (1, 1, 0)
    assert await rig.has_settled_all()


async def test_acknowledged_failures_are_counted_and_gone(rig: Rig) -> None:
    process = await rig.started("--on-error", "ack")
    await rig.say("fail")
    await rig.until_recorded("exception")
    assert await process.stop() == 0
    counts = rig.closing_counts(process)
    assert (counts["failed"], counts["failures_acknowledged"], counts["dead_letters"]) == (1, 1, 0)
    assert await rig.ready_count(rig.names.dead(rig.group)) == 0
    assert await rig.has_settled_all()


async def test_a_failed_dispatch_is_tried_again_later_and_outlives_the_process_that_failed(rig: Rig) -> None:
    process = await rig.started(GW_ON_ERROR="retry")
    await rig.say("flaky")
    await rig.until_recorded("exception", count=2)
    process.signal(signal.SIGKILL)  # the next attempt waits in the broker
    await process.wait()
    successor = await rig.started(GW_ON_ERROR="retry")
    await rig.until_recorded("end", content="flaky")

    async def is_over() -> bool:
        """Killed between a copy and its acknowledgement, the process left both."""
        return not any([await rig.ready_count(rig.names.delay(seconds)) for seconds in (1, 2)])

    await eventually(is_over)
    assert await successor.stop() == 0
    attempts = rig.recorded("message", content="flaky")
    assert {entry["attempt"] for entry in attempts} == {1, 2, 3}
    assert len({entry["seq"] for entry in attempts}) == 1
    started_at = [min(one["at"] for one in attempts if one["attempt"] == attempt) for attempt in (1, 2, 3)]
    assert started_at[1] - started_at[0] > 0.7
    assert started_at[2] - started_at[1] > 1.4
    assert await rig.has_settled_all()


async def test_attempts_end_in_a_dead_letter_and_a_stale_interaction_gets_one(rig: Rig) -> None:
    process = await rig.started("--on-error", "retry", "--max-attempts", "2", "--max-interaction-age", "0")
    await rig.say("fail")
    fresh, stale = snowflake(60), snowflake(15 * 60 + 5)
    for number in (fresh, stale):
        await rig.publish("INTERACTION_CREATE", interaction(number, "fail"))
    letters = await rig.dead_letters(count=3)
    attempts = {bytes(letter.body).decode(): letter.headers["attempts"] for letter in letters}
    assert sorted(attempts.values()) == [1, 2, 2]
    assert [count for body, count in attempts.items() if str(stale) in body] == [1]
    assert {str(letter.headers["origin"]) for letter in letters} == {rig.queue, f"{rig.queue}.interactions"}
    assert not any(name in letter.headers for letter in letters for name in ("failed_attempts", "x-death"))
    assert await process.stop() == 0
    assert await rig.has_settled_all()


@pytest.mark.long
async def test_poison_waits_elsewhere_and_takes_no_place_from_the_others(rig: Rig) -> None:
    process = await rig.started("--on-error", "retry", "--prefetch", "2")
    for number in range(400):
        await rig.say("fail" if number % 20 == 0 else f"m{number}")
    await rig.until_recorded("end", count=380)
    last_end = max(entry["at"] for entry in rig.recorded("end"))
    letters = await rig.dead_letters(count=20)
    attempts = rig.recorded("message", content="fail")
    assert len(letters) == 20
    assert len(attempts) == 100
    assert last_end < max(entry["at"] for entry in attempts)
    assert await process.stop() == 0
    counts = rig.closing_counts(process)
    assert (counts["handled"], counts["failed"], counts["retried"], counts["dead_letters"]) == (380, 100, 80, 20)
    assert await rig.has_settled_all()


async def test_a_wrong_policy_is_a_sentence(rig: Rig) -> None:
    process = rig.start("--on-error", "ignore", "--max-attempts", "0")
    assert await process.wait() == 2
    assert any("--on-error (GW_ON_ERROR): 'ignore' is unknown" in sentence for sentence in process.sentences)
    assert len(process.sentences) == 2
