"""What arc and miru start as tasks belongs to the dispatch whose listener started it."""

from __future__ import annotations

import asyncio
from types import FunctionType

import pytest

from consumers.handling import CURRENT_HANDLING, Handling
from consumers.library_callbacks import count_library_callbacks
from tests.waiting import eventually


def of_miru(method: FunctionType) -> FunctionType:
    """The same, defined in a module of that library."""
    made = FunctionType(method.__code__, {**globals(), "__name__": "miru.view"}, method.__name__)
    made.__qualname__ = method.__qualname__
    return made


class Command:
    """Like a command of such a library."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.go_on = asyncio.Event()
        self.ended = False
        self.name = ""
        self.exits: list[SystemExit] = []
        self._error = error
        self.tasks: list[asyncio.Task[None]] = []

    async def invoke(self) -> None:
        """The listener: it does not await what it starts."""
        self.tasks = [asyncio.create_task(self._handle_callback()), asyncio.create_task(self._handle_timeout())]

    @of_miru
    async def _handle_callback(self) -> None:
        task = asyncio.current_task()
        self.name = task.get_name() if task is not None else ""
        await self.go_on.wait()
        if self._error is not None:
            raise self._error
        self.ended = True

    async def _handle_timeout(self) -> None:
        await asyncio.sleep(3600)


async def handled(command: Command) -> Handling:
    count_library_callbacks(asyncio.get_running_loop())
    count_library_callbacks(asyncio.get_running_loop())  # a bot that starts again in the same loop
    handling = Handling(command.exits.append)
    CURRENT_HANDLING.set(handling)
    await command.invoke()
    CURRENT_HANDLING.set(None)
    return handling


async def test_a_dispatch_has_ended_when_its_callback_has_and_does_not_wait_for_a_views_timeout() -> None:
    command = Command()
    handling = await handled(command)
    finishing = asyncio.create_task(handling.finish())
    await eventually(lambda: command.name)
    assert not finishing.done()
    command.go_on.set()
    await finishing
    assert command.ended
    assert command.name == "handler miru.view.Command._handle_callback"  # from its first step on
    assert not command.tasks[1].done()
    command.tasks[1].cancel()


async def test_a_callback_that_raises_is_a_listener_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    command = Command(ValueError("as told"))
    handling = await handled(command)
    command.go_on.set()
    await handling.finish()
    name = "miru.view.Command._handle_callback"
    assert handling.listener_failure == f"the listener {name} raised ValueError: as told"
    assert [record.__dict__["handler"] for record in caplog.records] == [name]
    command.tasks[1].cancel()


async def test_a_callback_whose_await_somebody_cancelled_has_failed() -> None:
    command = Command(asyncio.CancelledError())
    handling = await handled(command)
    command.go_on.set()
    await handling.finish()
    assert "cancelled" in str(handling.listener_failure)
    command.tasks[1].cancel()


async def test_a_callback_that_takes_too_long_is_cancelled() -> None:
    command = Command()
    handling = await handled(command)
    await handling.finish(timeout_s=0.01)
    assert handling.timed_out_count == 1
    assert command.tasks[0].cancelled()
    command.tasks[1].cancel()


async def test_a_callback_that_exits_ends_the_process_when_others_have_ended() -> None:
    command = Command(SystemExit(3))
    handling = await handled(command)
    command.go_on.set()
    await handling.finish()
    assert [request.code for request in command.exits] == [3]
    command.tasks[1].cancel()


async def _handle_callback() -> None:
    """The bot's own, which happens to have such a name."""
    await asyncio.sleep(3600)


async def test_what_the_bot_itself_starts_by_such_a_name_is_not_waited_for() -> None:
    count_library_callbacks(asyncio.get_running_loop())
    handling = Handling(lambda _: None)
    CURRENT_HANDLING.set(handling)
    task = asyncio.create_task(_handle_callback())
    CURRENT_HANDLING.set(None)
    await handling.finish()
    task.cancel()


async def test_outside_of_a_dispatch_nothing_is_counted() -> None:
    count_library_callbacks(asyncio.get_running_loop())
    command = Command()
    await command.invoke()
    command.go_on.set()
    await command.tasks[0]
    command.tasks[1].cancel()
