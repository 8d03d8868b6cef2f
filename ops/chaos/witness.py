"""The witness of a chaos run: a consumer group of one process that writes down what comes, in the order of the queue.

It is no bot, so that it keeps up with every rate: what it sees is the wire, not hikari. The same lines as
`examples/recording_bot.py`. Environment: AMQP_URL, GW_NAMESPACE, WITNESS_GROUP, RECORD_DIR.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.amqp.broker import Broker
from eventbus.amqp.group_queues import GroupQueues
from eventbus.amqp.link import DeliveryLink
from eventbus.logs import configure
from eventbus.names import Names
from eventbus.process import run_main

if TYPE_CHECKING:
    from eventbus.amqp.deliveries import Delivery

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 60.0
PREFETCH_COUNT = 500
_SEQ = re.compile(rb'"s":(\d+)')

# What gw-sim sends; a type that is missing here shows as lost.
EVENT_TYPES = frozenset({
    "READY", "RESUMED", "GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE", "GUILD_EMOJIS_UPDATE", "CHANNEL_CREATE",
    "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_CREATE", "GUILD_MEMBER_ADD", "GUILD_MEMBER_UPDATE",
    "GUILD_MEMBER_REMOVE", "GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE", "GUILD_ROLE_DELETE", "GUILD_BAN_ADD",
    "GUILD_BAN_REMOVE", "INVITE_CREATE", "INVITE_DELETE", "MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE",
    "MESSAGE_DELETE_BULK", "MESSAGE_REACTION_ADD", "MESSAGE_REACTION_REMOVE", "INTERACTION_CREATE",
    "PRESENCE_UPDATE", "TYPING_START", "VOICE_STATE_UPDATE",
})  # fmt: skip


class Witness:
    """Writes each delivery down at once and acknowledges it afterwards: a lost connection doubles lines, loses none."""

    def __init__(self, directory: Path) -> None:
        path = directory / f"{os.getpid()}.record"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def take(self, _: str | None, delivery: Delivery) -> None:
        """Write a delivery down, and acknowledge it."""
        os.write(self._file, f"{line_of(delivery, time.time())}\n".encode())
        delivery.ack()


def line_of(delivery: Delivery, at: float) -> str:
    """`message_id at shard fencing_token flags`, as the recording bot writes it with RECORD_DETAILS.

    And the flag `w` if the body is not the dispatch that the id names.
    """
    headers = delivery.headers
    named = _SEQ.search(delivery.body)
    is_misnamed = named is None or not str(delivery.message_id).endswith(f":{named[1].decode()}")
    flags = "p" * bool(headers["replayed"]) + "d" * delivery.is_redelivered + "w" * is_misnamed or "-"
    return f"{delivery.message_id} {at:.6f} {headers['shard']} {headers['fencing_token']} {flags}"


async def _main(stop: asyncio.Event) -> None:
    environment = os.environ
    witness = Witness(Path(environment["RECORD_DIR"]))
    link = DeliveryLink(Broker(environment["AMQP_URL"]), name="chaos witness")
    queues = GroupQueues(
        link,
        Names(environment["GW_NAMESPACE"]),
        environment["WITNESS_GROUP"],
        prefetch_count=PREFETCH_COUNT,
        wanted=lambda: EVENT_TYPES,
        take=witness.take,
    )
    await link.open(timeout_s=CONNECT_TIMEOUT_S)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(link.keep(), name="link")
        await stop.wait()
        await queues.stop()
        keeping.cancel()
    await link.close()
    _log.info("closed", extra={"action": "closed"})


if __name__ == "__main__":
    configure("INFO", "json")
    run_main("witness", _main)
