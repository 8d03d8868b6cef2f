"""Consumers are forked from a process that has the imports (`forking.py`): those are most of what a start costs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from eventbus.parent import PARENT_PID

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
_FORKING = "consumers.forking"


class ForkedProcess:
    """One that was forked; it is told to stop if whoever forked it ends."""

    def __init__(self, pid: int, told_fd: int) -> None:
        self.pid = pid
        self._told_fd = told_fd
        self._loop = asyncio.get_running_loop()
        self._code: asyncio.Future[int] = self._loop.create_future()
        self._has_ended = False
        self._pid_fd = -1
        try:
            self._pid_fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._has_ended = True
        except OSError as error:  # an old kernel, or no more files: its id has to do
            _log.debug("no pidfd", extra={"action": "no_pidfd", "pid": pid, "reason": str(error)})
        self._loop.add_reader(told_fd, self._on_told)

    def _on_told(self) -> None:
        self._loop.remove_reader(self._told_fd)
        told = os.read(self._told_fd, 16)
        os.close(self._told_fd)
        if told or self._pid_fd < 0:
            self._end(int(told or -signal.SIGHUP))
        else:  # whoever forked it is gone, and has told it to stop
            self._loop.add_reader(self._pid_fd, self._on_end_unseen)

    def _on_end_unseen(self) -> None:
        self._loop.remove_reader(self._pid_fd)
        self._end(-signal.SIGHUP)

    def _end(self, code: int) -> None:
        if self._pid_fd >= 0:
            os.close(self._pid_fd)
        self._code.set_result(code)

    async def wait(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        return await asyncio.shield(self._code)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self._code.done() or self._has_ended:  # another may have its id
            return
        with contextlib.suppress(ProcessLookupError):
            if self._pid_fd >= 0:
                signal.pidfd_send_signal(self._pid_fd, number)
            else:
                os.kill(self.pid, number)


class Preloaded:
    """Starts with the first `fork`, and again if it ended; `close` it when nothing that it forked runs any more."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def fork(self, ready_fd: int) -> ForkedProcess:
        """A new consumer; it has its own end of the pipe `ready_fd`. Raises OSError."""
        told_fd, child_fd = os.pipe()
        try:
            async with self._lock:
                pid = await self._fork(ready_fd, child_fd)
        except BaseException:
            os.close(told_fd)
            raise
        finally:
            os.close(child_fd)
        return ForkedProcess(pid, told_fd)

    async def _fork(self, *fds: int) -> int:
        answer = b""
        for _ in range(2):  # it may have ended since the last time
            running = self._start()
            asking = asyncio.ensure_future(asyncio.to_thread(self._ask, running, fds))
            try:
                answer = await asyncio.shield(asking)
            finally:
                await asyncio.wait([asking])  # it uses the pipes
            if answer:
                break
            await asyncio.to_thread(self.close)
        if not answer.isdigit():
            raise OSError(answer.decode(errors="replace") or "it ended: see its words above")
        return int(answer)

    def _start(self) -> socket.socket:
        """In the thread of the event loop: the kernel tells it to end when the thread ends that started it."""
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - ours
                    # -P: the current folder is the user's, nothing of ours is to be looked up there
                    [sys.executable, "-P", "-m", _FORKING, str(theirs.fileno())],
                    env={**self._environment, PARENT_PID: str(os.getpid())},
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # so that Ctrl-C reaches the supervisor only
                )
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        return self._socket

    def _ask(self, running: socket.socket, fds: tuple[int, ...]) -> bytes:
        """Its answer; nothing if it has ended. Raises OSError."""
        try:
            socket.send_fds(running, [b"fork"], list(fds))
            return running.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            return b""
        except TimeoutError:  # its late answer must not become that of the next request
            self.close()
            raise

    def close(self) -> None:
        """End it, and wait for that."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
