"""How long a coordinator that starts reads a full session stream: `python -m benchmarks.stream_start [RECORDS]`.

RECORDS (25,000) of 8 checkpoints each are more than the stream keeps. Each of three readers begins at its start. Last
line: one JSON object: what was read, seconds and CPU of the reader for it. AMQP_URL names a broker that runs already.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.running_broker import open_broker
from eventbus import messages
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.publish_frames import PublishTemplate
from eventbus.amqp.session_stream import STREAM_ARGUMENTS, SessionStream
from eventbus.names import Names

if TYPE_CHECKING:
    from eventbus.messages import SessionRecord

RECORD_COUNT = 25_000
SHARDS = 8
ROUNDS = 3
WINDOW = 500
POLL_S = 0.01


async def _fill(broker: Broker, names: Names, count: int) -> None:
    confirmed = 0

    def on_confirm(channel: int, tag: int, multiple: bool, ok: bool) -> None:  # noqa: ARG001 - of PublishConnection
        nonlocal confirmed
        if not ok:
            raise SystemExit("RabbitMQ refused a record of the stream")
        confirmed = max(confirmed, tag)

    connection = await PublishConnection.open(broker, name="fill", on_confirm=on_confirm, on_writable=lambda: None)
    await connection.topology.declare_stream(names.sessions, STREAM_ARGUMENTS)
    template = PublishTemplate(
        exchange="", routing_key=names.sessions, event_type="checkpoints", headers={}, frame_max=connection.frame_max
    )
    for number in range(count):
        body = messages.encode(_record(number))
        connection.publish([template.render(body, str(number).encode(), replayed=False, received_at=time.time())])
        while number - confirmed > WINDOW:  # noqa: ASYNC110 - confirms come in between
            await asyncio.sleep(POLL_S)
    while confirmed < count:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    await connection.close()


def _record(number: int) -> messages.Checkpoints:
    checkpoints = tuple(
        messages.Checkpoint(
            shard=shard,
            fencing_token=1_790_000_000_000 + shard,
            session=messages.Session(
                session_id=f"{shard:032x}",
                resume_url="wss://gateway-us-east1-b.discord.gg",
                seq=number * 10,
                shard_count=SHARDS,
            ),
        )
        for shard in range(SHARDS)
    )
    return messages.Checkpoints(worker_id="worker-1", checkpoints=checkpoints)


async def _read(broker: Broker, names: Names) -> tuple[int, float, float]:
    link, count = Link(broker, name="reader"), 0

    def on_record(_: SessionRecord) -> None:
        nonlocal count
        count += 1

    stream = SessionStream(link, names)
    stream.follow(on_record)
    began_at, began_cpu = time.monotonic(), time.process_time()
    await link.open(timeout_s=60)
    while not stream.is_live:  # noqa: ASYNC110 - as the coordinator sees it
        await asyncio.sleep(POLL_S)
    figures = count, time.monotonic() - began_at, time.process_time() - began_cpu
    await link.close()
    return figures


async def _main(record_count: int) -> None:
    async with open_broker() as running:
        broker, names = Broker(running.url), Names(f"bench-{secrets.token_hex(4)}")
        await _fill(broker, names, record_count)
        runs = [await _read(broker, names) for _ in range(ROUNDS)]
    print(
        json.dumps(
            {
                "records_read": runs[-1][0],
                "seconds": round(median(seconds for _, seconds, _ in runs), 2),
                "reader_cpu_s": round(median(cpu for _, _, cpu in runs), 2),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else RECORD_COUNT))
