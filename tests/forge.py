"""Starts the project's commands from a process that has imported them already, by fork.

Importing hikari and the rest is most of what a start costs (2 s of CPU for `gw-consume`), and the tests start hundreds.
What is forked is a process like any other, with arguments, environment and signals of its own. The tests of `gw-run`,
of the demo and of chaos start the commands as users do.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ops import supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ops.supervisor import Child

COMMANDS = Path(sys.executable).parent
MODULES = {
    "gw-consume": "consumers.cli",
    "gw-coordinator": "coordinator.cli",
    "gw-worker": "gateway_workers.cli",
    "gw-ctl": "ops.ctl_cli",
    "gw-sim": "gateway_sim.cli",
}
MAX_REQUEST_BYTES = 200_000
POLL_S = 0.02


class ForgedProcess:
    """What `subprocess.Popen` is to a program, as far as the tests need it."""

    def __init__(self, pid: int, ending: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ending = ending
        """A pipe that tells the exit code, as `returncode` gives it."""

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._ending], [], [], 0)[0]:
            self._read()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                assert timeout is not None
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self._read()
        assert self.returncode is not None
        return self.returncode

    def _read(self) -> None:
        self.returncode = int(os.read(self._ending, 16) or b"-9")  # nothing: the forge itself was killed
        os.close(self._ending)

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forge:
    """The process that forks; it and all that it forked end with us."""

    _shared: Forge | None = None

    @classmethod
    def shared(cls) -> Forge:
        """One for each process of pytest."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        command = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()

    def start(
        self, command: str, arguments: Sequence[str], environment: Mapping[str, str], *, out: int, err: int
    ) -> ForgedProcess:
        """`command` is one of MODULES; its standard output and error go to the files `out` and `err`."""
        ending, told = os.pipe()
        request = {"command": command, "arguments": list(arguments), "environment": dict(environment)}
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [out, err, told])
            os.close(told)
            answer = self._socket.recv(32)
        if not answer:
            raise RuntimeError("the forge has ended: see its words above")
        return ForgedProcess(int(answer), ending)


class ForgedChild:
    """What `asyncio.subprocess.Process` is to a program, as far as `ops.supervisor` needs it."""

    def __init__(self, process: ForgedProcess, stdout: asyncio.StreamReader) -> None:
        self._process = process
        self.pid = process.pid
        self.stdout = stdout
        self.send_signal = process.send_signal
        self.kill = process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def wait(self) -> int:
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a process
            await asyncio.sleep(POLL_S)
        return code


async def launch(child: Child) -> Any:
    """For `ops.supervisor`: as its own `launch`."""
    program, *arguments = child.command
    ours, theirs = os.pipe()
    process = Forge.shared().start(Path(program).name, arguments, child.environment, out=theirs, err=theirs)
    os.close(theirs)
    stdout = asyncio.StreamReader(limit=supervisor.LINE_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(ours, "rb"))
    return ForgedChild(process, stdout)


class _Smith:
    """The other end."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._endings: dict[int, int] = {}
        for module in MODULES.values():
            importlib.import_module(module)
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, self._reap)

    def serve(self) -> Callable[[], None]:
        """Never returns but in a forked process: what that is to do."""
        while True:
            content, fds, _, _ = socket.recv_fds(self._requests, MAX_REQUEST_BYTES, 3)
            if not content:
                self._end()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            pid = os.fork()
            if pid == 0:
                return self._become(json.loads(content), *fds)
            self._endings[pid] = fds[2]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            os.close(fds[0])
            os.close(fds[1])
            self._requests.send(str(pid).encode())

    def _become(self, request: dict[str, Any], out: int, err: int, told: int) -> Callable[[], None]:
        self._requests.close()
        for ending in (*self._endings.values(), told):
            os.close(ending)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(source, target)
            os.close(source)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = [str(COMMANDS / request["command"]), *request["arguments"]]
        main: Callable[[], None] = importlib.import_module(MODULES[request["command"]]).main
        return main

    def _reap(self, *_: object) -> None:
        while self._endings:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # the next signal came between waitpid and pop: all are reaped
                return
            if pid == 0:
                return
            ending = self._endings.pop(pid)
            os.write(ending, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(ending)

    def _end(self) -> NoReturn:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for pid in self._endings:
            os.kill(pid, signal.SIGKILL)
        sys.exit(0)


if __name__ == "__main__":
    sys.path[0] = str(COMMANDS)  # as the commands have it
    _Smith(socket.socket(fileno=int(sys.argv[1]))).serve()()
