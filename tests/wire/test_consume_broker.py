"""What consumers do when something of theirs on the broker goes away, or an alarm stops whoever publishes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus import messages
from ops.broker_node import BrokerNode
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig, message

if TYPE_CHECKING:
    from pathlib import Path


LONGER_THAN_A_PUBLISH_S = 6.0
DEFAULT_WATERMARK = "0.4"
CTL_TIMEOUT_S = 90.0


async def restore(rig: Rig, event_type: str) -> None:
    """What a worker does when it finds the exchange of a type gone."""
    await rig.observer.declare_exchange(rig.names.event(event_type), type="topic", durable=True)
    control = await rig.observer.declare_exchange(rig.names.control, type="topic", durable=True)
    event = messages.ExchangeRestored(event_type=event_type)
    await control.publish(aio_pika.Message(messages.encode(event)), event.kind, timeout=10)


async def test_an_event_exchange_that_was_gone_is_bound_again_as_soon_as_a_worker_tells(rig: Rig) -> None:
    process = await rig.started()
    await rig.observer.exchange_delete(rig.names.event("MESSAGE_CREATE"))
    assert not await rig.is_wanted("MESSAGE_CREATE", message("lost"))
    await restore(rig, "MESSAGE_CREATE")

    async def is_wanted() -> bool:
        return await rig.is_wanted("MESSAGE_CREATE", message("hello"))

    async with asyncio.timeout(30):  # less than the interval of binding again unasked
        await eventually(is_wanted)
    await rig.until_recorded("end", content="hello")
    assert await process.stop() == 0
    assert process.logged("broker_lost") == []


async def test_what_nobody_understands_on_the_control_exchange_is_refused(rig: Rig) -> None:
    process = await rig.started()
    control = await rig.observer.declare_exchange(rig.names.control, type="topic", durable=True)
    await control.publish(aio_pika.Message(b"what?"), "exchange.restored", timeout=10)
    await process.until_logged("bad_control_event")
    await rig.say("hello")
    await rig.until_recorded("end", content="hello")


async def test_the_queues_of_dead_letters_and_delays_are_declared_again(rig: Rig) -> None:
    process = await rig.started("--on-error", "retry", "--max-attempts", "2")
    await rig.say("fail")
    await rig.dead_letters()
    await rig.observer.queue_delete(rig.names.dead(rig.group))
    await rig.observer.queue_delete(rig.names.delay(1))
    await rig.say("fail")
    await process.until_logged("dead_letter", count=2)
    await rig.dead_letters()
    await rig.observer.exchange_delete(rig.names.delay(1))
    await rig.say("fail")
    await process.until_logged("dead_letter", count=3)
    await rig.dead_letters()
    await rig.observer.queue_delete(f"{rig.queue}.quarantine")
    await process.until_logged("broker_back")
    await rig.say("after")
    await rig.until_recorded("end", content="after")
    assert await process.stop() == 0
    assert await rig.has_settled_all()


@pytest.mark.long
async def test_under_an_alarm_deliveries_are_settled_and_each_dead_letter_is_stored_once(tmp_path: Path) -> None:
    async with BrokerNode(tmp_path / "broker") as node, await aio_pika.connect(node.url) as connection:
        observer = await connection.channel(publisher_confirms=True, on_return_raises=True)
        with consume_rig.fleet(node.url) as fleet:
            async with consume_rig.rig(fleet, observer, tmp_path) as rig:
                await _outlive_an_alarm(rig, node)


async def _outlive_an_alarm(rig: Rig, node: BrokerNode) -> None:
    process = await rig.started("--prefetch", "4")
    for content in ("hold", "hold", "hold", "hold", "after", "fail", "fail"):
        await rig.say(content)
    await rig.until_recorded("message", count=4)
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB", timeout_s=CTL_TIMEOUT_S)
    rig.let_go()
    await rig.until_recorded("end", content="after")  # places came free: acknowledgements were read
    await rig.until_recorded("exception", count=2)
    await asyncio.sleep(LONGER_THAN_A_PUBLISH_S)
    assert process.logged("dead_letter") == []
    await _cut_deliveries(node)  # what failed comes again, while its dead letter still waits for its confirm
    await process.until_logged("broker_back")
    await node.ctl("set_vm_memory_high_watermark", DEFAULT_WATERMARK, timeout_s=CTL_TIMEOUT_S)
    await process.until_logged("dead_letter", count=2)
    assert await process.stop() == 0
    assert rig.closing_counts(process)["dead_letters"] == 2
    assert len(rig.recorded("exception")) == 2
    assert await rig.ready_count(rig.names.dead(rig.group)) == 2
    assert await rig.has_settled_all()


async def _cut_deliveries(node: BrokerNode) -> None:
    """End the consumer's connection for deliveries alone."""
    connections = (await node.ctl("list_connections", "pid", "client_properties")).splitlines()
    (pid,) = [line.split()[0] for line in connections if " deliveries" in line]
    await node.ctl("close_connection", pid, "a test")
