"""The conveniences for events do what they do in hikari's GatewayBot: each test runs with both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import hikari
import pytest

from consumers import Bot
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.bot-token"

AnyBot = hikari.GatewayBot | Bot


class Base(hikari.Event):
    """An event of the user's own."""

    def __init__(self, app: AnyBot, number: int = 0) -> None:
        self._app = app
        self.number = number

    @property
    def app(self) -> AnyBot:
        return self._app


class Derived(Base):
    """A more special one."""


@pytest.fixture(params=["hikari.GatewayBot", "consumers.Bot"])
def bot(request: pytest.FixtureRequest) -> AnyBot:
    if request.param == "consumers.Bot":
        return Bot("amqp://127.0.0.1/", TOKEN)
    return hikari.GatewayBot(TOKEN, banner=None, logs=None, suppress_optimization_warning=True)


@pytest.fixture
def seen() -> list[Any]:
    return []


def listener(seen: list[Any]) -> Callable[[Any], Any]:
    async def on_event(event: Any) -> None:
        seen.append(event)

    return on_event


async def test_a_dispatched_event_reaches_listeners_of_its_type_and_of_its_bases(bot: AnyBot, seen: list[Any]) -> None:
    bot.subscribe(Base, listener(seen))
    bot.subscribe(Derived, listener(seen))
    both, one = Derived(bot), Base(bot)
    await bot.dispatch(both, return_tasks=True)
    await bot.dispatch(one, return_tasks=True)
    assert seen == [both, both, one]


async def test_without_tasks_the_listeners_run_by_themselves(bot: AnyBot, seen: list[Any]) -> None:
    bot.subscribe(Base, listener(seen))
    assert bot.dispatch(Base(bot)) is None
    await eventually(lambda: seen)


async def test_listen_takes_the_event_from_its_arguments_or_the_annotation(bot: AnyBot, seen: list[Any]) -> None:
    @bot.listen()
    async def by_annotation(event: hikari.StartedEvent) -> None:
        seen.append(event)

    @bot.listen(Base, hikari.StoppedEvent)
    async def by_arguments(event: Any) -> None:
        seen.append(event)

    assert list(bot.get_listeners(hikari.StartedEvent)) == [by_annotation]
    assert list(bot.get_listeners(Base)) == list(bot.get_listeners(hikari.StoppedEvent)) == [by_arguments]


@pytest.mark.parametrize("wrong", [lambda _: None, 1])
def test_what_is_no_coroutine_function_is_no_listener(bot: AnyBot, wrong: Any) -> None:
    with pytest.raises(TypeError):
        bot.subscribe(Base, wrong)
    with pytest.raises(TypeError):
        bot.subscribe(int, listener([]))


def test_get_listeners_counts_those_of_bases_only_if_polymorphic(bot: AnyBot) -> None:
    base, derived = listener([]), listener([])
    bot.subscribe(Base, base)
    bot.subscribe(Derived, derived)
    assert set(bot.get_listeners(Derived)) == {base, derived}
    assert list(bot.get_listeners(Derived, polymorphic=False)) == [derived]
    assert list(bot.get_listeners(Base)) == [base]


async def test_unsubscribe_takes_a_listener_away(bot: AnyBot, seen: list[Any]) -> None:
    on_event = listener(seen)
    bot.subscribe(Base, on_event)
    bot.unsubscribe(Base, on_event)
    await bot.dispatch(Base(bot), return_tasks=True)
    assert seen == []
    assert list(bot.get_listeners(Base)) == []


async def test_a_stream_filters_and_limits(bot: AnyBot) -> None:
    with bot.event_manager.stream(Base, timeout=1).filter(lambda event: event.number % 2 == 1) as stream:
        for number in range(6):
            await bot.dispatch(Base(bot, number), return_tasks=True)
        assert [event.number async for event in stream.limit(2)] == [1, 3]


async def test_the_limit_of_a_stream_bounds_what_waits_in_it(bot: AnyBot) -> None:
    with bot.event_manager.stream(Base, timeout=0.01, limit=2) as stream:
        for number in range(6):
            await bot.dispatch(Base(bot, number), return_tasks=True)
        assert [event.number async for event in stream] == [0, 1]
    assert list(bot.get_listeners(Base)) == []


async def test_a_stream_that_is_not_open_cannot_be_read(bot: AnyBot) -> None:
    with pytest.raises(TypeError):
        await anext(bot.event_manager.stream(Base, timeout=1))


async def test_wait_for_takes_the_first_event_that_fits(bot: AnyBot) -> None:
    waiting = asyncio.create_task(
        bot.event_manager.wait_for(Base, timeout=10, predicate=lambda event: event.number == 2)
    )
    await asyncio.sleep(0)
    for number in range(4):
        await bot.dispatch(Base(bot, number), return_tasks=True)
    assert (await waiting).number == 2


async def test_wait_for_gives_up_in_time_and_hands_on_what_the_predicate_raises(bot: AnyBot) -> None:
    with pytest.raises(TimeoutError):
        await bot.event_manager.wait_for(Base, timeout=0.01)

    def broken(_: Base) -> bool:
        raise LookupError("as told")

    waiting = asyncio.create_task(bot.event_manager.wait_for(Base, timeout=10, predicate=broken))
    await asyncio.sleep(0)
    await bot.dispatch(Base(bot), return_tasks=True)
    with pytest.raises(LookupError, match="as told"):
        await waiting


async def test_what_a_listener_raises_comes_as_an_exception_event(bot: AnyBot, seen: list[Any]) -> None:
    async def broken(_: Base) -> None:
        raise LookupError("as told")

    bot.subscribe(Base, broken)
    bot.subscribe(hikari.ExceptionEvent, listener(seen))
    event = Base(bot)
    await bot.dispatch(event, return_tasks=True)
    await eventually(lambda: seen)
    assert isinstance(seen[0].exception, LookupError)
    assert seen[0].failed_event is event
    assert seen[0].failed_callback is broken


async def test_a_bot_that_does_not_run_refuses_what_needs_it(bot: AnyBot) -> None:
    for call in (
        bot.close,
        bot.join,
        lambda: bot.update_presence(status=hikari.Status.IDLE),
        lambda: bot.update_voice_state(1, None),
        lambda: bot.request_guild_members(1),
        lambda: bot.wait_for(Base, timeout=1),
    ):
        with pytest.raises(hikari.ComponentStateConflictError):
            await call()
    with pytest.raises(hikari.ComponentStateConflictError):
        bot.stream(Base, timeout=1)


@pytest.mark.filterwarnings("default")
async def test_a_streaming_activity_without_a_url_is_warned_of() -> None:
    activity = hikari.Activity(name="chess", type=hikari.ActivityType.STREAMING)
    bot = Bot("amqp://127.0.0.1/", TOKEN)
    with pytest.warns(hikari.HikariWarning, match="STREAMING"), pytest.raises(hikari.ComponentStateConflictError):
        await bot.update_presence(activity=activity)
