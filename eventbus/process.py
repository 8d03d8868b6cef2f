"""The life of a process: start, work until the first signal, drain; a second signal forces the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from eventbus import logs
from eventbus.errors import EXIT_INTERRUPTED, ConfigurationError, RelayError
from eventbus.parent import take_supervision
from eventbus.proxies import proxy_passwords

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from eventbus.settings import Settings

_log = logging.getLogger(__name__)

T = TypeVar("T")

CANCEL_AGAIN_S = 0.5


def run_process(name: str, settings: Settings, main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(stop)` until it returns; `stop` is set by the first SIGTERM or SIGINT, the second one kills.

    As `run_main`, with logs as `settings` say.
    """
    configure_logs(settings)
    run_main(name, main)


def configure_logs(settings: Settings, *, level: str | int | None = None) -> None:
    """Logs as `settings` say, the level given or not, and the settings' secrets hidden."""
    logs.configure(settings.log_level if level is None else level, settings.log_format, secrets=_secrets(settings))


def run_main(name: str, main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(stop)` until it returns; `stop` is set by the first SIGTERM or SIGINT, the second one kills.

    Ends the process with the error's exit code and one sentence for each of its problems, if `main` raises a
    RelayError.
    """
    with exit_on_errors(name):
        gc.freeze()  # modules are no garbage: a full collection that looks at them all stops the event loop
        asyncio.run(_with_signals(main))


@contextlib.contextmanager
def exit_on_errors(name: str) -> Iterator[None]:
    """End the process with the error's exit code, and one sentence for each problem, if a RelayError comes out."""
    try:
        yield
    except* RelayError as group:
        errors = list(_leaves(group))
        for error in errors:
            problems = error.problems if isinstance(error, ConfigurationError) else [str(error)]
            for problem in problems:
                sys.stderr.write(f"{name}: {problem}\n")
        sys.exit(max(error.exit_code for error in errors))


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None, with `work` cancelled, if `stop` is set first."""
    working = asyncio.create_task(work, name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        await end_tasks([working])


def end_if_stopped(stop: asyncio.Event) -> None:
    """Raises SystemExit, with the exit code of an interrupted command, if `stop` is set."""
    if stop.is_set():
        raise SystemExit(EXIT_INTERRUPTED)


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended: `wait_for` of Python 3.11 loses a cancellation that comes as it ends."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)


def _leaves(group: BaseExceptionGroup[RelayError]) -> list[RelayError]:
    found: dict[str, RelayError] = {}
    for error in group.exceptions:
        for leaf in _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]:
            found.setdefault(str(leaf), leaf)
    return list(found.values())


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    is_supervised = take_supervision()

    def on_signal(number: signal.Signals) -> None:
        if number is signal.SIGTERM and is_supervised and stop.is_set():
            return  # a supervisor and a service manager both send it
        take_signal(number, stop)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await main(stop)


def take_signal(number: signal.Signals, stop: asyncio.Event) -> None:
    """Set `stop`, or leave at once if it is set."""
    if stop.is_set():
        _log.warning("second signal: leaving at once", extra={"action": "forced"})
        os._exit(128 + number)
    _log.info("signal: draining", extra={"action": "drain", "signal": number.name})
    stop.set()


def _secrets(settings: Settings) -> tuple[str, ...]:
    password = urlsplit(settings.amqp_url.get_secret_value()).password or ""
    secrets = [password, unquote(password)]
    token = getattr(settings, "token", None)
    if token is not None:
        secrets.append(token.get_secret_value())
    return (*secrets, *proxy_passwords())
