"""Limits of event types, handlers that take too long, block, exit or are cancelled, and dispatches that are too old."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import eventually
from tests.wire.consume_rig import Rig, interaction, plain_headers, typing

if TYPE_CHECKING:
    from tests.wire.consume_rig import ConsumeProcess


DISCORD_EPOCH_S = 1_420_070_400


async def started(rig: Rig, *arguments: str, **environment: str) -> ConsumeProcess:
    return await rig.started(*arguments, GW_ENTRYPOINT="limit_bots:setup", **environment)


def most_at_once(rig: Rig) -> int:
    changes = [(entry["at"], 1) for entry in rig.recorded("message")] + [
        (entry["at"], -1) for entry in rig.recorded("end")
    ]
    running, most = 0, 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


async def test_a_type_has_its_limit_and_others_pass_it(rig: Rig) -> None:
    process = await started(rig, "--limit", "MESSAGE_CREATE=2")
    for number in range(6):
        await rig.say(f"hold {number}")
    await rig.publish("TYPING_START", typing(7))
    await rig.until_recorded("typing")
    assert [entry["content"] for entry in rig.recorded("message")] == ["hold 0", "hold 1"]
    rig.let_go()
    await rig.until_recorded("end", count=6)
    assert [entry["content"] for entry in rig.recorded("message")] == [f"hold {number}" for number in range(6)]
    assert most_at_once(rig) == 2
    assert await process.stop() == 0
    assert await rig.has_settled_all()


async def test_a_handler_that_takes_too_long_is_cancelled_named_and_has_failed(rig: Rig) -> None:
    process = await started(rig, "--handler-timeout", "0.5")
    await rig.say("hold")
    await rig.say("nap")
    letter = (await rig.dead_letters())[0]
    reason = str(letter.headers["reason"])
    assert reason.startswith("the listener limit_bots.on_message raised HandlerTimeoutError: limit_bots.on_message was")
    assert reason.endswith("shorten it, or raise --handler-timeout")
    await rig.until_recorded("exception", error="HandlerTimeoutError")
    assert process.logged("handler_timeout")[0]["handler"] == "limit_bots.on_message"
    assert await process.stop() == 0
    assert {entry["content"] for entry in rig.recorded("end")} == {"nap"}
    counts = rig.closing_counts(process)
    assert (counts["handlers_timed_out"], counts["failed"], counts["handled"]) == (1, 1, 1)


async def test_a_handler_that_does_not_even_end_when_cancelled_is_left_to_itself(rig: Rig) -> None:
    process = await started(rig, "--handler-timeout", "0.5")
    await rig.say("stubborn")
    assert "HandlerTimeoutError" in str((await rig.dead_letters())[0].headers["reason"])
    assert process.logged("handler_left")[0]["handler"] == "limit_bots.on_message"
    await rig.say("nap")
    await rig.until_recorded("end", content="nap")
    rig.let_go()
    assert await process.stop() == 0
    assert not process.logged("drain_timeout")
    assert await rig.has_settled_all()


async def test_a_handler_that_ends_cancelled_though_nobody_cancelled_it_has_failed(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("cancelled")
    assert "CancelledByNobodyError" in str((await rig.dead_letters())[0].headers["reason"])
    assert await process.stop() == 0
    assert rig.closing_counts(process)["handled"] == 0


async def test_exit_in_a_handler_lets_the_others_end_and_ends_the_process(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("hold")
    await rig.until_recorded("message")
    await rig.say("exit")
    await process.until_logged("taking_no_more")
    await rig.say("later")
    rig.let_go()
    assert await process.wait() == 0
    assert [entry["content"] for entry in rig.recorded("end")] == ["hold"]
    assert process.logged("handler_exit")[0]["handler"] == "limit_bots.on_message"
    assert await rig.ready_count(rig.queue) == 1
    assert await rig.ready_count(rig.names.dead(rig.group)) == 0


async def test_exit_with_a_code_is_a_failure_and_the_code_that_the_process_ends_with(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("exit-3")
    assert await process.wait() == 3
    assert str((await rig.dead_letters())[0].headers["reason"]).endswith("raised SystemExit: 3")
    assert await rig.has_settled_all()


async def test_exit_in_a_listener_of_what_a_left_task_dispatches_ends_the_process_too(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("leave a task")
    assert await process.wait() == 4
    assert process.logged("handler_exit")[0]["handler"] == "limit_bots.on_afterwards"
    assert process.logged("closed")
    assert await rig.has_settled_all()


@pytest.mark.parametrize("event", ["StartingEvent", "StartedEvent"])
async def test_exit_while_it_starts_ends_the_process_in_order(rig: Rig, event: str) -> None:
    process = rig.start(GW_ENTRYPOINT="limit_bots:setup", ON_LIFETIME=f"{event} exit-3")
    assert await process.wait() == 3
    assert len(process.logged("closed")) == 1
    assert not process.logged("consuming")


async def test_exit_while_it_starts_does_not_wait_for_handlers_that_wait_for_each_other(rig: Rig) -> None:
    process = rig.start(GW_ENTRYPOINT="limit_bots:setup_waiting", ON_LIFETIME="StartingEvent exit-3")
    assert await process.wait() == 3
    assert len(process.logged("closed")) == 1


@pytest.mark.parametrize("event", ["StartingEvent", "StartedEvent"])
async def test_a_bot_that_closes_itself_while_it_starts_says_so_and_ends(rig: Rig, event: str) -> None:
    process = rig.start(GW_ENTRYPOINT="limit_bots:setup", ON_LIFETIME=f"{event} close")
    assert await process.wait() == 0
    assert len(process.logged("closed_early")) == 1
    assert not process.logged("consuming")


def told(process: ConsumeProcess, action: str, handler: str) -> list[dict[str, Any]]:
    """But for what a machine that does much else causes."""
    return [entry for entry in process.logged(action) if str(entry.get("handler")).endswith(handler)]


async def test_a_blocking_handler_is_named_before_anything_is_consumed(rig: Rig) -> None:
    process = await started(rig, ON_LIFETIME="StartingEvent block", GW_BLOCK_TIMEOUT="1")
    assert told(process, "loop_blocked", "of StartingEvent")
    assert await process.stop() == 0


async def test_a_handler_of_the_stop_that_blocks_without_end_ends_its_process(rig: Rig) -> None:
    process = await started(rig, ON_LIFETIME="StoppingEvent block-for-ever", GW_BLOCK_TIMEOUT="3")
    assert await process.stop() == 1
    assert process.logged("block_timeout")[0]["handler"].endswith("of StoppingEvent")


async def test_a_handler_that_blocks_the_loop_is_named_while_it_does_and_afterwards(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("block")
    await rig.until_recorded("end")
    handler = "limit_bots.on_message of DMMessageCreateEvent"
    await eventually(lambda: told(process, "loop_runs_again", handler))
    blocked, again = told(process, "loop_blocked", handler)[0], told(process, "loop_runs_again", handler)[0]
    assert "limit_bots.py:" in blocked["at"]
    assert again["seconds"] >= 2.4
    assert await process.stop() == 0
    assert rig.closing_counts(process)["loop_stalls"] >= 1


async def test_a_handler_that_blocks_the_loop_without_end_ends_its_process(rig: Rig) -> None:
    process = await started(rig, GW_BLOCK_TIMEOUT="3")
    await rig.say("block-for-ever")
    assert await process.wait() == 1
    (ended,) = process.logged("block_timeout")
    assert ended["handler"] == "limit_bots.on_message of DMMessageCreateEvent"

    async def comes_again() -> bool:
        return await rig.ready_count(rig.queue) == 1

    await eventually(comes_again)


async def test_a_handler_that_lets_no_thread_run_is_told_of_afterwards(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("crunch")
    await rig.until_recorded("end")
    await process.until_logged("loop_runs_again")


@pytest.mark.long
async def test_a_handler_that_blocks_the_loop_for_15_s_costs_no_connection_and_nothing_comes_again(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("block-15")
    await rig.until_recorded("end", content="block-15")
    await rig.say("nap")
    await rig.until_recorded("end", content="nap")
    assert process.logged("loop_runs_again")[0]["seconds"] >= 14.9
    assert not process.logged("broker_lost")
    assert await process.stop() == 0
    assert len(rig.recorded("message", content="block-15")) == 1
    assert rig.closing_counts(process)["duplicates_dropped"] == 0
    assert await rig.has_settled_all()


async def test_the_copy_of_a_process_that_a_handler_forked_ends_and_the_original_goes_on(rig: Rig) -> None:
    process = await started(rig)
    await rig.say("fork")
    await rig.until_recorded("message", count=1)
    await eventually(lambda: any("a handler forked" in sentence for sentence in process.sentences))
    await rig.say("nap")
    ended = await rig.until_recorded("end", content="nap")
    assert [entry["pid"] for entry in ended] == [process.pid]
    assert await process.stop() == 0
    assert rig.closing_counts(process)["handled"] == 2
    assert len(process.logged("closed")) == 1
    assert await rig.has_settled_all()


def made(ago_s: float) -> int:
    return int((time.time() - ago_s - DISCORD_EPOCH_S) * 1000) << 22


def received(ago_s: float) -> dict[str, Any]:
    return plain_headers(received_at=int(time.time() - ago_s))


async def test_interactions_that_nobody_can_answer_are_skipped_and_counted(rig: Rig) -> None:
    process = await started(rig, "--max-interaction-age", "30")
    await rig.publish("INTERACTION_CREATE", interaction(made(0.5), "fresh"))
    await rig.publish("INTERACTION_CREATE", interaction(made(200), "late"), headers=received(200))
    await rig.publish("INTERACTION_CREATE", interaction(made(200), "read late"))
    await rig.publish("INTERACTION_CREATE", interaction(made(0.5), "fresh too"))
    await rig.until_recorded("interaction", custom_id="fresh too")
    assert await process.stop() == 0
    assert [entry["custom_id"] for entry in rig.recorded("interaction")] == ["fresh", "fresh too"]
    assert rig.closing_counts(process)["stale_interactions"] == 2
    assert len(process.logged("stale_interaction")) == 1
    assert await rig.has_settled_all()


async def test_an_old_backlog_is_skipped_by_policy_and_counted(rig: Rig) -> None:
    process = await started(rig, "--max-age", "60")
    await rig.say("old", headers=received(90))
    await rig.say("new", headers=received(30))
    await rig.until_recorded("end")
    assert await process.stop() == 0
    assert [entry["content"] for entry in rig.recorded("message")] == ["new"]
    assert rig.closing_counts(process)["skipped_by_age"] == 1
    assert await rig.has_settled_all()


async def test_wrong_limits_are_sentences(rig: Rig) -> None:
    process = rig.start("--limit", "MESAGE_CREATE=3", "--handler-timeout", "-1")
    assert await process.wait() == 2
    assert any("did you mean MESSAGE_CREATE?" in sentence for sentence in process.sentences)
    assert any(sentence.startswith("gw-consume: --handler-timeout") for sentence in process.sentences)
    assert len(process.sentences) == 2
