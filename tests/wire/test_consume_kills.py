"""A dispatch that ends every process that handles it, among many that do no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.wire.consume_rig import Rig

if TYPE_CHECKING:
    pass

MAX_STARTS = 12


async def test_the_killer_becomes_a_dead_letter_and_the_innocent_are_handled(rig: Rig) -> None:
    assert await (await rig.started()).stop() == 0
    innocents = [f"nap {number}" for number in range(40)]
    for content in (*innocents[:20], "crash", *innocents[20:]):
        await rig.say(content)
    exit_code = 9
    for _ in range(MAX_STARTS):
        process = rig.start()
        await process.until_logged_or_ended("dead_letter")
        if process.process.poll() is None:
            break
        exit_code = await process.wait()
        assert exit_code == 9
    letter = (await rig.dead_letters())[0]
    assert b'"crash"' in letter.body
    assert letter.headers["reason"] == "delivered 5 times and never settled: it seems to end whoever handles it"
    for content in innocents:
        await rig.until_recorded("end", content=content)
    assert await process.stop() == 0
    assert len(rig.recorded("message", content="crash")) == 5
    assert await rig.ready_count(rig.names.dead(rig.group)) == 0
    assert await rig.has_settled_all()


async def test_what_was_delivered_too_often_reaches_no_handler(rig: Rig) -> None:
    assert await (await rig.started()).stop() == 0
    await rig.say("hello")
    queue = await rig.observer.get_queue(rig.queue)
    for _ in range(2):
        delivery = await queue.get(timeout=10)
        assert delivery is not None
        await delivery.nack(requeue=True)
    process = await rig.started("--max-deliveries", "2")
    letter = (await rig.dead_letters())[0]
    assert "delivered 2 times" in str(letter.headers["reason"])
    assert letter.headers["attempts"] == 3
    assert await process.stop() == 0
    assert rig.recorded("message") == []
    assert await rig.has_settled_all()
