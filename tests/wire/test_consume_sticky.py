"""A component or modal goes to the process that sent the message or opened the modal; to another if it is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig
from tests.wire.consume_rig import interaction as interaction_of

if TYPE_CHECKING:
    from tests.wire.consume_rig import ConsumeProcess

pytestmark = pytest.mark.timeout(400)
POOL = 3
TOLD_S = 1.5
DISCORD_EPOCH = 1420070400
ROOT = consume_rig.BOTS.parent.parent


async def pool(rig: Rig, count: int = POOL, **environment: str) -> list[ConsumeProcess]:
    """Processes that consume; what they send on a user's behalf is seen by all of them before they are asked of it."""
    bot = {"GW_ENTRYPOINT": "tests.wire.sticky_bots:setup", "GW_ENTRYPOINT_DIR": str(ROOT)}
    bot["GW_MAX_INTERACTION_AGE"] = "900"  # a slow machine skips none
    return list(await asyncio.gather(*(rig.started(**(bot | environment)) for _ in range(count))))


async def panels(rig: Rig, count: int, custom_id: str = "b") -> dict[str, int]:
    """Messages with a button, by id, and the process that sent each."""
    before = len(rig.recorded("sent"))
    for _ in range(count):
        await rig.say(f"panel {custom_id}")
    sent = await rig.until_recorded("sent", count=before + count)
    await asyncio.sleep(TOLD_S)  # a user takes longer to click
    return {one["id"]: one["pid"] for one in sent[before:]}


async def click(rig: Rig, number: int, message_id: str, custom_id: str = "b", **message: Any) -> None:
    payload = interaction_of(number, custom_id)
    payload["message"] = payload["message"] | {"id": message_id} | message
    await rig.publish("INTERACTION_CREATE", payload)


async def click_each(rig: Rig, messages: list[str], first: int) -> list[dict[str, Any]]:
    """What came of a click on each message, in order."""
    for number, message_id in enumerate(messages, first):
        await click(rig, number, message_id)
    found = [await rig.until_recorded("answered", id=str(first + at)) for at in range(len(messages))]
    assert [len(entries) for entries in found] == [1] * len(messages)
    return [rig.recorded("component", id=str(first + at))[0] for at in range(len(messages))]


async def command(rig: Rig, number: int, name: str) -> int:
    """The process that handled a slash command."""
    payload = interaction_of(number) | {"type": 2, "data": {"id": "5", "name": name, "type": 1}}
    del payload["message"]
    await rig.publish("INTERACTION_CREATE", payload)
    handled = await rig.until_recorded("command", id=str(number))
    await asyncio.sleep(TOLD_S)
    return int(handled[0]["pid"])


async def test_promise_each_click_reaches_the_process_that_sent_the_message(rig: Rig) -> None:
    processes = await pool(rig)
    sent = await panels(rig, 9)
    assert len(set(sent.values())) > 1
    clicks = await click_each(rig, [*sent] * 3, first=100)
    assert [one["pid"] for one in clicks] == [*sent.values()] * 3
    assert all(one["is_known"] for one in clicks)
    for process in processes:
        assert await process.stop() == 0
    closing = [rig.closing_counts(process) for process in processes]
    assert sum(counts["forwarded"] for counts in closing) > 0
    assert await rig.has_settled_all()


async def test_with_components_anywhere_a_click_goes_to_any_process(rig: Rig) -> None:
    await pool(rig, GW_COMPONENTS_ANYWHERE="1")
    sent = await panels(rig, 3)
    # One message after another: the broker deals to the processes in turn, as it may have dealt what made the panels.
    clicks = await click_each(rig, [message_id for message_id in sent for _ in range(4)], first=100)
    assert not all(one["is_known"] for one in clicks)


