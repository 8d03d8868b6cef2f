"""One consumer process under a supervisor: both ends of what they tell each other.

The child writes to a pipe when it consumes, and is tied to its parent (`eventbus.parent`).
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from consumers.preloaded import ForkedProcess, Preloaded

READY_FD = "GW_CHILD_READY_FD"


class Child:
    """The parent's end."""

    def __init__(self, process: ForkedProcess, ready_fd: int) -> None:
        self._process = process
        self._ready_fd = ready_fd
        self._is_told = False
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        self._ready: asyncio.Future[bool] = loop.create_future()
        loop.add_reader(ready_fd, self._on_ready)

    @classmethod
    async def start(cls, preloaded: Preloaded) -> Self:
        """Fork one. Raises OSError."""
        ready_fd, child_fd = os.pipe()
        try:
            process = await preloaded.fork(child_fd)
        except BaseException:
            os.close(ready_fd)
            raise
        finally:
            os.close(child_fd)
        return cls(process, ready_fd)

    def _on_ready(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ready_fd)
        if not self._ready.done():
            self._ready.set_result(os.read(self._ready_fd, 1) != b"")
        os.close(self._ready_fd)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def ready(self) -> bool:
        """Wait until it consumes (True) or ended before (False)."""
        return await asyncio.shield(self._ready)

    async def wait(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        return await self._process.wait()

    def drain(self) -> None:
        """Tell it to stop, once: a second signal would force its end."""
        if not self._is_told:
            self._is_told = True
            self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        self._process.send_signal(number)


def take_ready_pipe() -> int | None:
    """The child's end: the pipe to give to `announce_ready`, hidden from the user's own child processes."""
    ready_fd = os.environ.pop(READY_FD, None)
    if ready_fd is None:
        return None
    os.set_inheritable(int(ready_fd), False)
    return int(ready_fd)


def announce_ready(ready_fd: int | None) -> None:
    """The child's end: tell the supervisor that this process consumes."""
    if ready_fd is not None:
        os.write(ready_fd, b"1")
        os.close(ready_fd)
