"""hikari's event manager, so that one hears of payloads that it cannot read.

Built on hikari's public parts only: the documented `on_xxx` methods, one for each gateway event type.
"""

from __future__ import annotations

import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any

import hikari
from hikari import events, impl
from hikari.api import CacheComponents
from hikari.impl import event_manager_base

from consumers.errors import MalformedDispatchError
from consumers.event_types import EVENT_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hikari.api import EntityFactory, EventFactory, GatewayShard, MutableCache

    from consumers.frame import Frame

_log = logging.getLogger(__name__)

MAX_NOTED_TYPES = 1000


class FrameReader(impl.EventManagerImpl):
    """Makes hikari's events of frames; `dispatch` says what becomes of them."""

    def __init__(
        self, entity_factory: EntityFactory, event_factory: EventFactory, *, cache: MutableCache | None = None
    ) -> None:
        # All intents, because the bot's are known only later. Members are not requested here on every GUILD_CREATE:
        # each process of each group would ask Discord for the same (`cache_members.py` asks).
        super().__init__(entity_factory, event_factory, hikari.Intents.ALL, auto_chunk_members=False, cache=cache)
        self._payload_events = event_factory
        self._dropped: set[str] = set()

    def know_intents(self, intents: hikari.Intents) -> None:
        """The bot's: from now on hikari warns of what somebody listens to or waits for and that never comes."""
        self._intents = intents

    def read(self, frame: Frame, shard: GatewayShard, made: events.Event | None = None) -> None:
        """Have `dispatch` called for each event of a frame. Raises MalformedDispatchError.

        `made` is the event that was made of it when it changed the cache, if it did: it knows the state before.
        """
        if made is None:
            self._read_payload(frame, shard)
            return
        if self.get_listeners(events.ShardPayloadEvent):
            name, payload = frame.dispatch.type, frame.payload
            self.dispatch(self._payload_events.deserialize_shard_payload_event(shard, payload, name=name))
        self.dispatch(made)

    def _read_payload(self, frame: Frame, shard: GatewayShard) -> None:
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

    def note_unreadable(self, event_type: str, error: Exception) -> None:
        """hikari failed on a payload."""
        self.note_dropped(event_type, f"hikari cannot read it: {error!r}")

    def note_dropped(self, event_type: str, reason: str) -> None:
        """Say once for each event type that its dispatches are dropped."""
        if event_type not in self._dropped and len(self._dropped) < MAX_NOTED_TYPES:
            self._dropped.add(event_type)
            _log.warning(
                "dispatches of this type are dropped",
                extra={"action": "event_dropped", "type": event_type, "reason": reason},
            )


def _reporting(method: Callable[[FrameReader, GatewayShard, Any], None]) -> Callable[..., None]:
    @functools.wraps(method)  # keeps what hikari's decorator wrote on the method
    def consume(self: FrameReader, shard: GatewayShard, payload: Any) -> None:  # noqa: ANN401 - JSON
        event_type = method.__name__.removeprefix("on_").upper()
        try:
            method(self, shard, payload)
        except Exception as error:  # noqa: BLE001 - the border of one delivery; also what is newer than this hikari
            self.note_unreadable(event_type, error)

    return consume


# hikari hands an exception of an `on_xxx` method to the event loop's exception handler, where the dispatch is lost.
for _name, _method in inspect.getmembers(impl.EventManagerImpl, inspect.isfunction):
    if _name.startswith("on_"):
        setattr(FrameReader, _name, _reporting(_method))

# hikari skips MESSAGE_DELETE_BULK unless somebody listens to single deletions: the event it makes is another one.
FrameReader.on_message_delete_bulk = event_manager_base.filtered(  # type: ignore[method-assign]
    events.GuildBulkMessageDeleteEvent, CacheComponents.MESSAGES
)(FrameReader.on_message_delete_bulk)
