"""The dispatch that the running handler belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One gateway dispatch, without its payload.

    `received_at` is when the worker read it, in seconds since the epoch. `replayed`: Discord sent it again after a
    Resume; `redelivered`: the broker did. `message_id` (`session_id:seq`) is the same each time. `attempt` counts the
    handlings that ended, this one included: more than 1 after a failure that is tried again. `resumed_from` is the seq
    from which the holder resumed the session, 0 if it identified; None if its worker does not say.
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
    attempt: int = 1
    resumed_from: int | None = None


CURRENT_DISPATCH: ContextVar[Dispatch | None] = ContextVar("consumers.current_dispatch", default=None)


def current_dispatch() -> Dispatch | None:
    """The dispatch whose event is being handled; None outside handlers and for events that are no dispatches."""
    return CURRENT_DISPATCH.get()