async def test_a_response_is_known_by_its_interaction_and_a_modal_by_its_user(rig: Rig) -> None:
    await pool(rig)
    for number in range(10, 16):
        responder = await command(rig, number, "panel")
        for click_id in (100 + number, 200 + number, 300 + number):
            await click(rig, click_id, "999", interaction_metadata=answered_interaction(number))
            answered = await rig.until_recorded("answered", id=str(click_id))
            assert [one["pid"] for one in answered] == [responder]
    opener = await command(rig, 20, "modal")
    for number in range(400, 406):
        payload = interaction_of(number) | {"type": 5, "data": {"custom_id": "m", "components": []}}
        del payload["message"]
        await rig.publish("INTERACTION_CREATE", payload)
        submitted = await rig.until_recorded("modal", id=str(number))
        assert [(one["pid"], one["is_known"]) for one in submitted] == [(opener, True)]


def answered_interaction(number: int) -> dict[str, Any]:
    return {"id": str(number), "type": 2, "user": consume_rig.AUTHOR, "authorizing_integration_owners": {}, "name": "p"}


async def test_who_gives_a_message_new_components_takes_it_over_and_who_edits_its_text_does_not(rig: Rig) -> None:
    await pool(rig)
    message_id, sender = next(iter((await panels(rig, 1)).items()))
    for attempt in range(6):
        await rig.say(f"touch {message_id}")
        await rig.until_recorded("touched", count=attempt + 1)
    await asyncio.sleep(TOLD_S)
    clicks = await click_each(rig, [message_id] * 4, first=100)
    assert [one["pid"] for one in clicks] == [sender] * 4
    heir = sender
    while heir == sender:
        before = len(rig.recorded("sent"))
        await rig.say(f"edit {message_id}")
        heir = (await rig.until_recorded("sent", count=before + 1))[-1]["pid"]
        await asyncio.sleep(TOLD_S)
    clicks = await click_each(rig, [message_id] * 4, first=200)
    assert [one["pid"] for one in clicks] == [heir] * 4


async def test_promise_another_process_gets_the_click_when_the_sender_was_killed(rig: Rig) -> None:
    await pool(rig)
    message_id, sender = next(iter((await panels(rig, 1)).items()))
    os.kill(sender, signal.SIGKILL)
    clicks = await click_each(rig, [message_id] * 6, first=100)
    assert not any(one["is_known"] for one in clicks)
    assert sender not in {one["pid"] for one in clicks}


async def test_what_a_killed_process_was_handling_is_handled_by_another(rig: Rig) -> None:
    await pool(rig)
    message_id, sender = next(iter((await panels(rig, 1, "hold")).items()))
    for number in range(100, 104):
        await click(rig, number, message_id, "hold")
        await rig.until_recorded("component", id=str(number), pid=sender)
    os.kill(sender, signal.SIGKILL)
    for number in range(100, 104):
        answered = await rig.until_recorded("answered", id=str(number))
        assert [one["pid"] == sender for one in answered] == [False]


async def test_who_forwarded_may_be_killed_and_the_owner_handles_nothing_twice(rig: Rig) -> None:
    processes = await pool(rig)
    message_id, sender = next(iter((await panels(rig, 1, "hold")).items()))
    numbers = range(100, 109)
    for number in numbers:
        await click(rig, number, message_id, "hold")
        await rig.until_recorded("component", id=str(number), pid=sender)
    killed = next(process for process in processes if process.pid != sender)
    killed.signal(signal.SIGKILL)
    await asyncio.sleep(2 * TOLD_S)  # the broker gives what it had to the others
    rig.let_go()
    for number in numbers:
        assert [one["pid"] for one in await rig.until_recorded("answered", id=str(number))] == [sender]
    for process in processes:
        assert process is killed or await process.stop() == 0
    assert await rig.has_settled_all()
    assert len(rig.recorded("component")) == len(numbers)
    assert len(rig.recorded("answered")) == len(numbers)


async def test_a_limit_holds_for_what_is_forwarded_too(rig: Rig) -> None:
    """One that the owner took from the queue, and one that was forwarded: never one of each other process."""
    await pool(rig, GW_LIMIT="INTERACTION_CREATE=1")
    message_id, sender = next(iter((await panels(rig, 1, "hold")).items()))
    for number in range(100, 106):
        await click(rig, number, message_id, "hold")
    await rig.until_recorded("component", pid=sender)
    await asyncio.sleep(2 * TOLD_S)
    assert len(rig.recorded("component")) <= 2
    rig.let_go()
    for number in range(100, 106):
        assert [one["pid"] for one in await rig.until_recorded("answered", id=str(number))] == [sender]


