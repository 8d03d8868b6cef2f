"""Who in this process waits for events: `wait_for`, streams, voice connections, requests for members.

They get what the whole fleet receives, over a queue of the process's own, and each dispatch once, whichever way it
comes: the group's queue brings it to one process only, for the listeners.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

from hikari import events

from consumers.errors import MalformedDispatchError
from consumers.event_types import wanted_types
from consumers.frame_reader import FrameReader
from consumers.recent_keys import RecentKeys
from consumers.type_demand import TypeDemand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hikari.api import EntityFactory, EventFactory, GatewayShard
    from hikari.api.event_manager import CallbackT, PredicateT

    from consumers.frame import Frame


E = TypeVar("E", bound=events.Event)

SIGHTED_COUNT = 50_000
MAX_KEPT = 1000


class Binder(Protocol):
    """Whoever has copies of dispatches brought to this process."""

    def request_sync(self) -> None:
        """What is wanted changed: bind and unbind soon."""

    async def sync(self) -> None:
        """Return when all that is wanted is bound. Raises BrokerLostError."""


class Waiter:
    """One who hears an event as it is dispatched, before anything else runs."""

    def __init__(self, hear: Callable[[Any], None]) -> None:
        self.hear = hear

    async def __call__(self, event: events.Event) -> None:
        """What hikari wants a listener to look like."""
        self.hear(event)


class Waiters(FrameReader):
    """The waiters, kept as hikari keeps listeners. They have no cache: what changes it comes by the group's queue.

    `start(callback, event)` runs a callback that is no Waiter in a task. `binder` is there while the bot runs.
    """

    def __init__(
        self,
        entity_factory: EntityFactory,
        event_factory: EventFactory,
        *,
        start: Callable[[CallbackT[Any], events.Event], asyncio.Task[None]],
    ) -> None:
        super().__init__(entity_factory, event_factory)
        self._start = start
        self._sighted = RecentKeys(SIGHTED_COUNT)
        self._types: dict[type[Any], frozenset[str]] = {}
        self._watched: set[str] = set()
        self.demand = TypeDemand()
        self.binder: Binder | None = None

    # Who waits

    def subscribe(self, event_type: type[Any], callback: CallbackT[Any], **nested: Any) -> None:  # noqa: ANN401
        """As in hikari; copies of the event's dispatches come to the process as long, and for a while after."""
        super().subscribe(event_type, callback, **nested)
        self.demand.add(self._types_of(event_type))
        self._watched |= self._types_of(event_type)
        self._request_sync()

    def unsubscribe(self, event_type: type[Any], callback: CallbackT[Any]) -> None:
        """As in hikari."""
        is_known = callback in self.get_listeners(event_type, polymorphic=False)
        super().unsubscribe(event_type, callback)
        if is_known:
            self.demand.remove(self._types_of(event_type), time.monotonic())
            self._request_sync()

    def _types_of(self, event_type: type[Any]) -> frozenset[str]:
        if event_type not in self._types:
            self._types[event_type] = types_of(event_type)
        return self._types[event_type]

    def _request_sync(self) -> None:
        if self.binder is not None:
            self.binder.request_sync()

    async def are_bound(self) -> None:
        """Return when copies of all that is waited for come to this process. Raises BrokerLostError."""
        if self.binder is not None:
            await self.binder.sync()

    @contextmanager
    def hearing(self, event_type: type[E], hear: Callable[[E], None]) -> Iterator[None]:
        """Have `hear(event)` called for each event meanwhile."""
        waiter = Waiter(hear)
        self.subscribe(event_type, waiter)
        try:
            yield
        finally:
            self.unsubscribe(event_type, waiter)

    @contextmanager
    def remembering(self, event_type: type[E], predicate: Callable[[E], bool]) -> Iterator[None]:
        """A `wait_for` that is called within also takes an event that came since the beginning."""
        kept: list[events.Event] = []

        def hear(event: E) -> None:
            if len(kept) < MAX_KEPT and predicate(event):
                kept.append(event)

        with self.hearing(event_type, hear):
            before = _KEPT.set(kept)
            try:
                yield
            finally:
                _KEPT.reset(before)

    async def wait_for(
        self, event_type: type[E], /, timeout: float | None, predicate: PredicateT[E] | None = None
    ) -> E:
        """As in hikari."""
        future: asyncio.Future[E] = asyncio.get_running_loop().create_future()

        def hear(event: E) -> None:
            if future.done():
                return
            try:
                if predicate is None or predicate(event):
                    future.set_result(event)
            except Exception as error:  # noqa: BLE001 - the predicate is the waiter's: so is its error
                future.set_exception(error)

        with self.hearing(event_type, hear):
            for event in _KEPT.get():
                if isinstance(event, event_type):
                    hear(event)
            return await asyncio.wait_for(future, timeout)

    # What they hear of

    def see(self, frame: Frame, shard: GatewayShard, made: events.Event | None = None) -> None:
        """A dispatch came, by either way; the waiters hear of it at the first sight.

        So who begins to wait while a dispatch is handled never hears of that one, nor of what is handled again.
        """
        dispatch = frame.dispatch
        if dispatch.type not in self._watched or dispatch.message_id in self._sighted:
            return
        is_news = dispatch.attempt == 1 and not dispatch.redelivered and not frame.sent_again
        is_needed = self.demand.is_needed(dispatch.type)
        if is_news or not is_needed:  # else its own copy is still to come, and is news
            self._sighted.add(dispatch.message_id)
        if is_news and is_needed:
            try:
                self.read(frame, shard, made)
            except MalformedDispatchError as error:
                self.note_unreadable(dispatch.type, error)

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: Literal[False] = False) -> None: ...

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: Literal[True] = True) -> asyncio.Future[Any]: ...

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None: ...

    def dispatch(self, event: events.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None:
        """Tell the waiters alone."""
        tasks = self.tell(event)
        return asyncio.gather(*tasks) if return_tasks else None

    def tell(self, event: events.Event) -> list[asyncio.Task[None]]:
        """Tell the waiters; the tasks of those that take their time."""
        tasks = []
        for callback in self.get_listeners(type(event)):
            if isinstance(callback, Waiter):
                callback.hear(event)
            else:
                tasks.append(self._start(callback, event))
        return tasks


_KEPT: ContextVar[list[events.Event]] = ContextVar("consumers.kept_events", default=[])  # noqa: B039 - never changed


def types_of(event_type: type[Any]) -> frozenset[str]:
    """The gateway event types that make an event class, or one derived from it; none for a custom event."""
    return wanted_types(lambda cls: event_type in cls.dispatches())
