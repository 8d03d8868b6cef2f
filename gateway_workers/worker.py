"""A gateway worker: keeps its leases with the coordinator and runs a shard for each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.amqp.bound_queue import BoundQueue
from eventbus.amqp.rpc import RpcServer
from eventbus.errors import (
    BrokerLostError,
    ConfigurationError,
    RelayError,
    RemoteError,
    RpcTimeoutError,
    UnroutableError,
)
from eventbus.messages import ErrorCode, HeldLease, Lease, Leases
from eventbus.process import unless_stopped
from eventbus.shard_ranges import format_shards
from gateway_workers.checkpoints import CheckpointWriter
from gateway_workers.shard import Shard

if TYPE_CHECKING:
    from eventbus.amqp.link import Link
    from eventbus.coordinator_client import CoordinatorClient
    from eventbus.names import Names
    from gateway_workers.publisher import DispatchPublisher
    from gateway_workers.settings import WorkerSettings
    from gateway_workers.shard import ShardTools

_log = logging.getLogger(__name__)

RELEASE_TIMEOUT_S = 10.0
LAST_CHECKPOINT_TIMEOUT_S = 5.0
_NO_ANSWER = (RpcTimeoutError, UnroutableError, BrokerLostError)


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
        self._worker_id = worker_id
        self._names = names
        self._coordinator = coordinator
        self._publisher = publisher
        self._tools = tools
        self._inbox = BoundQueue(names.inbox(worker_id), {names.control: "topic", names.shard: "direct"})
        self._shards: dict[int, Shard] = {}
        self._checkpoints = CheckpointWriter(publisher, worker_id=worker_id, current=self._current_checkpoints)
        self._lease_lock = asyncio.Lock()
        self._renew_now = asyncio.Event()
        self._must_register = True
        self._is_unanswered = False
        self._renew_interval_s = 2.0

    async def run(self, stop: asyncio.Event, link: Link) -> None:
        """Work until `stop` is set, then hand every shard over.

        Raises ConfigurationError for a range or a bot token that is refused, RpcTimeoutError without a coordinator.
        """
        await self._inbox.bind(self._names.control, messages.ROLL_CALL_KEY)
        inbox = RpcServer(link, declare=self._inbox.declare, handle=self._on_message)
        first = await unless_stopped(stop, self._enter(link))
        if first is None:
            return
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(link.keep(), name="link"),
                group.create_task(self._publisher.keep(self._revalidate), name="publisher"),
                group.create_task(inbox.serve(), name="inbox"),
                group.create_task(self._checkpoints.keep(), name="checkpoints"),
            ]
            async with self._lease_lock:
                await self._apply(first, group)
            renewing = group.create_task(self._keep_leases(group), name="leases")
            await stop.wait()
            renewing.cancel()
            await asyncio.wait([renewing])
            await self._drain()
            for task in tasks:
                task.cancel()

    # Leases

    async def _enter(self, link: Link) -> Leases:
        await self._publisher.open(timeout_s=self._settings.connect_timeout_s)
        await link.open(timeout_s=self._settings.connect_timeout_s)
        return await self._register_first()

    async def _register_first(self) -> Leases:
        try:
            reply = await self._coordinator.call_until(
                self._register(), Leases, timeout_s=self._settings.connect_timeout_s
            )
        except RemoteError as error:
            if error.code in (ErrorCode.BAD_REQUEST, ErrorCode.OUT_OF_RANGE):
                raise ConfigurationError(f"--shards (GW_SHARDS): {error}") from error
            raise
        self._must_register = False
        fields = {"action": "registered", "worker": self._worker_id, "shards": self._settings.shards}
        _log.info("registered", extra=fields)
        return reply

    def _register(self, starting: tuple[HeldLease, ...] = ()) -> messages.Register:
        return messages.Register(
            worker_id=self._worker_id,
            shards=self._settings.shards,
            capacity=self._settings.capacity,
            held=self._held(starting),
        )

    def _held(self, starting: tuple[HeldLease, ...]) -> tuple[HeldLease, ...]:
        return tuple(shard.held() for shard in self._shards.values()) + starting

    async def _keep_leases(self, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                async with asyncio.timeout(self._renew_interval_s):
                    await self._renew_now.wait()
            except TimeoutError:
                pass  # time to renew
            self._renew_now.clear()
            async with self._lease_lock:
                reply = await self._ask_leases()
                if reply is not None:
                    await self._apply(reply, group)

    async def _ask_leases(self, starting: tuple[HeldLease, ...] = ()) -> Leases | None:
        """What to hold, or None while no coordinator answers: then everything goes on as it is."""
        try:
            reply = await self._ask_leases_once(starting)
        except (*_NO_ANSWER, RemoteError) as error:
            if not self._is_unanswered:
                _log.warning(
                    "no coordinator answers: shards go on as they are",
                    extra={"action": "coordinator_silent", "reason": str(error)},
                )
            self._is_unanswered = True
            return None
        if self._is_unanswered:
            _log.info("a coordinator answers again", extra={"action": "coordinator_back"})
        self._is_unanswered = False
        self._renew_interval_s = reply.renew_interval_s
        return reply

    async def _ask_leases_once(self, starting: tuple[HeldLease, ...]) -> Leases:
        if not self._must_register:
            renew = messages.Renew(worker_id=self._worker_id, held=self._held(starting))
            try:
                return await self._coordinator.call(renew, Leases)
            except RemoteError as error:
                if error.code != ErrorCode.UNKNOWN_WORKER:
                    raise
        reply = await self._coordinator.call(self._register(starting), Leases)
        self._must_register = False
        return reply

    async def _apply(self, reply: Leases, group: asyncio.TaskGroup) -> None:
        await self._drop_all_but(reply)
        new = [lease for lease in reply.leases if lease.shard not in self._shards]
        if not new:
            return
        try:
            for lease in new:
                await self._publisher.hold(lease.shard)
        except BrokerLostError:
            for lease in new:  # else the broker would vouch for what the next renewal may not grant again
                await self._let_go(lease.shard)
            return
        # The broker vouches for us from here on. A coordinator that took over before that may have granted the lease to
        # another worker, so it is asked once more before the first byte.
        starting = tuple(
            HeldLease(shard=lease.shard, fencing_token=lease.fencing_token, session=lease.session, state="starting")
            for lease in new
        )
        confirmed = await self._ask_leases(starting)
        valid = {(lease.shard, lease.fencing_token) for lease in confirmed.leases} if confirmed else set()
        for lease in new:
            if (lease.shard, lease.fencing_token) in valid:
                await self._start(lease, reply.config, group)
            else:
                await self._let_go(lease.shard)

    async def _start(self, lease: Lease, config: messages.BotConfig, group: asyncio.TaskGroup) -> None:
        shard = Shard(lease, config, self._tools)
        self._shards[lease.shard] = shard
        group.create_task(shard.run(), name=f"shard {lease.shard}")
        await self._inbox.bind(self._names.shard, str(lease.shard))
        how = "resume" if lease.session else "identify"
        _log.info(
            "lease", extra={"action": "lease_taken", "shard": lease.shard, "token": lease.fencing_token, "how": how}
        )

    async def _drop_all_but(self, reply: Leases) -> None:
        granted = {(lease.shard, lease.fencing_token) for lease in reply.leases}
        lost = [shard for number, shard in self._shards.items() if (number, shard.lease.fencing_token) not in granted]
        for shard in lost:
            del self._shards[shard.lease.shard]
            _log.warning("lease lost", extra={"action": "lease_lost", "shard": shard.lease.shard})
            await shard.abandon()
            await self._let_go(shard.lease.shard)

    async def _let_go(self, shard: int) -> None:
        await self._inbox.unbind(self._names.shard, str(shard))
        try:
            await self._publisher.let_go(shard)
        except BrokerLostError as error:
            _log.debug("unbind failed", extra={"action": "unbind_failed", "shard": shard, "reason": str(error)})

    async def _revalidate(self) -> None:
        """Before the first byte on a new publishing connection: which leases are still ours?"""
        async with self._lease_lock:
            reply = await self._ask_leases()
            if reply is None:
                raise BrokerLostError("the leases could not be validated")
            await self._drop_all_but(reply)
        self._renew_now.set()

    # Hand-over

    async def _drain(self) -> None:
        # Without the lock: a publishing connection that was just lost needs it to come back and have all confirmed.
        held = tuple(self._shards.values())
        shards = format_shards(shard.lease.shard for shard in held)
        _log.info("handing over", extra={"action": "hand_over", "shards": shards})
        try:
            await self._coordinator.call(messages.Leave(worker_id=self._worker_id), messages.Done)
        except (*_NO_ANSWER, RemoteError) as error:
            _log.warning("leaving unannounced", extra={"action": "leave_failed", "reason": str(error)})
        async with asyncio.TaskGroup() as group:
            for shard in held:
                group.create_task(self._hand_over(shard), name=f"hand-over of shard {shard.lease.shard}")

    async def _hand_over(self, shard: Shard) -> None:
        session = await shard.hand_over()
        number, token = shard.lease.shard, shard.lease.fencing_token
        await self._write_last_checkpoint(shard)
        await self._let_go(number)
        release = messages.Release(worker_id=self._worker_id, shard=number, fencing_token=token, session=session)
        try:
            await self._coordinator.call_until(release, messages.Done, timeout_s=RELEASE_TIMEOUT_S)
        except RelayError as error:
            _log.warning("release failed", extra={"action": "release_failed", "shard": number, "reason": str(error)})
        else:
            seq = session.seq if session else None
            _log.info("handed over", extra={"action": "handed_over", "shard": number, "seq": seq})

    async def _write_last_checkpoint(self, shard: Shard) -> None:
        try:
            async with asyncio.timeout(LAST_CHECKPOINT_TIMEOUT_S):
                await self._checkpoints.write_last(shard.stream_checkpoint())
        except TimeoutError:
            fields = {"action": "last_checkpoint_unconfirmed", "shard": shard.lease.shard}
            _log.warning("the last checkpoint is unconfirmed", extra=fields)

    def _current_checkpoints(self) -> list[messages.Checkpoint]:
        return [shard.stream_checkpoint() for shard in self._shards.values()]

    # Inbox

    async def _on_message(self, body: bytes) -> messages.Message:
        message = messages.decode(messages.inbox_message, body)
        if isinstance(message, messages.GatewayCommand):
            return await self._on_command(message)
        if isinstance(message, messages.RollCall):
            self._must_register = True
        self._renew_now.set()
        return messages.Done()

    async def _on_command(self, command: messages.GatewayCommand) -> messages.Message:
        shard = self._shards.get(command.shard)
        if shard is None:
            return messages.Failure(
                code=ErrorCode.NO_HOLDER, message=f"shard {command.shard} is not held here any more: try again"
            )
        return await shard.send_command(command.op, command.d)
