"""hikari's event manager, so that one knows when a dispatch's handlers ended, and whether it could be read at all.

Built on hikari's public parts only: `dispatch`, `get_listeners`, `subscribe`, and the documented `on_xxx` methods,
one for each gateway event type.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import hikari
from hikari import events, impl
from hikari.api import CacheComponents
from hikari.events import base_events
from hikari.impl import event_manager_base

from consumers.dispatch import CURRENT_DISPATCH
from consumers.errors import MalformedDispatchError
from consumers.event_types import EVENT_CLASSES, listenable_classes, wanted_types
from consumers.handling import CURRENT_HANDLING, INSIDE_HANDLER, Handling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hikari.api import EntityFactory, EventFactory, GatewayShard, MutableCache
    from hikari.api.event_manager import CallbackT, PredicateT

    from consumers.frame import Frame

_log = logging.getLogger(__name__)

E = TypeVar("E", bound=events.Event)

MAX_NOTED_TYPES = 1000


class EventManager(impl.EventManagerImpl):
    """Dispatches events; `on_listeners_changed()` is called when listeners come or go."""

    def __init__(
        self,
        entity_factory: EntityFactory,
        event_factory: EventFactory,
        *,
        cache: MutableCache,
        on_listeners_changed: Callable[[], None],
    ) -> None:
        # All intents, because the bot's are known only later: `missing_intents` warns instead of hikari. Members are
        # not requested on every GUILD_CREATE: each process of each group would ask Discord for the same.
        super().__init__(entity_factory, event_factory, hikari.Intents.ALL, auto_chunk_members=False, cache=cache)
        self._on_listeners_changed = on_listeners_changed
        self._detached: set[asyncio.Task[None]] = set()
        self._dropped: set[str] = set()

    def wanted_types(self) -> frozenset[str]:
        """The gateway event types that somebody listens to."""
        return wanted_types(lambda cls: bool(self.get_listeners(cls)))

    def missing_intents(self, intents: hikari.Intents) -> Iterator[str]:
        """A sentence for each event that is listened to and never comes with `intents`."""
        for cls in listenable_classes():
            groups = base_events.get_required_intents_for(cls)
            if self.get_listeners(cls, polymorphic=False) and groups and not any(intents & g == g for g in groups):
                names = " or ".join(str(group) for group in groups)
                yield f"{cls.__name__} is listened to and never comes: add {names} to the coordinator's --intents"

    # Dispatches

    def handle(self, frame: Frame, shard: GatewayShard) -> Handling:
        """Start the handlers of a dispatch, before anything is awaited. Call it in a task of the dispatch's own."""
        handling = Handling()
        CURRENT_HANDLING.set(handling)
        CURRENT_DISPATCH.set(frame.dispatch)
        try:
            self._consume(frame, shard)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: it becomes a dead letter
            handling.failure = error
        return handling

    def _consume(self, frame: Frame, shard: GatewayShard) -> None:
        event_type, payload = frame.dispatch.type, frame.payload
        is_known = event_type in EVENT_CLASSES and hasattr(self, f"on_{event_type.lower()}")
        if payload is None and event_type == "RESUMED":
            payload = {}
        if isinstance(payload, dict):
            if is_known:
                self.consume_raw_event(event_type, shard, payload)
                return
            try:
                self.consume_raw_event(event_type, shard, payload)
            except LookupError:
                if not self.get_listeners(events.ShardPayloadEvent):
                    self.note_dropped(event_type, "hikari does not know this event type")
        elif is_known:
            raise MalformedDispatchError(f"d is not an object but {type(payload).__name__}")
        else:
            self.note_dropped(event_type, "its d is not an object, and hikari does not know this event type")

    def note_dropped(self, event_type: str, reason: str) -> None:
        """Say once for each event type that its dispatches are acknowledged and dropped."""
        if event_type not in self._dropped and len(self._dropped) < MAX_NOTED_TYPES:
            self._dropped.add(event_type)
            _log.warning(
                "dispatches of this type are dropped",
                extra={"action": "event_dropped", "type": event_type, "reason": reason},
            )

    # Listeners

    def subscribe(self, event_type: type[Any], callback: CallbackT[Any], **nested: Any) -> None:  # noqa: ANN401
        """As in hikari."""
        super().subscribe(event_type, callback, **nested)
        self._on_listeners_changed()

    def unsubscribe(self, event_type: type[Any], callback: CallbackT[Any]) -> None:
        """As in hikari."""
        super().unsubscribe(event_type, callback)
        self._on_listeners_changed()

    async def wait_for(
        self, event_type: type[E], /, timeout: float | None, predicate: PredicateT[E] | None = None
    ) -> E:
        """As in hikari, but a listener like others, so that the group is bound to the event while one waits.

        With several processes in a group the event may reach another one.
        """
        future: asyncio.Future[E] = asyncio.get_running_loop().create_future()

        async def on_event(event: E) -> None:
            if future.done():
                return
            try:
                if predicate is None or predicate(event):
                    future.set_result(event)
            except Exception as error:  # noqa: BLE001 - the predicate is the waiter's: so is its error
                future.set_exception(error)

        self.subscribe(event_type, on_event)
        try:
            return await asyncio.wait_for(future, timeout)
        finally:
            self.unsubscribe(event_type, on_event)

    # Events

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: Literal[False] = False) -> None: ...

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: Literal[True] = True) -> asyncio.Future[Any]: ...

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None: ...

    def dispatch(self, event: events.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None:
        """As in hikari; the handlers belong to the delivery that is being handled, if there is one.

        Not hikari's own, because the future that it gives is done as soon as one handler is cancelled.
        """
        tasks = [self._start(callback, event) for callback in self.get_listeners(type(event))]
        return asyncio.gather(*tasks) if return_tasks else None

    def _start(self, callback: CallbackT[Any], event: events.Event) -> asyncio.Task[None]:
        name = getattr(callback, "__name__", repr(callback))
        task = asyncio.create_task(self._run(callback, event), name=f"handler {name} of {type(event).__name__}")
        handling = CURRENT_HANDLING.get()
        if handling is not None:
            handling.track(task)
        else:
            self._detached.add(task)
            task.add_done_callback(self._detached.discard)
        return task

    async def _run(self, callback: CallbackT[Any], event: events.Event) -> None:
        INSIDE_HANDLER.set(True)
        try:
            await callback(event)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: handlers are the user's
            self._report(callback, event, error)

    def _report(self, callback: CallbackT[Any], event: events.Event, error: Exception) -> None:
        fields = {
            "action": "handler_failed",
            "event": type(event).__name__,
            "handler": getattr(callback, "__name__", repr(callback)),
        }
        if base_events.is_no_recursive_throw_event(event):
            _log.error("a handler of a failure failed", extra=fields, exc_info=error)
            return
        handling = CURRENT_HANDLING.get()
        if handling is not None:
            handling.note_raised(callback, error)
        level = logging.DEBUG if self.get_listeners(events.ExceptionEvent) else logging.ERROR
        _log.log(level, "a handler failed", extra=fields, exc_info=error)
        self.dispatch(events.ExceptionEvent(exception=error, failed_event=event, failed_callback=callback))


def _reporting(method: Callable[[EventManager, GatewayShard, Any], None]) -> Callable[..., None]:
    @functools.wraps(method)  # keeps what hikari's decorator wrote on the method
    def consume(self: EventManager, shard: GatewayShard, payload: Any) -> None:  # noqa: ANN401 - JSON
        try:
            method(self, shard, payload)
        except hikari.UnrecognisedEntityError as error:
            self.note_dropped(method.__name__.removeprefix("on_").upper(), f"newer than this hikari: {error}")
        except Exception as error:  # the border of one delivery: it becomes a dead letter
            handling = CURRENT_HANDLING.get()
            if handling is None:
                raise
            handling.failure = error

    return consume


# hikari hands an exception of an `on_xxx` method to the event loop's exception handler, where the dispatch is lost.
for _name, _method in inspect.getmembers(impl.EventManagerImpl, inspect.isfunction):
    if _name.startswith("on_"):
        setattr(EventManager, _name, _reporting(_method))

# hikari skips MESSAGE_DELETE_BULK unless somebody listens to single deletions: the event it makes is another one.
EventManager.on_message_delete_bulk = event_manager_base.filtered(  # type: ignore[method-assign]
    events.GuildBulkMessageDeleteEvent, CacheComponents.MESSAGES
)(EventManager.on_message_delete_bulk)
