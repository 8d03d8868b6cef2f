"""The demo's failures: each is announced with what to expect, provoked, and timed until all goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.errors import BrokerLostError, RelayError, RemoteError, RpcTimeoutError, UnroutableError
from ops.supervisor import send_signal
from ops.tally import takeover_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.coordinator_client import CoordinatorClient
    from ops.fleet import Fleet
    from ops.simulator_client import SimulatorClient

STEP_TIMEOUT_S = 40.0
POLL_INTERVAL_S = 0.1
ASK_TIMEOUT_S = 1.0
FRESH_S = 4.0
"""A worker that renewed since then is alive: it renews every 2 s."""


class Failures:
    """What happens to the fleet, one after another; `takeovers` are the seconds that the two kills took to mend."""

    def __init__(
        self,
        fleet: Fleet,
        simulator: SimulatorClient,
        coordinator: CoordinatorClient,
        say: Callable[[str], None],
        *,
        shards_of_a_worker: int,
    ) -> None:
        self._fleet = fleet
        self._simulator = simulator
        self._coordinator = coordinator
        self._say = say
        self._session_count = shards_of_a_worker
        self.takeovers: dict[str, float | None] = {"worker_takeover_s": None, "coordinator_takeover_s": None}

    async def kill_consumer(self) -> None:
        """SIGKILL a consumer."""
        victim = self._fleet.consumers[0]
        self._say(f"SIGKILL to {victim.name} (pid {victim.pid}): its unacknowledged dispatches go to the other one")
        send_signal(victim, signal.SIGKILL)

    async def kill_worker(self) -> None:
        """SIGKILL a worker; its sessions are resumed by the stand-by."""
        victim = self._fleet.workers[0]
        self._say(
            f"SIGKILL to {victim.name} (pid {victim.pid}): the stand-by takes over its {self._session_count} sessions"
            " by RESUME, without an identify; what was published in the last 100 ms comes twice"
        )
        killed_at = time.time()
        send_signal(victim, signal.SIGKILL)
        took_s = await self._resumed_after(killed_at, victim.name)
        self.takeovers["worker_takeover_s"] = round(took_s, 2)
        self._say(
            f"taken over: the sessions of {victim.name} went on {took_s:.2f} s after the kill (simulator's ledger)"
        )

    async def kill_coordinator(self) -> None:
        """SIGKILL the coordinator that leads; a stand-by leads, and knows all leases."""
        leading = (await self._coordinator.state()).coordinator_id
        victim = next((one for one in self._fleet.coordinators if f"-{one.pid}-" in leading), None)
        if victim is None:
            raise RelayError(f"{leading} leads, and is none of the demo's coordinators")
        self._say(
            f"SIGKILL to {victim.name} (pid {victim.pid}), which leads: a stand-by leads, the shards do not notice"
        )
        resumes = (await self._simulator.verdict())["resumes"]
        killed_at = time.monotonic()
        send_signal(victim, signal.SIGKILL)
        await _until(lambda: self._leads_another(leading), "no other coordinator knew all leases")
        took_s = time.monotonic() - killed_at
        self.takeovers["coordinator_takeover_s"] = round(took_s, 2)
        resumes = (await self._simulator.verdict())["resumes"] - resumes
        self._say(f"another coordinator leads and knows all leases, {took_s:.2f} s after the kill; resumes: {resumes}")

    async def drain_worker(self) -> None:
        """SIGTERM to a worker; it hands its sessions over."""
        leaving = self._fleet.workers[1]
        await _until(self._somebody_stands_by, "no worker stood by")
        self._say(f"SIGTERM to {leaving.name}: it hands its sessions over; none lost, none twice, no identify")
        asked_at = time.time()
        await self._fleet.supervisor.stop([leaving])
        took_s = await self._resumed_after(asked_at, leaving.name)
        self._say(f"{leaving.name} is gone, its sessions went on {took_s:.2f} s after SIGTERM (simulator's ledger)")

    async def _resumed_after(self, since: float, name: str) -> float:
        found: list[float] = []

        async def are_resumed() -> bool:
            took_s = takeover_s(await self._simulator.ledger(), since=since, session_count=self._session_count)
            found.extend([] if took_s is None else [took_s])
            return bool(found)

        await _until(are_resumed, f"the sessions of {name} were not resumed")
        return found[0]

    async def _somebody_stands_by(self) -> bool:
        workers = (await self._coordinator.state()).workers
        return any(not worker.held and not worker.draining and worker.renewed_s < FRESH_S for worker in workers)

    async def _leads_another(self, former: str) -> bool:
        try:
            state = await self._coordinator.call(messages.StateRequest(), messages.FleetState, timeout_s=ASK_TIMEOUT_S)
        except (BrokerLostError, RemoteError, RpcTimeoutError, UnroutableError):
            return False
        return state.coordinator_id != former and all(shard.worker_id for shard in state.shards)


async def _until(condition: Callable[[], Awaitable[bool]], problem: str) -> None:
    try:
        async with asyncio.timeout(STEP_TIMEOUT_S):
            while not await condition():  # noqa: ASYNC110 - only another process knows
                await asyncio.sleep(POLL_INTERVAL_S)
    except TimeoutError as error:
        raise RelayError(f"{problem} within {STEP_TIMEOUT_S:g} s: see .run/demo/processes.log") from error