async def test_a_process_that_stops_answers_what_its_handlers_wait_for_and_then_no_more(rig: Rig) -> None:
    processes = await pool(rig)
    message_id, sender = next(iter((await panels(rig, 1, "hold")).items()))
    for number in range(100, 104):
        await click(rig, number, message_id, "hold")
        await rig.until_recorded("component", id=str(number), pid=sender)
    stopping = next(process for process in processes if process.pid == sender)
    stopping.signal(signal.SIGTERM)
    await stopping.until_logged("taking_no_more")
    for number in range(200, 204):  # its handlers may wait for just these
        await click(rig, number, message_id, "hold")
        await rig.until_recorded("component", id=str(number), pid=sender)
    rig.let_go()
    assert await stopping.wait() == 0
    for number in (*range(100, 104), *range(200, 204)):
        assert [one["pid"] for one in await rig.until_recorded("answered", id=str(number))] == [sender]
    clicks = await click_each(rig, [message_id] * 4, first=300)
    assert sender not in {one["pid"] for one in clicks}
    assert len(rig.recorded("component")) == 12


async def test_a_process_that_comes_later_learns_who_sent_what(rig: Rig) -> None:
    await pool(rig, 1)
    sent = await panels(rig, 3)
    await pool(rig, 2)
    await asyncio.sleep(TOLD_S)
    clicks = await click_each(rig, [*sent] * 6, first=100)
    assert all(one["is_known"] for one in clicks)


async def test_a_forwarded_click_whose_listener_raises_is_a_dead_letter_once(rig: Rig) -> None:
    await pool(rig)
    message_id, sender = next(iter((await panels(rig, 1, "fail")).items()))
    for number in range(100, 106):
        await click(rig, number, message_id, "fail")
    letters = await rig.dead_letters(count=6)
    assert {one["pid"] for one in rig.recorded("component")} == {sender}
    assert len(rig.recorded("component")) == 6
    for letter in letters:
        assert "on_interaction raised ValueError: as told" in str(letter.headers["reason"])
        assert letter.headers["origin"] == f"{rig.queue}.interactions"
        assert letter.headers["attempts"] == 1


async def test_an_owner_that_is_blocked_holds_up_only_its_own_clicks(rig: Rig) -> None:
    """Its clicks are given up when nobody could answer them any more: they would fill the places of all others."""
    blocked_s = 15
    processes = await pool(rig, 2, GW_PREFETCH="2", GW_MAX_INTERACTION_AGE="3", BLOCK_S=str(blocked_s))
    message_id, sender = next(iter((await panels(rig, 1, "block")).items()))
    await click(rig, made_now(), message_id, "block")
    await rig.until_recorded("component", pid=sender, custom_id="block")
    for _ in range(6):
        await click(rig, made_now(), message_id)
    await asyncio.sleep(5)
    asked = made_now()
    commands = [await publish_command(rig, asked + number) for number in range(4)]
    other = next(process for process in processes if process.pid != sender)
    await eventually(lambda: any(rig.recorded("command", id=number, pid=other.pid) for number in commands))
    assert not rig.recorded("unblocked")
    await rig.until_recorded("unblocked", pid=sender)
    assert await other.stop() == 0
    assert len(other.logged("owner_late")) == 1
    assert rig.closing_counts(other)["stale_interactions"] >= 2


def made_now() -> int:
    """An interaction's id, as Discord makes it now."""
    return int((time.time() - DISCORD_EPOCH) * 1000) << 22


async def publish_command(rig: Rig, number: int) -> str:
    payload = interaction_of(number) | {"type": 2, "data": {"id": "5", "name": "modal", "type": 1}}
    del payload["message"]
    await rig.publish("INTERACTION_CREATE", payload)
    return str(number)
