"""The process that has imported hikari and ours, and forks consumers: `preloaded.py` asks it to.

It has one thread, no event loop and nothing of the user's: each consumer imports the entrypoint itself, as it stands
at that moment. The packages are those of the moment when this process was started.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from consumers.child import READY_FD
from eventbus.parent import PARENT_PID, tie_to_parent

if TYPE_CHECKING:
    from collections.abc import Callable

_COMMAND = "gw-consume"
_MODULE = "consumers.cli"
_PINS = "consumers.library_pins"

_HELD = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
"""Held back during a fork: this process ignores them, and a child that is told to stop at once must not."""


class _Forking:
    """Forks what it is asked for, and tells of each end."""

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
            signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
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
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
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
    importlib.import_module(_PINS).unmet_pins_here()  # each consumer asks for it
    gc.collect()
    gc.freeze()  # what is shared with every consumer is not touched by its collector
    return _Forking(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    _serve()()
