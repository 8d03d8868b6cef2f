"""Several consumer processes of one group on one machine: started, restarted, drained together."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from consumers.child import Child
from consumers.errors import ConsumersKeepEndingError
from consumers.preloaded import Preloaded
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
        self._preloaded = Preloaded(environment)
        self._kill_after_s = drain_timeout_s + KILL_AFTER_S
        self._children: dict[int, Child] = {}
        self._successors: dict[int, Child] = {}
        self._waits_for_reload = waits_for_reload
        self._replaced: dict[int, asyncio.Event] = {}  # of what runs now in each slot
        self._must_replace = asyncio.Event()
        self._ending = asyncio.Event()
        self._first_is_up = asyncio.Event()
        self.exit_code = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of those that run now."""
        return tuple(child.pid for child in self._children.values())

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until no process is left. Raises ConsumersKeepEndingError."""
        try:
            await self._run(stop)
        finally:
            await asyncio.to_thread(self._preloaded.close)

    async def _run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            replacer = tasks.create_task(self._replace_when_asked(), name="replace one by one")
            stopper = tasks.create_task(self._end_on(stop), name="end on a signal")
            slots = [tasks.create_task(self._keep(0), name="consumer 0")]
            await self._first_is_up.wait()
            if not self._ending.is_set():
                slots += [
                    tasks.create_task(self._keep(slot), name=f"consumer {slot}") for slot in range(1, self._count)
                ]
            await asyncio.wait(slots)
            stopper.cancel()
            replacer.cancel()

    def reload(self) -> None:
        """Drain what runs, and start it anew."""
        for replaced in self._replaced.values():
            replaced.set()

    def replace(self) -> None:
        """Replace what runs, one by one: each new process takes deliveries before the old one drains.

        If a new one does not start, it and all that were not replaced yet stay as they are.
        """
        self._must_replace.set()

    async def _replace_when_asked(self) -> None:
        while True:
            await self._must_replace.wait()
            self._must_replace.clear()
            _log.info("replacing the consumers, one by one", extra={"action": "replacing"})
            for slot in sorted(self._children):
                if not await self._replace_one(slot):
                    break
            else:
                _log.info("all consumers are replaced", extra={"action": "replaced"})

    async def _replace_one(self, slot: int) -> bool:
        """Whether the slot has a new process now, or is about to have one."""
        old = self._children.get(slot)
        if old is None:
            return True
        try:
            successor = await Child.start(self._preloaded)
        except OSError as error:
            _log.error("no new process: the others stay", extra={"action": "replace_failed", "reason": str(error)})
            return False
        try:
            if not await successor.ready():
                fields = {"action": "replace_failed", "exit_code": await successor.wait()}
                _log.error("a new process did not start: see its words above. The others stay", extra=fields)
                return False
            if self._children.get(slot) is old:
                self._successors[slot] = successor
                self._replaced[slot].set()
                await old.wait()
        finally:
            if self._children.get(slot) is not successor and self._successors.get(slot) is not successor:
                successor.send_signal(signal.SIGTERM)
        return True

    async def _end_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    def _end(self) -> None:
        self._ending.set()
        self.reload()
        self._first_is_up.set()

    async def _keep(self, slot: int) -> None:
        policy = RestartPolicy()
        while not self._ending.is_set() or slot in self._successors:
            replaced = self._replaced[slot] = asyncio.Event()
            if self._ending.is_set():
                replaced.set()
            wait_s = await self._run_once(slot, policy, replaced)
            if slot in self._successors:
                policy = RestartPolicy()
                continue
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
        child = self._successors.pop(slot, None) or await Child.start(self._preloaded)
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
