"""All sessions: found by id, by shard and by guild."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway_sim.dispatch import Dispatch
    from gateway_sim.session import Session

Shard = tuple[int, int]
"""[shard id, shard count]"""


def shard_of_guild(guild_id: int, shard_count: int) -> int:
    """Return the shard that receives a guild's events (https://discord.com/developers/docs/events/gateway#sharding)."""
    return (guild_id >> 22) % shard_count


class SessionDirectory:
    """The sessions that exist or existed; several may share a shard, and shard counts may differ."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._alive: dict[str, Session] = {}
        self._by_shard: dict[Shard, list[Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def add(self, session: Session) -> None:
        """Add a new session."""
        self._by_id[session.session_id] = session
        self._alive[session.session_id] = session
        self._by_shard.setdefault((session.shard_id, session.shard_count), []).append(session)

    def get(self, session_id: str) -> Session | None:
        """Return the session, ended or not, or None if it never existed."""
        return self._by_id.get(session_id)

    def end(self, session: Session, reason: str, at: float) -> None:
        """End a session; its events go nowhere from now on."""
        session.end(reason, at)
        self._alive.pop(session.session_id, None)
        shard = (session.shard_id, session.shard_count)
        left = [other for other in self._by_shard.get(shard, []) if other is not session]
        if left:
            self._by_shard[shard] = left
        else:
            self._by_shard.pop(shard, None)

    def alive(self) -> list[Session]:
        """Return the sessions that have not ended, oldest first."""
        return list(self._alive.values())

    def of_shard(self, shard: Shard) -> Sequence[Session]:
        """Return the sessions of [id, count] that have not ended."""
        return self._by_shard.get(shard, ())

    def shards_of(self, shard_count: int) -> list[int]:
        """Return the shard ids of this count that have a session."""
        return [shard_id for shard_id, count in self._by_shard if count == shard_count]

    def shard_counts(self) -> list[int]:
        """Return the shard counts in use, that of the oldest living session first."""
        return list(dict.fromkeys(session.shard_count for session in self._alive.values()))

    def of_guild(self, guild_id: int) -> list[Session]:
        """Return the living sessions that receive a guild's events; shard 0 of every count if `guild_id` is 0."""
        counts = {count for _, count in self._by_shard}
        return [session for count in counts for session in self.of_shard((shard_of_guild(guild_id, count), count))]

    def publish(self, dispatch: Dispatch, at: float) -> int:
        """Give an event to every session that receives it; returns how many took it."""
        return sum(session.offer([dispatch], at) for session in self.of_guild(dispatch.guild_id))
