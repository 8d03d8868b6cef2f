"""The dispatch that the running handler belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One gateway dispatch, without its payload.

    `received_at` is when the worker read it, in seconds since the epoch. `replayed`: Discord sent it again after a
    Resume; `redelivered`: the broker did. `message_id` (`session_id:seq`) is the same each time.
    """

    shard: int
    shard_count: int
    session_id: str
    seq: int
    type: str
    message_id: str
    fencing_token: int
    replayed: bool
    redelivered: bool
    received_at: float


CURRENT_DISPATCH: ContextVar[Dispatch | None] = ContextVar("consumers.current_dispatch", default=None)


def current_dispatch() -> Dispatch | None:
    """The dispatch whose event is being handled; None outside handlers and for events that are no dispatches."""
    return CURRENT_DISPATCH.get()
