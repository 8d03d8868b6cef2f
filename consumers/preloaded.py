"""A process that has imported hikari and ours, and forks consumers: the imports are most of what a start costs.

`Preloaded` is the supervisor's end. The other one has one thread, no event loop and nothing of the user's: each
consumer imports the entrypoint itself, as it stands at that moment. The packages are those of the supervisor's start.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from eventbus.parent import PARENT_PID, tie_to_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READY_FD = "GW_CHILD_READY_FD"
ANSWER_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
_COMMAND = "gw-consume"
_MODULE = "consumers.cli"


class ForkedProcess:
    """One that was forked; it is told to stop if whoever forked it ends."""

    def __init__(self, pid: int, told_fd: int) -> None:
        self.pid = pid
        self._told_fd = told_fd
        self._loop = asyncio.get_running_loop()
        self._code: asyncio.Future[int] = self._loop.create_future()
        try:
            self._pid_fd = os.pidfd_open(pid)
        except OSError:  # it has ended already
            self._pid_fd = -1
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
        if not self._code.done():
            with contextlib.suppress(ProcessLookupError):
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
                forking = asyncio.ensure_future(asyncio.to_thread(self._fork, ready_fd, child_fd))
                try:
                    pid = await asyncio.shield(forking)
                finally:
                    await asyncio.wait([forking])  # it uses the pipes
        except BaseException:
            os.close(told_fd)
            raise
        finally:
            os.close(child_fd)
        return ForkedProcess(pid, told_fd)

    def _fork(self, *fds: int) -> int:
        try:
            answer = self._ask(fds)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:  # it ended since the last time
            self.close()
            answer = self._ask(fds)
        if not answer.isdigit():
            raise OSError(answer.decode(errors="replace") or "it ended: see its words above")
        return int(answer)

    def _ask(self, fds: tuple[int, ...]) -> bytes:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.settimeout(ANSWER_TIMEOUT_S)
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this module
                    # -P: the current folder is the user's, nothing of ours is to be looked up there
                    [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                    env={**self._environment, PARENT_PID: str(os.getpid())},
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # so that Ctrl-C reaches the supervisor only
                )
        socket.send_fds(self._socket, [b"fork"], list(fds))
        return self._socket.recv(1000)

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


class _Forking:
    """The other end."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._environment = dict(os.environ)
        self._pid = os.getpid()
        self._told_fds: dict[int, int] = {}
        signal.signal(signal.SIGCHLD, self._reap)

    def serve(self) -> Callable[[], None]:
        """Returns in a forked process only: what that is to do."""
        while True:
            content, fds, _, _ = socket.recv_fds(self._requests, 100, 2)
            if not content:
                sys.exit(0)  # what still runs is told to stop, by the kernel
            ready_fd, told_fd = fds
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            try:
                pid = os.fork()
            except OSError as error:
                os.close(told_fd)
                answer = str(error).encode()
            else:
                if pid == 0:
                    return self._become(ready_fd, told_fd)
                self._told_fds[pid] = told_fd
                answer = str(pid).encode()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            os.close(ready_fd)
            with contextlib.suppress(OSError):  # the next look at the socket sees that nobody is there
                self._requests.send(answer)

    def _become(self, ready_fd: int, told_fd: int) -> Callable[[], None]:
        self._requests.close()
        for fd in (*self._told_fds.values(), told_fd):
            os.close(fd)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        os.setsid()
        os.environ.clear()
        os.environ.update(self._environment, **{READY_FD: str(ready_fd), PARENT_PID: str(self._pid)})
        sys.argv = [_COMMAND]
        main: Callable[[], None] = importlib.import_module(_MODULE).main
        return main

    def _reap(self, *_: object) -> None:
        while self._told_fds:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # the next signal came between, and was faster
                return
            if pid == 0:
                return
            told_fd = self._told_fds.pop(pid)
            with contextlib.suppress(OSError):
                os.write(told_fd, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(told_fd)


def _serve() -> Callable[[], None]:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # its supervisor's business, also if all of a service are told
    tie_to_parent(_COMMAND)
    importlib.import_module(_MODULE)
    gc.collect()
    gc.freeze()  # what is shared with every consumer is not touched by its collector
    return _Forking(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    _serve()()
