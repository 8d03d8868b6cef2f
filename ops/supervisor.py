"""Child processes, kept running: restarted with back-off and a cap, their lines prefixed, drained in order.

A child that ends with exit code 2 has a configuration problem, which no restart mends: everything ends with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from eventbus.errors import EXIT_USAGE
from eventbus.parent import SUPERVISED
from ops import launch_child
from ops.errors import ChildFailedError, ChildRefusedError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
    from types import TracebackType

T = TypeVar("T")

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STABLE_S = 60.0
"""A child that ran for so long starts its back-off anew."""
MAX_RESTARTS = 8
"""In a row, without one run of STABLE_S."""
LINE_LIMIT = 1 << 20
EXIT_POLL_S = 0.1
LAST_LINES_S = 1.0


class ChildState(Enum):
    """Where a child is in its life."""

    RUNNING = "running"
    BACKING_OFF = "backing off"
    ENDED = "ended"


@dataclass(eq=False)
class Child:
    """One supervised process; `command` is the program and its arguments, never with a secret in it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    state: ChildState = ChildState.BACKING_OFF
    restart_count: int = 0
    process: Process | None = None
    exit_code: int | None = None
    """Of its last run."""
    first_line: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None


async def launch(child: Child) -> Process:
    """Start the child's command as a process that dies with us; its output, errors included, is one pipe."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-IS",
        launch_child.__file__,
        str(os.getpid()),
        *child.command,
        env={**child.environment, SUPERVISED: "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LINE_LIMIT,
        start_new_session=True,  # the terminal's Ctrl-C is ours alone: we drain in order
    )


class Supervisor:
    """`async with`; children are added, stopped and killed at will. `on_line(name, line)` gets all their output.

    Leaving the block stops what still runs. A child that cannot be kept running ends `run()`, and the block, with
    ChildRefusedError or ChildFailedError.
    """

    def __init__(
        self,
        on_line: Callable[[str, str], None],
        on_event: Callable[[str], None],
        launch: Callable[[Child], Awaitable[Process]] = launch,
    ) -> None:
        self._launch = launch
        self._on_line = on_line
        self._on_event = on_event
        self._group = asyncio.TaskGroup()
        self._failure: ChildRefusedError | ChildFailedError | None = None
        self._failed = asyncio.Event()
        self.children: list[Child] = []

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop(list(self.children))
        await self._group.__aexit__(kind, error, traceback)
        if error is None:
            self._raise_failure()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled if a child cannot be kept running."""
        working = asyncio.create_task(work, name="work")
        failing = asyncio.create_task(self._failed.wait(), name="failure of a child")
        try:
            await asyncio.wait([working, failing], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                await asyncio.wait([working])
                self._raise_failure()
            return working.result()
        finally:
            working.cancel()
            failing.cancel()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, failure: ChildRefusedError | ChildFailedError) -> None:
        self._failure = self._failure or failure
        self._failed.set()

    def add(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a child and keep it running."""
        child = Child(name, command, environment)
        self.children.append(child)
        self._group.create_task(self._keep(child), name=f"child {name}")
        return child

    async def stop(self, children: Iterable[Child], *, timeout_s: float = 30.0) -> None:
        """SIGTERM all of `children`, wait for their end, SIGKILL what takes longer than `timeout_s`."""
        chosen = [child for child in children if not child.ended.is_set()]
        for child in chosen:
            child.stopping.set()
            send_signal(child, signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                for child in chosen:
                    await child.ended.wait()
        except TimeoutError:
            for child in chosen:
                send_signal(child, signal.SIGKILL)
        for child in chosen:
            await child.ended.wait()

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        backoff_s, restarts_in_a_row = FIRST_BACKOFF_S, 0
        try:
            while not child.stopping.is_set():
                started_at = loop.time()
                code = child.exit_code = await self._run(child)
                if child.stopping.is_set():
                    return
                if code == 0:
                    self._on_event(f"{child.name} ended by itself, as it was told to (exit code 0)")
                    return
                if code == EXIT_USAGE:
                    self._fail(ChildRefusedError(child.name, list(child.last_lines)))
                    return
                if loop.time() - started_at > STABLE_S:
                    backoff_s, restarts_in_a_row = FIRST_BACKOFF_S, 0
                restarts_in_a_row += 1
                if restarts_in_a_row > MAX_RESTARTS:
                    self._fail(ChildFailedError(child.name, code, list(child.last_lines)))
                    return
                self._on_event(f"{child.name} ended with {describe_exit(code)}; started again in {backoff_s:g} s")
                child.state = ChildState.BACKING_OFF
                await _wait(child.stopping, backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
                child.restart_count += 1
        finally:
            child.state = ChildState.ENDED
            child.ended.set()
            if not child.first_line.done():
                child.first_line.cancel()

    async def _run(self, child: Child) -> int:
        process = await self._launch(child)
        child.process = process
        child.state = ChildState.RUNNING
        if child.stopping.is_set():
            send_signal(child, signal.SIGTERM)
        try:
            return await self._until_ended(child, process)
        except asyncio.CancelledError:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise

    async def _until_ended(self, child: Child, process: Process) -> int:
        """Copy lines until the process ends; one that it started itself may hold the pipe for longer."""
        copying = asyncio.create_task(self._copy_lines(child, process), name=f"lines of {child.name}")
        try:
            while process.returncode is None and not copying.done():
                await asyncio.wait([copying], timeout=EXIT_POLL_S)
            if process.returncode is None:
                return await process.wait()
            await asyncio.wait([copying], timeout=LAST_LINES_S)
            return process.returncode
        finally:
            copying.cancel()

    async def _copy_lines(self, child: Child, process: Process) -> None:
        if process.stdout is None:
            return
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:
                continue  # a line beyond LINE_LIMIT: asyncio dropped it
            if not raw:
                return
            line = raw.decode(errors="replace").rstrip()
            child.last_lines.append(line)
            if not child.first_line.done():
                child.first_line.set_result(line)
            self._on_line(child.name, line)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


def send_signal(child: Child, number: signal.Signals) -> None:
    """Send a signal to a child; one that has ended is no error."""
    if child.process is not None and child.process.returncode is None:
        child.process.send_signal(number)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
