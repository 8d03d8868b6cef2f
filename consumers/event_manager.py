"""hikari's event manager, so that one knows when a dispatch's handlers ended, and whether it could be read at all.

Listeners get what the group's queue brings to this process; `waiters` get copies of what the whole fleet receives.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

import hikari
from hikari import events
from hikari.api import VoiceComponent
from hikari.events import base_events

from consumers.dispatch import CURRENT_DISPATCH
from consumers.errors import CancelledByNobodyError
from consumers.event_types import listenable_classes, wanted_types
from consumers.frame_reader import FrameReader
from consumers.handling import (
    CURRENT_HANDLING,
    INSIDE_HANDLER,
    Handling,
    current_handling,
    listener_name,
    log_exit,
)
from consumers.recent_keys import RecentKeys
from consumers.waiters import Waiters
from consumers.watchdog import HANDLER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hikari.api import EntityFactory, EventFactory, EventStream, GatewayShard, MutableCache
    from hikari.api.event_manager import CallbackT, PredicateT

    from consumers.frame import Frame

_log = logging.getLogger(__name__)

E = TypeVar("E", bound=events.Event)

FOR_EVERYONE: Final = frozenset({"READY", "RESUMED"})
"""What becomes of a shard concerns each process: its listeners get these over the process's own queue."""
ABOUT_ME: Final = frozenset({"READY", "USER_UPDATE"})
"""They keep the own user fresh in each process."""
_ALWAYS_HEARD: Final = FOR_EVERYONE | ABOUT_ME
TOLD_COUNT = 10_000
KEPT_UPDATES = 16


