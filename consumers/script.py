"""`Bot.run()`: a bot's life in a script of one's own, on the loop that the script has, as hikari's GatewayBot does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, TypedDict

import hikari

from consumers.serve import serve
from eventbus.process import exit_on_errors, take_signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.bot import Bot
    from consumers.start_request import StartOptions

_log = logging.getLogger(__name__)

INSIDE_A_LOOP = (
    "bot.run() was called inside a running event loop: await bot.start() and bot.join() there;"
    " in a module that gw-consume imports, put it below if __name__ == '__main__'"
)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class LoopOptions(TypedDict):
    """hikari's arguments of `run()` that concern the process, not the bot."""

    asyncio_debug: bool | None
    close_loop: bool
    close_passed_executor: bool
    coroutine_tracking_depth: int | None
    enable_signal_handlers: bool | None
    propagate_interrupts: bool


def run(bot: Bot, start: StartOptions, options: LoopOptions) -> None:
    """Run until a signal, or until the bot closes; SystemExit with sentences on standard error for a RelayError.

    Raises HikariInterrupt if a signal ended it and `propagate_interrupts` is set.
    """
    loop = _usable_loop()
    if options["asyncio_debug"]:
        loop.set_debug(True)
    if options["coroutine_tracking_depth"] is not None:
        sys.set_coroutine_origin_tracking_depth(options["coroutine_tracking_depth"])
    stop, caught = asyncio.Event(), list[signal.Signals]()
    try:
        with exit_on_errors("bot"), _signals(loop, stop, caught, enabled=options["enable_signal_handlers"]):
            _live(loop, bot, stop, start)
    finally:
        if options["close_passed_executor"] and bot.executor is not None:
            bot.executor.shutdown(wait=True)
        if options["close_loop"]:
            _close(loop)
    if caught and options["propagate_interrupts"]:
        raise hikari.HikariInterrupt(caught[0], signal.strsignal(caught[0]) or caught[0].name)


def _live(loop: asyncio.AbstractEventLoop, bot: Bot, stop: asyncio.Event, start: StartOptions) -> None:
    try:
        loop.run_until_complete(serve(bot, stop, **start))
    finally:
        if bot.is_alive:  # a KeyboardInterrupt without signal handlers
            loop.run_until_complete(bot.close())


def _usable_loop() -> asyncio.AbstractEventLoop:
    if _is_inside_a_loop():
        raise RuntimeError(INSIDE_A_LOOP)
    with contextlib.suppress(RuntimeError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of making a loop, on some versions of Python
        loop = asyncio.get_event_loop()
        if not loop.is_closed():
            return loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _is_inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, caught: list[signal.Signals], *, enabled: bool | None
) -> Iterator[None]:
    """The first signal sets `stop`, the second one ends the process at once; afterwards all is as it was."""
    if enabled is None:
        enabled = threading.current_thread() is threading.main_thread()
    if not enabled:
        yield
        return

    def on_signal(number: signal.Signals) -> None:
        take_signal(number, stop)
        caught.append(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _log.warning("tasks still ran: cancelled", extra={"action": "tasks_cancelled", "count": len(tasks)})
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
