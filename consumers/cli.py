"""`gw-consume`: runs the user's handlers, in one process or several."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING

from consumers.bot import Bot
from consumers.child import announce_ready, take_ready_pipe
from consumers.entrypoint import call_entrypoint, load_entrypoint
from consumers.reload import reload_on_change
from consumers.serve import serve
from consumers.settings import ConsumerSettings
from consumers.supervisor import Supervisor
from eventbus.parent import PARENT_GONE, tie_to_parent
from eventbus.process import run_process
from eventbus.settings import command, run_command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

NAME = "gw-consume"
REPLACE = signal.SIGUSR1
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"  # Python takes a file of the same size and second for unchanged


def main() -> None:
    """Entry point of the command."""
    run_command(command(ConsumerSettings, run), name=NAME)


def run(settings: ConsumerSettings) -> None:
    """Run the handlers of a consumer group."""
    if settings.processes == 1 and not settings.reload:
        is_child = tie_to_parent(NAME)
        run_process(NAME, settings, _consume(settings, take_ready_pipe(), is_child=is_child))
        return
    supervisor = _Supervised(settings)
    run_process(NAME, settings, supervisor)
    sys.exit(supervisor.exit_code)


def _consume(
    settings: ConsumerSettings, ready_pipe: int | None, *, is_child: bool
) -> Callable[[asyncio.Event], Awaitable[None]]:
    async def consume(stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        if is_child:  # else the signal is the terminal's, and nohup's business
            loop.add_signal_handler(PARENT_GONE, stop.set)
            signal.signal(REPLACE, signal.SIG_IGN)
        else:
            sentence = "SIGUSR1 is for a supervisor: start with --processes 2 or more"
            loop.add_signal_handler(REPLACE, _log.warning, sentence)
        function = load_entrypoint(settings.entrypoint, settings.entrypoint_dir)
        bot = Bot.from_settings(settings)
        await call_entrypoint(function, bot, settings.entrypoint, settings.entrypoint_dir)
        await serve(bot, stop, on_ready=lambda: announce_ready(ready_pipe))

    return consume


class _Supervised:
    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self.exit_code = 0

    async def __call__(self, stop: asyncio.Event) -> None:
        settings = self._settings
        supervisor = Supervisor(
            settings.processes,
            settings.environment(processes=1, reload=False) | ({_NO_BYTECODE: "1"} if settings.reload else {}),
            drain_timeout_s=settings.drain_timeout_s,
            waits_for_reload=settings.reload,
        )
        watching = None
        if settings.reload:
            watch = reload_on_change(settings.entrypoint_dir, supervisor.reload)
            watching = asyncio.create_task(watch, name="watch for changes")
        asyncio.get_running_loop().add_signal_handler(REPLACE, supervisor.replace)
        try:
            await supervisor.run(stop)
        finally:
            if watching is not None:
                watching.cancel()
        self.exit_code = supervisor.exit_code


if __name__ == "__main__":
    main()
