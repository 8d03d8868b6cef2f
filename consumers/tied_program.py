"""One of our commands as a child of a script: told to stop, waited for, and gone if the script is killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from consumers.errors import FleetEndedError
from eventbus.errors import ConfigurationError
from eventbus.parent import PARENT_PID

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping, Sequence

KILL_AFTER_S = 3800.0  # longer than gw-run gives all its parts together, with the longest --drain-timeout


class TiedProgram:
    """The command `name` of the Python environment that runs us."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = name
        self._command = [_program(name), *arguments]
        self._environment = environment
        self._process: Process | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """Its process id while it runs."""
        return (self._process.pid,) if self._process and self._process.returncode is None else ()

    async def run(self, stop: asyncio.Event) -> None:
        """Until it ends, or until `stop` and its drain. Raises FleetEndedError for an exit code that is not 0."""
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**self._environment, PARENT_PID: str(os.getpid())},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the script's, which passes it on
        )
        ended = asyncio.create_task(process.wait(), name=f"end of {self._name}")
        stopping = asyncio.create_task(stop.wait(), name="wait for the stop")
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.send_signal(signal.SIGTERM)
                await asyncio.wait({ended}, timeout=KILL_AFTER_S)
        finally:
            stopping.cancel()
            if process.returncode is None:
                process.kill()
            code = await ended
        if code != 0:
            raise FleetEndedError(self._name, code)


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigurationError(f"the command {name} is not installed: run pip install hikari-relay")
    return found
