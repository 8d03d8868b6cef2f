"""Keeps a worker's leases with the coordinator: registers, renews, takes what is granted, drops what is not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.errors import (
    BrokerLostError,
    ConfigurationError,
    RemoteError,
    RpcTimeoutError,
    UnroutableError,
)
from eventbus.messages import ErrorCode, HeldLease, Lease, Leases

if TYPE_CHECKING:
    from eventbus.coordinator_client import CoordinatorClient
    from gateway_workers.hand_over import HandOvers
    from gateway_workers.held_shards import HeldShards
    from gateway_workers.resume_url import TrustedGateways
    from gateway_workers.settings import WorkerSettings

_log = logging.getLogger(__name__)

NO_ANSWER = (RpcTimeoutError, UnroutableError, BrokerLostError)
REPORT_AFTER_START_S = 0.5
"""So soon the coordinator hears how new shards do: it hands over more when these run."""


class LeaseKeeper:
    """One worker's. `register()` first, then `take()` what that gave and `keep()` as a task."""

    def __init__(
        self,
        settings: WorkerSettings,
        coordinator: CoordinatorClient,
        shards: HeldShards,
        gateways: TrustedGateways,
        *,
        worker_id: str,
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._coordinator = coordinator
        self._shards = shards
        self._gateways = gateways
        self._gateway_url = ""
        self._refused_url = ""
        self._lock = asyncio.Lock()
        self._renew_now = asyncio.Event()
        self._must_register = True
        self._is_leaving = False
        self._is_draining = False
        self._is_unanswered = False
        self._renew_interval_s = 2.0

    # What others say

    def renew_now(self) -> None:
        """Renew without waiting."""
        self._renew_now.set()

    def register_again(self) -> None:
        """The coordinator must hear anew what is held, and what is not."""
        self._must_register = True
        self._renew_now.set()

    async def leave(self) -> None:
        """Take nothing new from now on, and say so."""
        self._is_leaving = True
        try:
            await self._coordinator.call(messages.Leave(worker_id=self._worker_id), messages.Done)
        except (*NO_ANSWER, RemoteError) as error:
            _log.warning("leaving unannounced", extra={"action": "leave_failed", "reason": str(error)})

    async def revalidate(self) -> None:
        """Before the first byte on a new publishing connection: which leases are still ours? Raises BrokerLostError."""
        async with self._lock:
            reply = await self._ask()
            if reply is None:
                raise BrokerLostError("no coordinator says which leases are still ours")
            await self._shards.drop_all_but(reply)
        self._renew_now.set()

    # Asking

    async def register(self) -> Leases:
        """The first registration.

        Raises ConfigurationError for a range that is refused or a gateway that is not trusted, RpcTimeoutError.
        """
        try:
            reply = await self._coordinator.call_until(
                self._registration(), Leases, timeout_s=self._settings.connect_timeout_s
            )
        except RemoteError as error:
            if error.code in (ErrorCode.BAD_REQUEST, ErrorCode.OUT_OF_RANGE):
                raise ConfigurationError(f"--shards (GW_SHARDS): {error}") from error
            raise
        if reply.config.gateway_url not in self._gateways:
            raise ConfigurationError(self._gateways.refusal(reply.config.gateway_url))
        self._gateway_url = reply.config.gateway_url
        self._must_register = False
        fields = {"action": "registered", "worker": self._worker_id, "shards": self._settings.shards}
        _log.info("registered", extra=fields)
        return reply

    async def keep(self, hand_overs: HandOvers) -> None:
        """Renew for ever, in time or when told to."""
        while True:
            try:
                async with asyncio.timeout(self._renew_interval_s):
                    await self._renew_now.wait()
            except TimeoutError:
                pass  # time to renew
            self._renew_now.clear()
            async with self._lock:
                reported = self._reported()
                reply = await self._ask()
                if reply is not None:
                    await self._apply(reply, reported, hand_overs)

    async def take(self, first: Leases, hand_overs: HandOvers) -> None:
        """Take what the first registration gave."""
        async with self._lock:
            await self._apply(first, frozenset(), hand_overs)

    def _registration(self, starting: tuple[HeldLease, ...] = ()) -> messages.Register:
        return messages.Register(
            worker_id=self._worker_id,
            shards=self._settings.shards,
            capacity=self._settings.capacity,
            held=self._shards.held() + starting,
            draining=self._is_draining,
        )

    def _reported(self) -> frozenset[tuple[int, int]]:
        return frozenset((shard.lease.shard, shard.lease.fencing_token) for shard in self._shards)

    async def _ask(self, starting: tuple[HeldLease, ...] = ()) -> Leases | None:
        """What to hold, or None while no coordinator answers: then everything goes on as it is."""
        try:
            reply = await self._ask_once(starting)
        except (*NO_ANSWER, RemoteError) as error:
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
        self._is_draining = reply.draining
        return reply

    async def _ask_once(self, starting: tuple[HeldLease, ...]) -> Leases:
        if not self._must_register:
            renew = messages.Renew(worker_id=self._worker_id, held=self._shards.held() + starting)
            try:
                return await self._coordinator.call(renew, Leases)
            except RemoteError as error:
                if error.code != ErrorCode.UNKNOWN_WORKER:
                    raise
        self._must_register = False  # before the request: whoever sets it meanwhile means the next one
        try:
            return await self._coordinator.call(self._registration(starting), Leases)
        except (*NO_ANSWER, RemoteError):
            self._must_register = True
            raise

    # Applying

    async def _apply(self, reply: Leases, reported: frozenset[tuple[int, int]], hand_overs: HandOvers) -> None:
        await self._shards.drop_all_but(reply)
        self._begin_hand_overs(reply, hand_overs)
        new = [lease for lease in reply.leases if self._shards.is_news(lease, reported)]
        if self._is_leaving:
            for lease in new:  # granted just before we left
                await hand_overs.release(lease, lease.session)
        elif new and await self._hold(new):
            await self._start(new, self._with_trusted_gateway(reply.config))

    def _with_trusted_gateway(self, config: messages.BotConfig) -> messages.BotConfig:
        """Whoever answers later cannot send the bot token elsewhere: the last trusted gateway stays."""
        if config.gateway_url in self._gateways:
            self._gateway_url = config.gateway_url
            return config
        if config.gateway_url != self._refused_url:
            self._refused_url = config.gateway_url
            fields = {"action": "gateway_refused", "reason": self._gateways.refusal(config.gateway_url)}
            _log.warning("gateway refused: the bot token does not go there", extra=fields)
        return config.model_copy(update={"gateway_url": self._gateway_url})

    def _begin_hand_overs(self, reply: Leases, hand_overs: HandOvers) -> None:
        asked = {(lease.shard, lease.fencing_token) for lease in reply.leases if lease.shard in reply.hand_over}
        hand_overs.begin(one for one in self._shards if (one.lease.shard, one.lease.fencing_token) in asked)

    async def _hold(self, new: list[Lease]) -> bool:
        numbers = [lease.shard for lease in new]
        try:
            await self._shards.hold(numbers)
        except BrokerLostError:
            # Else the broker would vouch for what the next renewal may not grant again.
            await self._shards.let_go(numbers)
            return False
        return True

    async def _start(self, new: list[Lease], config: messages.BotConfig) -> None:
        # The broker vouches for us from here on. A coordinator that took over before that may have granted the lease to
        # another worker, so it is asked once more before the first byte.
        starting = tuple(
            HeldLease(shard=lease.shard, fencing_token=lease.fencing_token, session=lease.session, state="starting")
            for lease in new
        )
        confirmed = await self._ask(starting)
        valid = {(lease.shard, lease.fencing_token) for lease in confirmed.leases} if confirmed else set()
        ours = [lease for lease in new if (lease.shard, lease.fencing_token) in valid]
        for lease in ours:  # nothing is awaited before the last of them connects
            self._shards.start(lease, config)
        await self._shards.take_commands(lease.shard for lease in ours)
        await self._shards.let_go(lease.shard for lease in new if lease not in ours)
        asyncio.get_running_loop().call_later(REPORT_AFTER_START_S, self._renew_now.set)
