"""A gateway worker's life: it enters, runs a shard for each of its leases, and hands all over at the end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.amqp.bound_queue import BoundQueue
from eventbus.amqp.control_channel import ControlChannel
from eventbus.amqp.rpc import RpcServer
from eventbus.errors import BrokerLostError
from eventbus.messages import ErrorCode, Leases
from eventbus.process import end_tasks, unless_stopped
from eventbus.shard_ranges import format_shards
from gateway_workers.checkpoints import CheckpointWriter
from gateway_workers.hand_over import HandOvers
from gateway_workers.held_shards import HeldShards
from gateway_workers.lease_keeper import LeaseKeeper
from gateway_workers.presences import WorkerPresences
from gateway_workers.status import StatusReporter

if TYPE_CHECKING:
    from eventbus.amqp.link import Link
    from eventbus.coordinator_client import CoordinatorClient
    from eventbus.names import Names
    from gateway_workers.publisher import DispatchPublisher
    from gateway_workers.settings import WorkerSettings
    from gateway_workers.shard import ShardTools

_log = logging.getLogger(__name__)

INBOX_CHECK_S = 5.0
MESSAGES_AT_ONCE = 16
"""A command that waits for Discord's socket or for the presence stream holds no other up."""
DRAIN_TIMEOUT_S = 10.0
"""All hand-overs at the end, together: a worker without a broker must end too."""


class Worker:
    """`run()` from registration to the hand-over of the last shard."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        worker_id: str,
        names: Names,
        coordinator: CoordinatorClient,
        publisher: DispatchPublisher,
        tools: ShardTools,
    ) -> None:
        self._settings = settings
        self._names = names
        self._worker_id = worker_id
        self._tools = tools
        self._publisher = publisher
        self._group = asyncio.TaskGroup()
        self._inbox = BoundQueue(names.inbox(worker_id), {names.control: "topic", names.shard: "direct"})
        self._shards = HeldShards(publisher, self._inbox, tools, self._group)
        self._checkpoints = CheckpointWriter(publisher, worker_id=worker_id, current=self._shards.checkpoints)
        self._leases = LeaseKeeper(settings, coordinator, self._shards, tools.gateways, worker_id=worker_id)
        self._hand_overs = HandOvers(
            coordinator,
            self._shards,
            self._checkpoints,
            self._group,
            worker_id=worker_id,
            on_unreleased=self._leases.register_again,
        )

    async def run(self, stop: asyncio.Event, link: Link) -> None:
        """Work until `stop` is set, then hand every shard over.

        Raises ConfigurationError for a range or a bot token that is refused, RpcTimeoutError without a coordinator.
        """
        await self._inbox.bind(self._names.control, messages.ROLL_CALL_KEY)
        inbox = RpcServer(link, declare=self._inbox.declare, handle=self._on_message)
        presences = self._presences = WorkerPresences(link, self._names, self._tools.presences, self._shards)
        status = StatusReporter(ControlChannel(link, self._names), self._shards, worker_id=self._worker_id)
        first = await unless_stopped(stop, self._enter(link))
        if first is None:
            return
        async with self._group as group:
            tasks = [
                group.create_task(link.keep(), name="link"),
                group.create_task(self._publisher.keep(self._leases.revalidate), name="publisher"),
                *(group.create_task(inbox.serve(), name=f"inbox {number}") for number in range(MESSAGES_AT_ONCE)),
                group.create_task(self._keep_inbox(link), name="inbox check"),
                group.create_task(self._checkpoints.keep(), name="checkpoints"),
                group.create_task(presences.keep(), name="presences"),
                group.create_task(presences.keep_copies(), name="copies of presences"),
                group.create_task(status.keep(), name="status"),
            ]
            await self._leases.take(first, self._hand_overs)
            tasks.append(group.create_task(self._leases.keep(self._hand_overs), name="leases"))
            await stop.wait()
            await self._drain()
            await status.tell()
            await end_tasks(tasks)

    async def _enter(self, link: Link) -> Leases:
        await self._publisher.open(timeout_s=self._settings.connect_timeout_s)
        await link.open(timeout_s=self._settings.connect_timeout_s)
        await self._presences.known()
        return await self._leases.register()

    async def _drain(self) -> None:
        shards = format_shards(shard.lease.shard for shard in self._shards)
        _log.info("handing over", extra={"action": "hand_over", "shards": shards})
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._leases.leave()
                await self._hand_overs.hand_over_all()
        except TimeoutError:
            await self._give_up()

    async def _give_up(self) -> None:
        await self._hand_overs.give_up()
        await asyncio.gather(*(shard.abandon() for shard in self._shards))
        shards = format_shards(shard.lease.shard for shard in self._shards)
        unconfirmed, _ = self._publisher.backlog
        fields = {"action": "left_behind", "shards": shards, "unconfirmed": unconfirmed}
        _log.warning("not handed over: the next holder resumes behind what was confirmed last", extra=fields)

    # Inbox

    async def _keep_inbox(self, link: Link) -> None:
        """Put back what somebody deleted, from time to time: without it no command comes, and nobody says so."""
        while True:
            await asyncio.sleep(INBOX_CHECK_S)
            try:
                if not await self._inbox.mend(link.connection):
                    await link.restart("the inbox was deleted")
                elif self._presences.is_deleted:
                    await link.restart("the presence stream was deleted")
            except BrokerLostError as error:
                _log.debug("no check of the inbox", extra={"action": "inbox_check", "reason": str(error)})

    async def _on_message(self, body: bytes) -> messages.Message:
        message = messages.decode(messages.inbox_message, body)
        if isinstance(message, messages.GatewayCommand):
            return await self._on_command(message)
        if isinstance(message, messages.ApplyPresence):
            return await self._presences.apply(message)
        if isinstance(message, messages.RollCall):
            self._leases.register_again()
        else:
            self._leases.renew_now()
        return messages.Done()

    async def _on_command(self, command: messages.GatewayCommand) -> messages.Message:
        shard = self._shards.get(command.shard)
        if shard is None:
            return messages.Failure(
                code=ErrorCode.NO_HOLDER, message=f"shard {command.shard} is not held here any more: try again"
            )
        return await shard.send_command(command.op, command.d)
