"""A dispatch that comes twice: from the broker, from a former holder, from an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_workers.publisher import DispatchPublisher
from tests.waiting import eventually
from tests.wire.consume_rig import Rig, plain_headers

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names

TYPE = "MESSAGE_CREATE"


async def test_a_second_copy_is_acknowledged_and_not_handled_again(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("hello", message_id="s:7")
    await rig.until_recorded("end", content="hello")
    for _ in range(3):
        await rig.say("hello", message_id="s:7", headers=plain_headers(replayed=True))
    await rig.say("after")
    await rig.until_recorded("end", content="after")
    assert await process.stop() == 0
    assert len(rig.recorded("message", content="hello")) == 1
    counts = rig.closing_counts(process)
    assert (counts["duplicates_dropped"], counts["handled"]) == (3, 2)
    assert await rig.has_settled_all()


async def test_a_second_copy_waits_until_the_first_was_handled(rig: Rig) -> None:
    process = await rig.started("--prefetch", "2")
    await rig.say("hold", message_id="s:7")
    await rig.until_recorded("message", content="hold")
    await rig.say("hold", message_id="s:7")
    await rig.say("third")
    await eventually(lambda: _has_ready(rig, 1))  # both places are taken: nothing was acknowledged
    assert len(rig.recorded("message")) == 1
    rig.let_go()
    await rig.until_recorded("end", content="third")
    assert await process.stop() == 0
    assert len(rig.recorded("message", content="hold")) == 1
    assert rig.closing_counts(process)["duplicates_dropped"] == 1
    assert await rig.has_settled_all()


async def _has_ready(rig: Rig, count: int) -> bool:
    return await rig.ready_count(rig.queue) == count


async def test_a_copy_of_what_failed_is_dropped_and_what_an_operator_sends_again_is_handled(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("fail", message_id="s:7")
    await rig.until_recorded("exception")
    await rig.dead_letters()
    await rig.say("fail", message_id="s:7")
    await rig.say("fail", message_id="s:7", headers=plain_headers(retried=1))
    await rig.until_recorded("exception", count=2)
    await rig.dead_letters(count=1)
    await rig.say("hello", message_id="s:8")
    await rig.until_recorded("end", content="hello")
    await rig.say("hello", message_id="s:8", headers=plain_headers(retried=1))
    await rig.until_recorded("end", content="hello", count=2)
    assert await process.stop() == 0
    assert len(rig.recorded("exception")) == 2
    assert rig.closing_counts(process)["duplicates_dropped"] == 1
    assert await rig.has_settled_all()


async def test_a_copy_of_what_is_tried_again_is_dropped_and_the_attempts_are_not(rig: Rig) -> None:
    process = await rig.started("--on-error", "retry", "--max-attempts", "2")
    await rig.say("fail", message_id="s:7")
    await rig.until_recorded("exception")
    await rig.say("fail", message_id="s:7")
    await rig.dead_letters()
    assert await process.stop() == 0
    assert len(rig.recorded("exception")) == 2
    assert rig.closing_counts(process)["duplicates_dropped"] == 1
    assert await rig.has_settled_all()


async def test_a_former_holders_late_copy_is_dropped_only_if_its_successor_published_it_again(rig: Rig) -> None:
    process = await rig.started()
    successor = plain_headers(fencing_token=6, resumed_from=10)
    await rig.say("new 12", message_id="s:12", headers=successor)
    await rig.until_recorded("end", content="new 12")
    for seq in (9, 10, 11, 13):
        await rig.say(f"old {seq}", message_id=f"s:{seq}", headers=plain_headers(fencing_token=5, resumed_from=0))
    await rig.say("other", message_id="t:11", headers=plain_headers(fencing_token=5, resumed_from=0))
    await rig.say("again", message_id="s:11", headers=plain_headers(fencing_token=5, resumed_from=0, retried=1))
    for content in ("old 13", "other", "again"):
        await rig.until_recorded("end", content=content)
    assert await process.stop() == 0
    assert sorted(entry["content"] for entry in rig.recorded("message")) == [
        "again", "new 12", "old 10", "old 13", "old 9", "other",
    ]  # fmt: skip
    assert rig.closing_counts(process)["former_holder_dropped"] == 1
    assert await rig.has_settled_all()


async def test_a_worker_says_from_where_its_lease_resumed_the_session(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    publisher = DispatchPublisher(broker, names, worker_id="w", max_count=10, max_bytes=100_000)
    await publisher.open(timeout_s=10)
    queue = await observer.declare_queue(f"{names.namespace}.test", exclusive=True)
    outlet = publisher.outlet(shard=0, shard_count=1, fencing_token=7, seq=40)
    for session, seq in (("resumed", 41), ("identified", 1)):
        if session == "identified":
            outlet.new_session()
        await outlet.prepare(TYPE)
        await queue.bind(names.event(TYPE), "#")
        outlet.publish(TYPE, b"{}", seq=seq, session_id=session, replayed=False, received_at=1.0)
        await publisher.drained(outlet)
    found = [await queue.get(timeout=10, no_ack=True) for _ in range(2)]
    assert [(one.message_id, one.headers["resumed_from"]) for one in found] == [("resumed:41", 40), ("identified:1", 0)]
    await publisher.close()
