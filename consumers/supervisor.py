"""Several consumer processes of one group on one machine: started, restarted, replaced, drained together."""

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

KILL_AFTER_S = 45.0
"""Beyond the drain: handlers of StoppingEvent and StoppedEvent get 10 s each, each part that is closed gets 5 s."""
START_PATIENCE_S = 180.0
"""A new process that does not consume by then replaces nothing."""
TRY_AGAIN_S = 60.0
"""Between attempts of one that cannot run, while others do."""


class Supervisor:
    """Keeps `count` processes running.

    The first one starts alone: what is wrong with the settings is then said once, not `count` times. A process that
    ends with exit code 0 closed itself and stays closed. One that ends with exit code 2 (wrong settings), or again and
    again, ends all if no other runs; else it is tried again now and then. With `waits_for_reload` it waits for the next
    `reload()` instead.
    """

    def __init__(
        self, count: int, environment: Mapping[str, str], *, drain_timeout_s: float, waits_for_reload: bool = False
    ) -> None:
        self._count = count
        self._preloaded = Preloaded(environment)
        self._kill_after_s = drain_timeout_s + KILL_AFTER_S
        self._children: dict[int, Child] = {}
        self._successors: dict[int, Child] = {}
        self._replaced: dict[int, asyncio.Event] = {}  # of what runs now in each slot
        self._waits_for_reload = waits_for_reload
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
            stopper = tasks.create_task(self._end_on(stop), name="end on a signal")
            replacer = tasks.create_task(self._replace_when_asked(), name="replace one by one")
            slots = [tasks.create_task(self._keep(0), name="consumer 0")]
            await self._first_is_up.wait()
            if not self._ending.is_set():
                slots += [
                    tasks.create_task(self._keep(slot), name=f"consumer {slot}") for slot in range(1, self._count)
                ]
            await asyncio.wait(slots)
            stopper.cancel()
            self._end()
            await asyncio.wait([replacer])

    async def _end_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    def _end(self) -> None:
        self._ending.set()
        self._must_replace.set()
        self._first_is_up.set()
        self.reload()
        for successor in self._successors.values():
            successor.drain()

    def reload(self) -> None:
        """Drain what runs, and start it anew."""
        for replaced in self._replaced.values():
            replaced.set()

    def replace(self) -> None:
        """Replace what runs, one by one: each new process takes deliveries before the old one drains.

        If a new one does not start, all that were not replaced yet stay as they are.
        """
        if self._waits_for_reload:
            self.reload()
        else:
            self._must_replace.set()

    # One by one

    async def _replace_when_asked(self) -> None:
        while True:
            await self._must_replace.wait()
            self._must_replace.clear()
            if self._ending.is_set():
                return
            _log.info("replacing the consumers, one by one", extra={"action": "replacing"})
            if await self._replace_each():
                _log.info("all consumers are replaced", extra={"action": "replaced"})

    async def _replace_each(self) -> bool:
        for slot in sorted(self._replaced):
            if (old := self._children.get(slot)) is not None:
                if not await self._replace_one(slot, old):
                    return False
            elif slot in self._replaced:  # it waits for its next start
                self._replaced[slot].set()
        return True

    async def _replace_one(self, slot: int, old: Child) -> bool:
        """Whether the slot has a new process."""
        successor = await self._fork()
        if successor is None:
            return False
        is_adopted = False
        try:
            if not await self._comes_up(successor, self._ending, timeout_s=START_PATIENCE_S):
                code = await self._stop(successor)
                fields = {"action": "replace_failed", "pid": successor.pid, "exit_code": code}
                _log.error("a new process did not start: the others stay as they are", extra=fields)
                return False
            if not self._has_place(slot, old):
                await self._stop(successor)
                return not self._ending.is_set()
            self._successors[slot], is_adopted = successor, True
            self._replaced[slot].set()
            await old.wait()
        finally:
            if not is_adopted:
                successor.send_signal(signal.SIGKILL)
        return not self._ending.is_set()

    def _has_place(self, slot: int, old: Child) -> bool:
        """Whether the slot is still `old`'s, or waits for its next start because that one ended by itself."""
        replaced = self._replaced.get(slot)
        if replaced is None or replaced.is_set():
            return False
        return self._children.get(slot) in (old, None)

    async def _stop(self, child: Child) -> int:
        told = asyncio.Event()
        told.set()
        child.drain()
        return await self._wait(child, told)

    async def _fork(self) -> Child | None:
        try:
            return await Child.start(self._preloaded)
        except OSError as error:
            _log.error("no process can be started", extra={"action": "fork_failed", "reason": str(error)})
            return None

    # Each for itself

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
            is_to_start_anew = self._waits_for_reload or (replaced.is_set() and not self._ending.is_set())
            if wait_s is None and not is_to_start_anew:
                del self._replaced[slot]
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
        child = self._successors.pop(slot, None) or await self._fork()
        if child is None:
            return self._after_failure(policy.after_end(lived_s=0.0, was_ready=False), None)
        self._children[slot] = child
        draining = asyncio.create_task(_drain_when(replaced, child), name=f"drain of {child.pid}")
        try:
            was_ready = await self._comes_up(child, replaced)
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
        if code == EXIT_USAGE:
            return self._after_failure(None, code)
        lived_s = asyncio.get_running_loop().time() - child.started_at
        wait_s = policy.after_end(lived_s=lived_s, was_ready=was_ready)
        fields = {"action": "child_ended", "slot": slot, "pid": child.pid, "exit_code": code, "restart_s": wait_s}
        _log.warning("consumer ended", extra=fields)
        return self._after_failure(wait_s, code)

    def _after_failure(self, wait_s: float | None, code: int | None) -> float | None:
        """Seconds until the next attempt, None to wait for a reload or to end all."""
        if wait_s is not None or self._waits_for_reload:
            return wait_s
        if self._children:
            sentence = "a consumer cannot run: the others go on"
            _log.error(sentence, extra={"action": "child_given_up", "exit_code": code, "restart_s": TRY_AGAIN_S})
            return TRY_AGAIN_S
        self._end()
        if code == EXIT_USAGE:
            self.exit_code = EXIT_USAGE
            return None
        raise ConsumersKeepEndingError(
            f"a consumer process ended again and again (last exit code {code}): see its messages above"
        )

    async def _comes_up(self, child: Child, unless: asyncio.Event, *, timeout_s: float | None = None) -> bool:
        """Wait until it consumes (True), or ended, or `unless` is set, or it takes too long."""
        ready = asyncio.create_task(child.ready(), name=f"start of {child.pid}")
        ending = asyncio.create_task(unless.wait(), name="wait for the end")
        try:
            await asyncio.wait({ready, ending}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return ready.done() and ready.result()
        finally:
            ready.cancel()
            ending.cancel()

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
    await replaced.wait()
    child.drain()
