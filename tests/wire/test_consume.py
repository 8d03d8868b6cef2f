"""Deliveries over real RabbitMQ: which come, how they are handled, and how each is settled."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig, interaction, message, typing

if TYPE_CHECKING:
    from tests.tcp_proxy import TcpProxy


async def test_a_dispatch_reaches_its_handler_with_all_that_is_known_of_it(rig: Rig) -> None:
    process = await rig.started()
    before = time.time()
    await rig.say("hello", shard=1)
    entry = (await rig.until_recorded("message"))[0]
    assert (entry["content"], entry["shard"], entry["shard_id"]) == ("hello", 1, 1)
    assert (entry["session"], entry["seq"], entry["token"]) == (f"{rig.session}-1", 1, 5)
    assert (entry["replayed"], entry["redelivered"]) == (False, False)
    assert int(before) <= entry["received_at"] <= time.time()
    assert await process.stop() == 0
    assert await rig.has_settled_all()


async def test_lifetime_events_come_in_order_and_the_own_user_is_known_from_the_first(rig: Rig) -> None:
    process = await rig.started()
    await rig.until_recorded("StartedEvent")
    assert await process.stop() == 0
    lifetime = ["StartingEvent", "StartedEvent", "StoppingEvent", "StoppedEvent"]
    entries = [rig.recorded(name)[0] for name in lifetime]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert all(entry["me"] for entry in entries)
    assert entries[1]["shards"] == consume_rig.SHARD_COUNT


async def test_the_group_is_bound_to_just_what_somebody_listens_to(rig: Rig) -> None:
    process = await rig.started()
    assert process.logged("consuming")[0]["types"] == ["INTERACTION_CREATE", "MESSAGE_CREATE"]
    assert await rig.is_wanted("MESSAGE_CREATE", message("wanted"))
    assert not await rig.is_wanted("TYPING_START", typing(1))


async def test_a_listener_that_comes_later_is_bound_to_its_type(rig: Rig) -> None:
    await rig.started()
    await rig.say("subscribe")

    await eventually(lambda: rig.is_wanted("TYPING_START", typing(7)))
    await rig.until_recorded("typing", channel="7")


async def test_a_listener_that_goes_takes_nothing_from_the_other_processes(rig: Rig) -> None:
    pids = {(await rig.started()).pid, (await rig.started()).pid}

    async def have_both_subscribed() -> bool:
        await rig.say("subscribe")
        return {entry["pid"] for entry in rig.recorded("end", content="subscribe")} == pids

    await eventually(have_both_subscribed)
    await eventually(lambda: rig.is_wanted("TYPING_START", typing(2)))  # it is bound behind the handler's back
    await rig.say("unsubscribe")
    (gone,) = {entry["pid"] for entry in await rig.until_recorded("end", content="unsubscribe")}

    heard = {"pid": (pids - {gone}).pop(), "channel": "1"}

    async def is_heard_often() -> bool:
        assert await rig.is_wanted("TYPING_START", typing(1))
        return len(rig.recorded("typing", **heard)) >= 10

    await eventually(is_heard_often)


async def test_a_bot_without_a_listener_is_told(rig: Rig) -> None:
    deaf = await rig.started(GW_ENTRYPOINT="consume_bots:deaf")
    assert len(deaf.logged("no_listeners")) == 1
    assert not (await rig.started()).logged("no_listeners")


async def test_what_an_earlier_release_listened_to_is_told(rig: Rig) -> None:
    former = await rig.started()
    await rig.say("subscribe")

    await eventually(lambda: rig.is_wanted("TYPING_START", typing(7)))
    assert await former.stop() == 0
    process = await rig.started()
    assert await rig.is_wanted("TYPING_START", typing(7))
    await process.until_logged("unwanted_type")


async def test_interactions_have_a_lane_of_their_own(rig: Rig) -> None:
    await rig.started("--prefetch", "2")
    for _ in range(5):
        await rig.say("hold")
    await rig.until_recorded("message", count=2)
    await rig.publish("INTERACTION_CREATE", interaction(44))
    await rig.until_recorded("interaction", id="44")
    assert len(rig.recorded("message")) == 2
    rig.let_go()
    await rig.until_recorded("end", count=5)


async def test_a_queue_collects_while_its_consumers_are_away(rig: Rig) -> None:
    assert await (await rig.started()).stop() == 0
    for number in range(5):
        await rig.say(f"m{number}")
    await rig.started()
    entries = await rig.until_recorded("message", count=5)
    assert [entry["content"] for entry in entries] == [f"m{number}" for number in range(5)]


async def test_handlers_of_a_shard_start_in_the_order_of_delivery(rig: Rig) -> None:
    await rig.started()
    for number in range(200):
        await rig.say(f"m{number}")
    entries = await rig.until_recorded("message", count=200)
    assert [entry["seq"] for entry in entries] == list(range(1, 201))


async def test_processes_of_a_group_share_and_groups_do_not(rig: Rig) -> None:
    other_group = f"{rig.group}-other"
    await rig.started()
    await rig.started()
    other = await rig.started("--group", other_group)
    for number in range(100):
        await rig.say(f"m{number}")
    entries = await rig.until_recorded("message", count=200)
    of_others = [entry["seq"] for entry in entries if entry["pid"] == other.pid]
    of_group = [entry["seq"] for entry in entries if entry["pid"] != other.pid]
    assert sorted(of_others) == sorted(of_group) == list(range(1, 101))
    for queue in (other_group, f"{other_group}.interactions"):
        await rig.observer.queue_delete(rig.names.group(queue))


async def test_a_dispatch_is_acknowledged_only_after_its_handler_ended(rig: Rig) -> None:
    first = await rig.started()
    await rig.say("hold")
    await rig.until_recorded("message")
    first.signal(signal.SIGKILL)
    await first.wait()
    rig.let_go()
    await rig.started()
    entries = await rig.until_recorded("message", count=2)
    assert [entry["redelivered"] for entry in entries] == [False, True]
    assert entries[0]["seq"] == entries[1]["seq"]
    await rig.until_recorded("end")


async def test_a_handler_that_raises_is_reported_and_its_dispatch_settled(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("fail")
    await rig.until_recorded("exception", error="ValueError('as told')")
    assert await process.stop() == 0
    assert await rig.has_settled_all()


@pytest.mark.parametrize(
    ("body", "changes", "reason"),
    [
        (b"not json", {}, "not JSON"),
        (b'{"t":"MESSAGE_CREATE","op":0,"s":1,"d":{"id":"1"}}', {}, "KeyError"),
        (b'{"t":"MESSAGE_CREATE","op":0,"s":1,"d":[]}', {}, "not an object"),
        (b'{"t":"READY","op":0,"s":1,"d":{}}', {}, "message's type"),
        (b'{"t":"MESSAGE_CREATE","op":0,"s":1,"d":{}}', {"message_id": "x"}, "message_id"),
        (b'{"t":"MESSAGE_CREATE","op":0,"s":1,"d":{}}', {"headers": {}}, "header shard"),
    ],
)
async def test_what_cannot_be_read_becomes_a_dead_letter_and_the_rest_goes_on(
    rig: Rig, body: bytes, changes: dict[str, Any], reason: str
) -> None:
    process = await rig.started()
    await rig.publish_raw("MESSAGE_CREATE", body, **changes)
    await rig.say("after")
    await rig.until_recorded("message", content="after")
    letter = (await rig.dead_letters())[0]
    assert letter.body == body
    assert reason in str(letter.headers["reason"])
    assert (letter.headers["origin"], letter.headers["attempts"]) == (rig.queue, 1)
    assert letter.type == "MESSAGE_CREATE"
    assert await process.stop() == 0
    assert await rig.has_settled_all()


async def test_a_kind_of_entity_that_is_newer_than_hikari_becomes_a_dead_letter(rig: Rig) -> None:
    process = await rig.started()
    await rig.publish("INTERACTION_CREATE", {**interaction(1), "type": 99})
    await rig.publish("INTERACTION_CREATE", interaction(2))
    await rig.until_recorded("interaction", id="2")
    letter = (await rig.dead_letters())[0]
    assert "hikari cannot read this INTERACTION_CREATE: UnrecognisedEntityError" in str(letter.headers["reason"])
    assert await process.stop() == 0
    assert await rig.has_settled_all()


async def test_an_unknown_event_type_is_dropped_and_said_once(rig: Rig) -> None:
    process = await rig.started()
    queue = await rig.observer.get_queue(rig.queue)
    await rig.observer.declare_exchange(rig.names.event("BRAND_NEW"), type="topic", durable=True)
    await queue.bind(rig.names.event("BRAND_NEW"), "#")
    for _ in range(3):
        await rig.publish("BRAND_NEW", {"id": "1"})
    await rig.say("after")
    await rig.until_recorded("message", content="after")
    assert [entry["type"] for entry in process.logged("event_dropped")] == ["BRAND_NEW"]
    assert await process.stop() == 0
    assert await rig.has_settled_all()


async def test_a_dispatch_that_kills_its_consumers_becomes_a_dead_letter(rig: Rig) -> None:
    for _ in range(2):
        process = await rig.started()
        if not rig.recorded("message"):
            await rig.say("crash")
        assert await process.wait() == 9
    queue = await rig.observer.get_queue(rig.queue)

    async def is_back() -> bool:
        return await rig.ready_count(rig.queue) == 1

    await eventually(is_back)
    for _ in range(19):  # the same as 19 more crashes, faster
        delivery = await queue.get(timeout=10, fail=False)
        if delivery is not None:
            await delivery.nack(requeue=True)
    letter = (await rig.dead_letters())[0]
    assert b"crash" in letter.body
    assert await rig.ready_count(rig.queue) == 0


async def test_after_the_broker_was_lost_everything_is_there_again(rig: Rig, proxy: TcpProxy) -> None:
    process = await rig.started(AMQP_URL=proxy.url(rig.fleet.broker_url))
    await rig.say("before")
    await rig.until_recorded("end", content="before")
    await rig.say("hold")
    await rig.until_recorded("message", content="hold")
    proxy.refuse()
    await rig.say("meanwhile")
    proxy.accept()
    await rig.until_recorded("message", content="meanwhile")
    rig.let_go()
    await rig.until_recorded("end", content="hold")
    await rig.say("subscribe")

    async def is_wanted() -> bool:
        return await rig.is_wanted("TYPING_START", typing(8))

    await eventually(is_wanted)
    await process.until_logged("broker_back", count=2)  # both links, so that the cut is a loss of its own
    proxy.cut()
    await process.until_logged("broker_back", count=4)
    assert await rig.is_wanted("TYPING_START", typing(9))
    await rig.until_recorded("typing", channel="9")
    assert await process.stop() == 0
    assert len(rig.recorded("message", content="hold")) == 1  # the copy that came again waited for the first to end
    assert rig.closing_counts(process)["duplicates_dropped"] >= 1
    assert not process.logged("channel_lost")  # nothing was settled twice
    assert await rig.has_settled_all()


async def test_a_queue_that_is_deleted_behind_its_back_is_declared_again(rig: Rig) -> None:
    process = await rig.started()
    await rig.observer.queue_delete(rig.queue)
    await process.until_logged("broker_back")
    await rig.say("hello")
    await rig.until_recorded("message", content="hello")
