"""A dispatch before it has a seq: what traffic makes and the gateway sends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One event of the simulated Discord.

    `data` is the JSON text of `d`. `guild_id` is 0 for an event without a guild (shard 0 only). A session receives
    the dispatch if `intents` is 0 or shares a bit with the session's intents. `entity_id` identifies the thing the
    event is about (message id, interaction id, user id, …) for readers of the ledger.
    """

    type: str
    guild_id: int
    entity_id: str
    data: bytes
    intents: int = 0
