"""Several consumer processes of one group on one machine: started, restarted, drained together."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from consumers.child import Child
from consumers.errors import ConsumersKeepEndingError
from consumers.restart_policy import RestartPolicy
from eventbus.errors import EXIT_USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

KILL_AFTER_S = 15.0


class Supervisor:
    """Keeps `count` processes running.

    The first one starts alone: what is wrong with the settings is then said once, not `count` times. A process that
    ends with exit code 0 closed itself and stays closed; exit code 2 (wrong settings) ends all. With `waits_for_reload`
    a process that ended so, or ends again and again, waits for the next `reload()` instead.
    """

    def __init__(
        self, count: int, environment: Mapping[str, str], *, drain_timeout_s: float, waits_for_reload: bool = False
    ) -> None:
        self._count = count
        self._environment = environment
        self._kill_after_s = drain_timeout_s + KILL_AFTER_S
        self._children: dict[int, Child] = {}
        self._waits_for_reload = waits_for_reload
        self._replaced = asyncio.Event()  # of what runs now
        self._ending = asyncio.Event()
        self._first_is_up = asyncio.Event()
        self.exit_code = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of those that run now."""
        return tuple(child.pid for child in self._children.values())

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until no process is left. Raises ConsumersKeepEndingError."""
        async with asyncio.TaskGroup() as tasks:
            stopper = tasks.create_task(self._end_on(stop), name="end on a signal")
            slots = [tasks.create_task(self._keep(0), name="consumer 0")]
            await self._first_is_up.wait()
            if not self._ending.is_set():
                slots += [
                    tasks.create_task(self._keep(slot), name=f"consumer {slot}") for slot in range(1, self._count)
                ]
            await asyncio.wait(slots)
            stopper.cancel()

    def reload(self) -> None:
        """Drain what runs, and start it anew."""
        replaced, self._replaced = self._replaced, asyncio.Event()
        replaced.set()

    async def _end_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    def _end(self) -> None:
        self._ending.set()
        self._replaced.set()
        self._first_is_up.set()

    async def _keep(self, slot: int) -> None:
        policy = RestartPolicy()
        while not self._ending.is_set():
            replaced = self._replaced
            wait_s = await self._run_once(slot, policy, replaced)
            if wait_s is None and not self._waits_for_reload:
                return
            if wait_s is None and not replaced.is_set():
                sentence = "waiting for a file to change"
                _log.info(sentence, extra={"action": "waiting_for_reload", "slot": slot})
            try:
                async with asyncio.timeout(wait_s):
                    await replaced.wait()
            except TimeoutError:
                continue
            policy = RestartPolicy()

    async def _run_once(self, slot: int, policy: RestartPolicy, replaced: asyncio.Event) -> float | None:
        """One life of the slot's process, until `replaced`; seconds until the next, None for no next."""
        child = await Child.start(self._environment)
        self._children[slot] = child
        draining = asyncio.create_task(_drain_when(replaced, child), name=f"drain of {child.pid}")
        try:
            was_ready = await child.ready()
            if was_ready:
                _log.info("consumer is up", extra={"action": "child_up", "slot": slot, "pid": child.pid})
                self._first_is_up.set()
            code = await self._wait(child, replaced)
        finally:
            draining.cancel()
            del self._children[slot]
            child.send_signal(signal.SIGKILL)
        if replaced.is_set():
            return None
        if code == 0:
            _log.info("consumer closed itself", extra={"action": "child_closed", "slot": slot, "pid": child.pid})
            self._first_is_up.set()
            return None
        if code == EXIT_USAGE and self._waits_for_reload:
            return None
        if code == EXIT_USAGE:
            self.exit_code = EXIT_USAGE
            self._end()
            return None
        lived_s = asyncio.get_running_loop().time() - child.started_at
        wait_s = policy.after_end(lived_s=lived_s, was_ready=was_ready)
        fields = {"action": "child_ended", "slot": slot, "pid": child.pid, "exit_code": code, "restart_s": wait_s}
        _log.warning("consumer ended", extra=fields)
        if wait_s is None and not self._waits_for_reload:
            self._end()
            raise ConsumersKeepEndingError(
                f"a consumer process ended again and again (last exit code {code}): see its messages above"
            )
        return wait_s

    async def _wait(self, child: Child, replaced: asyncio.Event) -> int:
        ended = asyncio.create_task(child.wait(), name=f"end of {child.pid}")
        ending = asyncio.create_task(replaced.wait(), name="wait for the end")
        try:
            await asyncio.wait({ended, ending}, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait({ended}, timeout=self._kill_after_s)
            if not done:
                _log.warning("consumer does not end: killed", extra={"action": "child_killed", "pid": child.pid})
                child.send_signal(signal.SIGKILL)
            return await ended
        finally:
            ended.cancel()
            ending.cancel()


async def _drain_when(replaced: asyncio.Event, child: Child) -> None:
    """One signal for each process: a second one would force its end."""
    await replaced.wait()
    child.send_signal(signal.SIGTERM)
