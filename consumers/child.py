"""One consumer process under a supervisor: both ends of what they tell each other.

The child writes to a pipe when it consumes, and is tied to its parent (`eventbus.parent`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Self

from eventbus.parent import PARENT_PID

if TYPE_CHECKING:
    import signal
    from asyncio.subprocess import Process
    from collections.abc import Mapping

_READY_FD = "GW_CHILD_READY_FD"


class Child:
    """The parent's end."""

    def __init__(self, process: Process, ready_fd: int) -> None:
        self._process = process
        self._ready_fd = ready_fd
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        self._ready: asyncio.Future[bool] = loop.create_future()
        loop.add_reader(ready_fd, self._on_ready)

    @classmethod
    async def start(cls, environment: Mapping[str, str]) -> Self:
        """Start `gw-consume` with `environment`; in a session of its own, so that Ctrl-C reaches the parent only."""
        ready_fd, child_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the current folder is the user's: nothing of ours is to be looked up there
                "-m",
                "consumers.cli",
                env={**environment, _READY_FD: str(child_fd), PARENT_PID: str(os.getpid())},
                pass_fds=(child_fd,),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
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

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def take_ready_pipe() -> int | None:
    """The child's end: the pipe to give to `announce_ready`, hidden from the user's own child processes."""
    ready_fd = os.environ.pop(_READY_FD, None)
    if ready_fd is None:
        return None
    os.set_inheritable(int(ready_fd), False)
    return int(ready_fd)


def announce_ready(ready_fd: int | None) -> None:
    """The child's end: tell the supervisor that this process consumes."""
    if ready_fd is not None:
        os.write(ready_fd, b"1")
        os.close(ready_fd)
