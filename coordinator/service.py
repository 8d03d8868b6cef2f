"""The coordinator as a service: moves requests, pings and permits between the broker and the pure parts.

Requests are handled one after another, the tick beside them. Whatever awaits may find the table changed: the table
checks again at every grant.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from coordinator.errors import NotReadyError, RefusedRequestError, StaleLeaseError
from coordinator.fleet_state import (
    LEASE_DURATION_S,
    RENEW_INTERVAL_S,
    late_workers,
    shard_statuses,
    worker_statuses,
)
from coordinator.leadership import Leadership, Phase
from coordinator.lease_table import LEARN_RETRY_S, LeaseTable
from coordinator.news import News
from coordinator.permits import IdentifyPermits
from coordinator.rebalancer import Rebalancer
from coordinator.stream_log import StreamLog
from coordinator.undertaker import Undertaker
from coordinator.ungranted import Ungranted
from eventbus import messages
from eventbus.shard_ranges import format_shards

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordinator.discord_gateway import GatewayInfo
    from coordinator.settings import CoordinatorSettings
    from eventbus.amqp.control_channel import ControlChannel
    from eventbus.amqp.session_stream import SessionStream
    from eventbus.names import Names

_log = logging.getLogger(__name__)

TICK_S = 1.0
WRITE_AGAIN_S = 5.0
LEARN_TICK_S = 0.1


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
        stream: SessionStream,
    ) -> None:
        self._settings = settings
        self._coordinator_id = coordinator_id
        self._control = control
        self._news = News(control, names)
        self._leadership = Leadership()
        self._table = LeaseTable(
            settings.shard_count or info.shard_count,
            is_count_fixed=settings.shard_count is not None,
            intents=settings.intents,
        )
        self._clock = asyncio.get_running_loop().time
        self._undertaker = Undertaker(self._table, control=control, names=names, news=self._news, clock=self._clock)
        self._permits = IdentifyPermits(info, reserve=settings.identify_reserve, fetch=fetch, clock=self._clock)
        self._stream_log = StreamLog(
            stream,
            coordinator_id=coordinator_id,
            table=self._table,
            gate=self._permits.gate,
            clock=self._clock,
            on_deposed=self._on_deposed,
        )
        self._rebalancer = Rebalancer(self._table, after_s=settings.rebalance_after_s)
        self._ungranted = Ungranted()
        self._is_new_fleet = False
        self._is_stale = False
        self._granting = asyncio.Lock()
        self._wake = asyncio.Event()

    # Leading

    def on_new_connection(self) -> None:
        """What the broker says from here on is of a new connection: we do not lead until a request comes over it."""
        self._leadership.step_back()

    def on_connected(self, *, is_new_fleet: bool) -> None:
        """A connection to the broker is about to consume: forget that we led.

        `is_new_fleet`: no coordinator ran in this namespace before, so nobody granted a permit.
        """
        self._is_new_fleet = is_new_fleet
        self._leadership.on_connected(self._clock())
        self._undertaker.doubt_all()
        self._is_stale = True

    def _on_deposed(self) -> None:
        """Another coordinator began to lead behind us: what we write is void until we begin again."""
        if self._leadership.knows_the_stream:
            _log.warning("another coordinator leads", extra={"action": "deposed", "id": self._coordinator_id})
            self._leadership.step_back()
        self._is_stale = True

    async def _lead_by_delivery(self) -> None:
        """Whoever gets a request leads. Raises NotReadyError until all that predecessors wrote is known."""
        if self._leadership.on_delivery():
            try:
                if await self._stream_log.begin_term() and self._leadership.on_caught_up(self._clock()):
                    await self._begin_to_lead()
            finally:
                if self._leadership.phase is Phase.CATCHING_UP:  # else no later request would begin anew
                    self._leadership.step_back()
        if not self._leadership.knows_the_stream:
            raise NotReadyError("the coordinator reads what its predecessors wrote: ask again", retry_after_s=1.0)

    async def _begin_to_lead(self) -> None:
        is_first = self._is_new_fleet and self._leadership.began_at_once
        self._permits.lead(is_told=is_first or self._stream_log.has_predecessor)
        if self._is_stale:
            # Another one may have led since we knew: every worker registers again with all that it holds.
            self._table.forget_holders()
            self._is_stale = False
        # Above every token of those who led before, known or not: nobody grants more than one a millisecond for long.
        self._table.start_tokens_above(self._stream_log.now_ms())
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
        self._stream_log.bound_tokens()
        self._try_to_lead()
        if self._leadership.is_leading:
            await self._undertaker.bury_the_dead(lambda: self._leadership.is_leading)
            await self._grant_free()
            await self._move()
            self._undertaker.warn_of_late_workers()
            self._warn_of_ungranted()

    def _try_to_lead(self) -> None:
        held_count = sum(record.holder is not None for record in self._table.shards)
        is_every_shard_held = held_count == self._table.shard_count
        if self._leadership.try_to_lead(
            self._clock(), is_every_shard_held=is_every_shard_held, is_count_doubtful=self._table.is_count_doubtful
        ):
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

    async def _grant_free(self, *, asker: str | None = None) -> None:
        """Grant free shards that, says the broker, nobody can publish for; `asker` learns by its reply."""
        if not self._leadership.is_leading:
            return
        async with self._granting:
            proposals = self._table.proposals(late=late_workers(self._table, self._clock()))
            if proposals:
                await self._grant(proposals)
        await self._news.tell(self._table.take_changes(), but_not=asker)

    async def _grant(self, proposals: list[tuple[int, str]]) -> None:
        term = self._stream_log.term
        held = await asyncio.gather(*(self._control.has_holder(shard) for shard, _ in proposals))
        if not self._leadership.is_leading or term != self._stream_log.term:
            return  # the broker's word is from before another one led
        free = [one for one, is_held in zip(proposals, held, strict=True) if is_held is False]
        reserved = [grant for shard, worker_id in free if (grant := self._table.reserve(shard, worker_id)) is not None]
        # Whoever could publish is gone: its last checkpoint stands before these grants, so it is known once they are.
        if not reserved or not await self._stream_log.write_grants(reserved) or not self._leadership.is_leading:
            return
        for grant in reserved:
            self._table.grant(grant.shard, grant.worker_id, grant.fencing_token)

    def _warn_of_ungranted(self) -> None:
        shards = self._ungranted.overdue(self._table.proposals(), self._clock())
        if shards:
            sentence = "free shards are not granted: can their last holder still publish, or does the broker not say?"
            _log.warning(sentence, extra={"action": "ungranted", "shards": format_shards(shards)})

    async def _move(self, *, asker: str | None = None) -> None:
        """Begin the hand-overs that are due; `asker` learns of its own by its reply."""
        if not self._leadership.is_leading:
            return
        now = self._clock()
        for late in self._rebalancer.sweep(now):
            fields = {"action": "hand_over_late", "shard": late.move.shard, "giver": late.move.giver}
            _log.warning("hand-over took too long: the shard stays where it is", extra=fields)
        await self._news.tell_moves(self._rebalancer.begin(now), but_not=asker)

    async def keep_known(self) -> None:
        """Write the checkpoints of shards that nobody holds again, for ever: the stream keeps the newest 8 MB only."""
        while True:
            await asyncio.sleep(WRITE_AGAIN_S)
            if self._leadership.is_leading:
                await self._write_again()

    async def _write_again(self) -> None:
        free = {record.shard for record in self._table.shards if record.holder is None}
        for record in self._table.checkpoints.records(sorted(free)):
            free = {shard.shard for shard in self._table.shards if shard.holder is None}
            is_true = all(checkpoint.shard in free for checkpoint in record.checkpoints)
            if not is_true or not await self._stream_log.write_again(record):
                return  # the world has changed meanwhile: the next time, then

    # The identify budget

    async def keep_budget(self) -> None:
        """Ask Discord for the identify limit now and then while we lead, for ever."""
        await self._permits.keep_budget(lambda: self._leadership.knows_the_stream)

    # Requests

    async def handle(self, body: bytes) -> messages.Message:
        """The reply to one request. Raises MalformedMessageError."""
        try:
            await self._lead_by_delivery()
            self._try_to_lead()
            return await self._answer(messages.decode(messages.coordinator_request, body))
        except RefusedRequestError as error:
            _log.debug("request refused", extra={"action": "refused", "code": error.code, "reason": str(error)})
            return messages.Failure(code=error.code, message=str(error), retry_after_s=error.retry_after_s)

    async def _answer(self, request: messages.CoordinatorRequest) -> messages.Message:
        match request:
            case messages.Register():
                self._table.register(request, self._clock())
                await self._grant_free(asker=request.worker_id)
                return await self._leases(request)
            case messages.Renew():
                self._table.renew(request, self._clock())
                return await self._leases(request)
            case messages.Release():
                self._table.release(request)
                await self._grant_free()
                await self._move(asker=request.worker_id)
            case messages.Leave():
                self._table.leave(request.worker_id)
            case messages.Drain() | messages.Undrain() | messages.Rebalance():
                return await self._answer_operator(request)
            case messages.IdentifyRequest():
                return await self._permit(request)
            case messages.ConfigRequest():
                return self._config_reply()
            case messages.StateRequest():
                return self._state()
        await self._news.tell(self._table.take_changes())
        return messages.Done()

    async def _answer_operator(
        self, request: messages.Drain | messages.Undrain | messages.Rebalance
    ) -> messages.Message:
        if not self._leadership.is_leading:
            raise NotReadyError("the coordinator is learning what the workers hold: ask again", retry_after_s=1.0)
        match request:
            case messages.Drain():
                self._table.drain(request.worker_id)
                await self._move()
                return self._drain_progress(request.worker_id)
            case messages.Undrain():
                self._table.undrain(request.worker_id)
                await self._grant_free()
                return messages.Done()
            case messages.Rebalance():
                self._rebalancer.spread_now()
                await self._move()
                return self._moves_left()

    def _drain_progress(self, worker_id: str) -> messages.DrainProgress:
        return messages.DrainProgress(
            worker_id=worker_id,
            held=tuple(lease.shard for lease in self._table.leases_of(worker_id)),
            stuck=self._rebalancer.stuck_of(worker_id, self._clock()),
        )

    def _moves_left(self) -> messages.Moves:
        return messages.Moves(
            moves=tuple(
                messages.PlannedMove(shard=move.shard, giver=move.giver, receiver=move.receiver, begun=begun)
                for move, begun in self._rebalancer.moves_left(self._clock())
            )
        )

    async def _leases(self, request: messages.Register | messages.Renew) -> messages.Leases:
        worker_id = request.worker_id
        await self._move(asker=worker_id)
        await self._news.tell(self._table.take_changes(), but_not=worker_id)
        leases = self._table.leases_of(worker_id)
        held = {(lease.shard, lease.fencing_token) for lease in leases}
        claimed = ((one.shard, one.fencing_token) for one in request.held)
        return messages.Leases(
            leases=leases,
            refused=tuple(
                messages.RefusedLease(shard=one[0], fencing_token=one[1]) for one in claimed if one not in held
            ),
            hand_over=self._table.asked_of(worker_id),
            draining=self._table.is_draining(worker_id),
            config=self._config(),
            renew_interval_s=RENEW_INTERVAL_S,
            lease_duration_s=LEASE_DURATION_S,
        )

    async def _permit(self, request: messages.IdentifyRequest) -> messages.IdentifyPermit:
        if not self._leadership.is_leading:
            return messages.IdentifyPermit(
                granted=False, retry_after_s=LEARN_RETRY_S, reason="the coordinator is learning what the workers hold"
            )
        if not self._table.holds(request.worker_id, request.shard, request.fencing_token):
            raise StaleLeaseError(
                f"worker {request.worker_id} does not hold shard {request.shard} with fencing token"
                f" {request.fencing_token}: no permit without a lease; renew"
            )
        if self._table.checkpoints.has_ended(request.shard):  # its last holder may have died before it could identify
            request = request.model_copy(update={"recovery": True})
        return await self._permits.answer(request, self._stream_log)

    def _config(self) -> messages.BotConfig:
        return messages.BotConfig(
            shard_count=self._table.shard_count,
            intents=self._settings.intents,
            gateway_url=self._permits.gateway_url,
            max_concurrency=self._permits.gate.max_concurrency,
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
            identifies_remaining=self._permits.gate.remaining,
            identifies_total=self._permits.gate.total,
            identifies_reset_after_s=max(0.0, self._permits.gate.reset_at - now),
            shards=shard_statuses(self._table, now),
            workers=worker_statuses(self._table, now),
        )