class EventManager(FrameReader):
    """Dispatches events; `on_listeners_changed()` is called when listeners come or go.

    `on_exit` is called with what `sys.exit` raised in a listener, and does what a signal does.
    """

    def __init__(
        self,
        entity_factory: EntityFactory,
        event_factory: EventFactory,
        *,
        cache: MutableCache | None,
        on_listeners_changed: Callable[[], None],
    ) -> None:
        self._listened: frozenset[str] | None = None
        super().__init__(entity_factory, event_factory, cache=cache)
        self._on_listeners_changed = on_listeners_changed
        self._fed_here = cache
        self._own_updates: dict[str, events.Event] = {}
        self._detached: set[asyncio.Task[None]] = set()
        self._told = RecentKeys(TOLD_COUNT)
        self._is_reading = False
        self.on_exit: Callable[[SystemExit], None] | None = None
        self.waiters = Waiters(entity_factory, event_factory, start=self._start)

    def wanted_types(self) -> frozenset[str]:
        """The gateway event types that the group's queue is to bring."""
        return self._listened_types() - FOR_EVERYONE

    def types_for_everyone(self) -> frozenset[str]:
        """The gateway event types that each process of the group is to get."""
        kept = ABOUT_ME if self._fed_here is not None else frozenset[str]()
        return (self._listened_types() & FOR_EVERYONE) | kept

    def _listened_types(self) -> frozenset[str]:
        if self._listened is None:
            self._listened = wanted_types(lambda cls: bool(self.get_listeners(cls)))
        return self._listened

    def know_intents(self, intents: hikari.Intents) -> None:
        """As of every reader of frames."""
        super().know_intents(intents)
        self.waiters.know_intents(intents)

    def missing_intents(self, intents: hikari.Intents) -> Iterator[str]:
        """A sentence for each event that is listened to and never comes with `intents`."""
        for cls in listenable_classes():
            groups = base_events.get_required_intents_for(cls)
            if self.get_listeners(cls, polymorphic=False) and groups and not any(intents & g == g for g in groups):
                names = " or ".join(str(group) for group in groups)
                yield f"{cls.__name__} is listened to and never comes: add {names} to the coordinator's --intents"

    # Dispatches

    def handle(self, frame: Frame, shard: GatewayShard, made: events.Event | None = None) -> Handling:
        """Start the handlers of a dispatch, before anything is awaited. Call it in a task of the dispatch's own.

        `made` is the event that was made of it when it changed the cache, if it did.
        """
        handling = Handling(self._exit)
        try:
            made = made or self._learn_me(frame, shard)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: it becomes a dead letter
            handling.failure = error
            return handling
        self.waiters.see(frame, shard, made)
        if self._is_told(frame):
            return handling
        CURRENT_HANDLING.set(handling)
        CURRENT_DISPATCH.set(frame.dispatch)
        try:
            self._read(frame, shard, made)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: it becomes a dead letter
            handling.failure = error
        return handling

    def is_heard(self, event_type: type[events.Event]) -> bool:
        """Whether somebody listens to or waits for such an event."""
        return bool(self.get_listeners(event_type) or self.waiters.get_listeners(event_type))

    def hears(self, event_type: str | None) -> bool:
        """Whether a copy of such a dispatch is of use in this process."""
        if event_type is None:
            return False
        return event_type in _ALWAYS_HEARD or self.waiters.demand.is_needed(event_type)

    def take_copy(self, frame: Frame, shard: GatewayShard, made: events.Event | None = None) -> None:
        """A copy of a dispatch came over the process's own queue. Call it in a context of its own."""
        CURRENT_DISPATCH.set(frame.dispatch)
        try:
            made = made or self._learn_me(frame, shard)
            self.waiters.see(frame, shard, made)
            if frame.dispatch.type in FOR_EVERYONE and not self._is_told(frame):
                self._read(frame, shard, made)
        except Exception as error:  # noqa: BLE001 - the border of one delivery
            self.note_unreadable(frame.dispatch.type, error)

    def _learn_me(self, frame: Frame, shard: GatewayShard) -> events.Event | None:
        """The event of a change of the own user, which is made at the first sight, by whichever way."""
        if self._fed_here is None or frame.dispatch.type != "USER_UPDATE":
            return None
        message_id = frame.dispatch.message_id
        if message_id not in self._own_updates:
            old = self._fed_here.get_me()
            event = self._payload_events.deserialize_own_user_update_event(shard, frame.payload, old_user=old)
            self._fed_here.update_me(event.user)
            self._own_updates[message_id] = event
            if len(self._own_updates) > KEPT_UPDATES:
                del self._own_updates[next(iter(self._own_updates))]
        return self._own_updates[message_id]

    def _is_told(self, frame: Frame) -> bool:
        """Whether it is for everyone, and the listeners of this process got it already, by the other way."""
        if frame.dispatch.type not in FOR_EVERYONE:
            return False
        is_told = frame.dispatch.message_id in self._told
        self._told.add(frame.dispatch.message_id)
        return is_told

    def _read(self, frame: Frame, shard: GatewayShard, made: events.Event | None) -> None:
        self._is_reading = True  # nothing is awaited meanwhile: what is dispatched now is the frame's
        try:
            self.read(frame, shard, made)
        finally:
            self._is_reading = False

    def note_unreadable(self, event_type: str, error: Exception) -> None:
        """The dispatch that is being handled becomes a dead letter."""
        handling = CURRENT_HANDLING.get()
        if handling is None:
            super().note_unreadable(event_type, error)
        else:
            handling.failure = error

    # Listeners

    def subscribe(self, event_type: type[Any], callback: CallbackT[Any], **nested: Any) -> None:  # noqa: ANN401
        """As in hikari; hikari's voice component waits in this very process for what concerns its connections."""
        if _is_of_voice(callback):
            self.waiters.subscribe(event_type, callback)
            return
        super().subscribe(event_type, callback, **nested)
        self._listened = None
        self._on_listeners_changed()

    def unsubscribe(self, event_type: type[Any], callback: CallbackT[Any]) -> None:
        """As in hikari."""
        if _is_of_voice(callback):
            self.waiters.unsubscribe(event_type, callback)
            return
        super().unsubscribe(event_type, callback)
        self._listened = None
        self._on_listeners_changed()

    def stream(self, event_type: type[E], /, timeout: float | None, limit: int | None = None) -> EventStream[E]:
        """As in hikari: it gets what the whole fleet receives from soon after its opening."""
        return self.waiters.stream(event_type, timeout, limit)

    async def wait_for(
        self, event_type: type[E], /, timeout: float | None, predicate: PredicateT[E] | None = None
    ) -> E:
        """As in hikari: whichever process of the group gets the event for its listeners, the waiter gets it too."""
        return await self.waiters.wait_for(event_type, timeout, predicate)

    # Events

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: Literal[False] = False) -> None: ...

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: Literal[True] = True) -> asyncio.Future[Any]: ...

    @overload
    def dispatch(self, event: events.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None: ...

    def dispatch(self, event: events.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None:
        """As in hikari; the handlers belong to the delivery that is being handled, if there is one.

        Not hikari's own, because the future that it gives is done as soon as one handler is cancelled. Waiters hear of
        a gateway dispatch elsewhere: it may have come to them before.
        """
        tasks = [self._start(callback, event) for callback in self.get_listeners(type(event))]
        if not self._is_reading or INSIDE_HANDLER.get():  # a handler that starts eagerly runs while a frame is read
            tasks += self.waiters.tell(event)
        return asyncio.gather(*tasks) if return_tasks else None

    def _start(self, callback: CallbackT[Any], event: events.Event) -> asyncio.Task[None]:
        name = f"{HANDLER_PREFIX}{listener_name(callback)} of {type(event).__name__}"
        task = asyncio.create_task(self._run(callback, event), name=name)
        handling = current_handling()
        if handling is not None:
            handling.track(task, callback)
        else:
            self._detached.add(task)
            task.add_done_callback(self._detached.discard)
        return task

    async def _run(self, callback: CallbackT[Any], event: events.Event) -> None:
        INSIDE_HANDLER.set(True)
        try:
            await callback(event)
        except asyncio.CancelledError as cancellation:
            self._on_cancellation(callback, event, cancellation)
        except SystemExit as request:
            handling = current_handling()
            if handling is not None:
                handling.note_exit(callback, request)
            else:
                log_exit(callback, request)
                self._exit(request)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: handlers are the user's
            self._report(callback, event, error)

    def _exit(self, request: SystemExit) -> None:
        if self.on_exit is None:
            raise request
        self.on_exit(request)

    def _on_cancellation(
        self, callback: CallbackT[Any], event: events.Event, cancellation: asyncio.CancelledError
    ) -> None:
        """Report that it took too long, or that what it awaited was cancelled; else pass the cancellation on."""
        task, handling = asyncio.current_task(), current_handling()
        too_long = handling.timeout_of(task) if handling is not None else None
        if too_long is not None:
            self._report(callback, event, too_long)
        elif task is None or task.cancelling():
            raise cancellation
        else:
            self._report(callback, event, CancelledByNobodyError("what it awaited was cancelled"))

    def _report(self, callback: CallbackT[Any], event: events.Event, error: Exception) -> None:
        fields = {
            "action": "handler_failed",
            "event": type(event).__name__,
            "handler": getattr(callback, "__name__", repr(callback)),
        }
        if base_events.is_no_recursive_throw_event(event):
            _log.error("a handler of a failure failed", extra=fields, exc_info=error)
            return
        handling = current_handling()
        if handling is not None:
            handling.note_raised(callback, error)
        level = logging.DEBUG if self.get_listeners(events.ExceptionEvent) else logging.ERROR
        _log.log(level, "a handler failed", extra=fields, exc_info=error)
        self.dispatch(events.ExceptionEvent(exception=error, failed_event=event, failed_callback=callback))


def _is_of_voice(callback: CallbackT[Any]) -> bool:
    return isinstance(getattr(callback, "__self__", None), VoiceComponent)
