"""Checkpoints are written while others are on their way, and do not pile up without a broker."""

from __future__ import annotations

import asyncio
import itertools

from eventbus.amqp.broker import Broker
from eventbus.messages import Checkpoint, Session
from eventbus.names import Names
from gateway_workers.checkpoints import INTERVAL_S, MAX_UNCONFIRMED, CheckpointWriter
from gateway_workers.publisher import DispatchPublisher
from tests.waiting import eventually


async def test_without_a_broker_a_few_records_wait_and_no_more() -> None:
    publisher = DispatchPublisher(
        Broker("amqp://u:p@127.0.0.1:9/"), Names("ns"), worker_id="w", max_count=1000, max_bytes=1 << 20
    )
    seqs = itertools.count(1)

    def changed() -> tuple[Checkpoint, ...]:
        session = Session(session_id="s", resume_url="wss://x", seq=next(seqs), shard_count=1)
        return (Checkpoint(shard=0, fencing_token=1, session=session),)

    writing = asyncio.create_task(CheckpointWriter(publisher, worker_id="w", current=changed).keep())
    await eventually(lambda: publisher.backlog[0] >= MAX_UNCONFIRMED)
    await asyncio.sleep(10 * INTERVAL_S)  # time enough for more
    writing.cancel()

    assert publisher.backlog[0] == MAX_UNCONFIRMED
    assert next(seqs) == MAX_UNCONFIRMED + 1


async def test_a_change_is_written_with_the_next_look_which_is_at_most_100_ms_away() -> None:
    assert INTERVAL_S <= 0.1
    publisher = DispatchPublisher(
        Broker("amqp://u:p@127.0.0.1:9/"), Names("ns"), worker_id="w", max_count=1000, max_bytes=1 << 20
    )
    session = Session(session_id="s", resume_url="wss://x", seq=1, shard_count=1)
    changes = [(), (), (Checkpoint(shard=0, fencing_token=1, session=session),)]
    look_count = 0

    def changed() -> tuple[Checkpoint, ...]:
        nonlocal look_count
        look_count += 1
        assert publisher.backlog[0] == (0 if changes else 1)
        return changes.pop(0) if changes else ()

    writing = asyncio.create_task(CheckpointWriter(publisher, worker_id="w", current=changed).keep())
    await eventually(lambda: look_count >= 5 or writing.done())
    assert not writing.done()
    assert publisher.backlog[0] == 1
    writing.cancel()
