"""The coordinator as a service: moves requests, pings and permits between the broker and the pure parts.

Requests are handled one after another, the tick beside them. Whatever awaits may find the table changed: the table
checks again at every grant.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from coordinator.errors import NotReadyError, RefusedRequestError, StaleLeaseError, TokenRefusedError
from coordinator.fleet_state import LEASE_DURATION_S, RENEW_INTERVAL_S, is_late, shard_statuses, worker_statuses
from coordinator.identify_gate import IdentifyGate
from coordinator.leadership import LEARN_S, Leadership, Phase
from coordinator.lease_table import LEARN_RETRY_S, MAX_FENCING_TOKEN, LeaseTable
from coordinator.liveness import Liveness
from coordinator.news import News
from eventbus import messages
from eventbus.errors import BrokerLostError, RelayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordinator.discord_gateway import GatewayInfo
    from coordinator.settings import CoordinatorSettings
    from eventbus.amqp.control_channel import ControlChannel
    from eventbus.names import Names

_log = logging.getLogger(__name__)

TICK_S = 1.0
LEARN_TICK_S = 0.1
BUDGET_CHECK_S = 0.5


class CoordinatorService:
    """One coordinator: `handle` answers requests, `watch` and `keep_budget` run as tasks."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        *,
        coordinator_id: str,
        names: Names,
        control: ControlChannel,
        info: GatewayInfo,
        fetch: Callable[[], Awaitable[GatewayInfo]],
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._coordinator_id = coordinator_id
        self._names = names
        self._control = control
        self._news = News(control, names)
        self._info = info
        self._fetch = fetch
        self._catch_up = catch_up
        self._leadership = Leadership()
        self._liveness = Liveness()
        self._table = LeaseTable(
            settings.shard_count or info.shard_count, is_count_fixed=settings.shard_count is not None
        )
        self._gate = IdentifyGate(info.identify_limit, asked_at=info.asked_at, reserve=settings.identify_reserve)
        self._is_new_fleet = False
        self._is_stale = False
        self._late: set[str] = set()
        self._granting = asyncio.Lock()
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    # Leading

    def on_connected(self, *, is_new_fleet: bool) -> None:
        """A connection to the broker is about to consume: forget that we led.

        `is_new_fleet`: no coordinator ran in this namespace before, so nobody granted a permit.
        """
        self._is_new_fleet = is_new_fleet
        self._leadership.on_connected(self._clock())
        self._liveness.doubt(worker.worker_id for worker in self._table.workers)
        self._is_stale = True

    async def _begin_to_lead(self, now: float) -> None:
        if not (self._is_new_fleet and self._leadership.began_within(LEARN_S)):
            self._gate.hold(now)
        if self._is_stale:
            # Another one may have led since we knew: every worker registers again with all that it holds.
            self._table.forget_holders()
            self._is_stale = False
        # Above every token of those who led before, known or not: nobody grants more than one a millisecond for long.
        self._table.start_tokens_above(int(time.time() * 1000))
        _log.info("leading: learning what the workers hold", extra={"action": "leading", "id": self._coordinator_id})
        roll_call = messages.RollCall(coordinator_id=self._coordinator_id)
        await self._control.broadcast(messages.ROLL_CALL_KEY, roll_call)
        self._wake.set()

    async def watch(self) -> None:
        """Look after the fleet for ever: once a second, more often while learning."""
        while True:
            await self.tick()
            pause_s = LEARN_TICK_S if self._leadership.phase is Phase.LEARNING else TICK_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            self._wake.clear()

    async def tick(self) -> None:
        """Finish learning if it is time; then bury the dead and grant what is free."""
        self._try_to_lead()
        if self._leadership.is_leading:
            await self._bury_the_dead()
            await self._grant_free()
            self._warn_of_late_workers()

    def _try_to_lead(self) -> None:
        held_count = sum(record.holder is not None for record in self._table.shards)
        is_every_shard_held = held_count == self._table.shard_count
        if self._leadership.try_to_lead(self._clock(), is_every_shard_held=is_every_shard_held):
            self._table.settle()
            _log.info(
                "leading: granting from now on",
                extra={
                    "action": "granting",
                    "workers": len(self._table.workers),
                    "leases": held_count,
                    "shard_count": self._table.shard_count,
                },
            )

    async def _bury_the_dead(self) -> None:
        workers = [worker.worker_id for worker in self._table.workers]
        verdicts = await asyncio.gather(*(self._is_dead(worker_id) for worker_id in workers))
        for worker_id, is_dead in zip(workers, verdicts, strict=True):
            if is_dead and self._leadership.is_leading:
                await self._bury(worker_id)

    async def _is_dead(self, worker_id: str) -> bool:
        can_publish = await self._control.has_queue(self._names.worker(worker_id))
        if can_publish is None:
            return False
        has_inbox = can_publish or await self._control.has_queue(self._names.inbox(worker_id))
        if has_inbox is None:
            return False
        return self._liveness.is_dead(worker_id, can_publish=can_publish, has_inbox=has_inbox, now=self._clock())

    async def _bury(self, worker_id: str) -> None:
        self._liveness.forget(worker_id)
        self._late.discard(worker_id)
        shards = self._table.bury(worker_id)
        level = logging.WARNING if shards else logging.INFO
        _log.log(
            level, "worker is gone", extra={"action": "worker_dead", "worker": worker_id, "shard_count": len(shards)}
        )
        await self._news.tell_death(worker_id, shards)
        await self._news.tell(self._table.take_changes())

    async def _grant_free(self, *, asker: str | None = None) -> None:
        """Grant free shards that, says the broker, nobody can publish for; `asker` learns by its reply."""
        if not self._leadership.is_leading:
            return
        async with self._granting:
            proposals = self._table.proposals()
            if proposals:
                await self._grant(proposals)
        await self._news.tell(self._table.take_changes(), but_not=asker)

    async def _grant(self, proposals: list[tuple[int, str]]) -> None:
        held = await asyncio.gather(*(self._control.has_holder(shard) for shard, _ in proposals))
        # Whoever could publish is gone: what it wrote to the stream stands before what we read up to now.
        if not await self._knows_all_checkpoints() or not self._leadership.is_leading:
            return
        for (shard, worker_id), is_held in zip(proposals, held, strict=True):
            if is_held is False:
                self._table.grant(shard, worker_id)

    async def _knows_all_checkpoints(self) -> bool:
        try:
            await self._catch_up()
        except BrokerLostError as error:
            _log.warning("no grants now", extra={"action": "checkpoints_unknown", "reason": str(error)})
            return False
        return True

    def on_checkpoints(self, record: messages.Checkpoints) -> None:
        """Take what a worker wrote to the session stream."""
        for checkpoint in record.checkpoints:
            if checkpoint.fencing_token <= MAX_FENCING_TOKEN:
                self._table.checkpoints.learn(checkpoint)

    def _warn_of_late_workers(self) -> None:
        late = {worker.worker_id for worker in self._table.workers if is_late(worker, self._clock())}
        for worker_id in sorted(late - self._late):
            _log.warning(
                "worker renews late: it keeps its leases while it can publish",
                extra={"action": "worker_late", "worker": worker_id},
            )
        self._late = late

    # The identify budget

    async def keep_budget(self) -> None:
        """Ask Discord for the identify limit whenever the gate wants to know, for ever."""
        while True:
            await asyncio.sleep(BUDGET_CHECK_S)
            if self._leadership.phase is not Phase.STAND_BY and self._clock() >= self._gate.refresh_at:
                await self._refresh_budget()

    async def _refresh_budget(self) -> None:
        try:
            info = await self._fetch()
        except RelayError as error:
            self._gate.refresh_failed(self._clock())
            level = logging.ERROR if isinstance(error, TokenRefusedError) else logging.WARNING
            _log.log(level, "identify limit unknown", extra={"action": "budget_unknown", "reason": str(error)})
            return
        self._info = info
        self._gate.learn(info.identify_limit, asked_at=info.asked_at)
        _log.debug("identify limit", extra={"action": "budget", "remaining": self._gate.remaining})

    # Requests

    async def handle(self, body: bytes) -> messages.Message:
        """The reply to one request. Raises MalformedMessageError."""
        if self._leadership.on_delivery(self._clock()):
            await self._begin_to_lead(self._clock())
        self._try_to_lead()
        request = messages.decode(messages.coordinator_request, body)
        try:
            return await self._answer(request)
        except RefusedRequestError as error:
            _log.debug("request refused", extra={"action": "refused", "kind": request.kind, "reason": str(error)})
            return messages.Failure(code=error.code, message=str(error), retry_after_s=error.retry_after_s)

    async def _answer(self, request: messages.CoordinatorRequest) -> messages.Message:
        match request:
            case messages.Register():
                self._table.register(request, self._clock())
                await self._grant_free(asker=request.worker_id)
                return await self._leases(request.worker_id)
            case messages.Renew():
                self._table.renew(request, self._clock())
                return await self._leases(request.worker_id)
            case messages.Release():
                self._table.release(request)
                await self._grant_free()
            case messages.Leave():
                self._table.leave(request.worker_id)
            case messages.IdentifyRequest():
                return self._permit(request)
            case messages.ConfigRequest():
                return self._config_reply()
            case messages.StateRequest():
                return self._state()
        await self._news.tell(self._table.take_changes())
        return messages.Done()

    async def _leases(self, worker_id: str) -> messages.Leases:
        await self._news.tell(self._table.take_changes(), but_not=worker_id)
        return messages.Leases(
            leases=self._table.leases_of(worker_id),
            config=self._config(),
            renew_interval_s=RENEW_INTERVAL_S,
            lease_duration_s=LEASE_DURATION_S,
        )

    def _permit(self, request: messages.IdentifyRequest) -> messages.IdentifyPermit:
        if not self._leadership.is_leading:
            return messages.IdentifyPermit(
                granted=False, retry_after_s=LEARN_RETRY_S, reason="the coordinator is learning what the workers hold"
            )
        if not self._table.holds(request.worker_id, request.shard, request.fencing_token):
            raise StaleLeaseError(
                f"worker {request.worker_id} does not hold shard {request.shard} with fencing token"
                f" {request.fencing_token}: no permit without a lease; renew"
            )
        permit = self._gate.request(request.shard, self._clock(), recovery=request.recovery)
        return messages.IdentifyPermit(
            granted=permit.granted, valid_s=permit.valid_s, retry_after_s=permit.retry_after_s, reason=permit.reason
        )

    def _config(self) -> messages.BotConfig:
        return messages.BotConfig(
            shard_count=self._table.shard_count,
            intents=self._settings.intents,
            gateway_url=self._info.url,
            max_concurrency=self._gate.max_concurrency,
        )

    def _config_reply(self) -> messages.ConfigReply:
        if not self._table.is_settled:
            raise NotReadyError("the shard count is not known yet: ask again", retry_after_s=LEARN_RETRY_S)
        return messages.ConfigReply(config=self._config())

    def _state(self) -> messages.FleetState:
        now = self._clock()
        return messages.FleetState(
            coordinator_id=self._coordinator_id,
            config=self._config(),
            identifies_remaining=self._gate.remaining,
            identifies_total=self._gate.total,
            identifies_reset_after_s=max(0.0, self._gate.reset_at - now),
            shards=shard_statuses(self._table, now),
            workers=worker_statuses(self._table, now),
        )
