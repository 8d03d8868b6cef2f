"""Asks Discord for members of a guild, and collects the chunks in which they come."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import hikari
from hikari import events

from consumers.errors import CommandError, CommandRateLimitedError, MembersTimeoutError
from eventbus.messages import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.shard_proxy import ShardProxy
    from consumers.waiters import Waiters

NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class RequestedMembers:
    """What Discord answered: members and, if asked for, presences by user id; the ids that are no members."""

    guild_id: hikari.Snowflake
    members: Mapping[hikari.Snowflake, hikari.Member]
    presences: Mapping[hikari.Snowflake, hikari.MemberPresence]
    not_found: tuple[hikari.Snowflake, ...]


class Chunks:
    """The chunks of one request; a chunk that comes twice counts once."""

    def __init__(self) -> None:
        self._chunks: dict[int, events.MemberChunkEvent] = {}
        self.expected_count: int | None = None

    @property
    def count(self) -> int:
        """How many came."""
        return len(self._chunks)

    @property
    def is_complete(self) -> bool:
        """Whether all came."""
        return self.count == self.expected_count

    def add(self, chunk: events.MemberChunkEvent) -> None:
        """One came."""
        self._chunks[chunk.chunk_index] = chunk
        self.expected_count = chunk.chunk_count

    def put_together(self, guild_id: hikari.Snowflake) -> RequestedMembers:
        """The answer, in the order of the chunks."""
        members: dict[hikari.Snowflake, hikari.Member] = {}
        presences: dict[hikari.Snowflake, hikari.MemberPresence] = {}
        not_found: list[hikari.Snowflake] = []
        for _, chunk in sorted(self._chunks.items()):
            members.update(chunk.members)
            presences.update(chunk.presences)
            not_found.extend(chunk.not_found)
        return RequestedMembers(guild_id, members, presences, tuple(not_found))


class MembersRequest:
    """One request; `ask()` once."""

    def __init__(self, waiters: Waiters, shard: ShardProxy, guild: hikari.SnowflakeishOr[hikari.PartialGuild]) -> None:
        self._waiters = waiters
        self._shard = shard
        self._guild_id = hikari.Snowflake(guild)
        self._nonce = secrets.token_hex(NONCE_BYTES)
        self._chunks = Chunks()
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(
        self,
        *,
        include_presences: hikari.UndefinedOr[bool],
        query: str,
        limit: int,
        users: hikari.UndefinedOr[hikari.SnowflakeishSequence[hikari.User]],
        timeout: float | None,
    ) -> RequestedMembers:
        """The answer, when all of it came. Raises CommandError or BrokerLostError."""
        with (
            self._waiters.hearing(events.MemberChunkEvent, self._on_chunk),
            self._waiters.hearing(events.RequestGuildMembersRateLimitedEvent, self._on_refusal),
        ):
            try:
                async with asyncio.timeout(timeout):
                    await self._waiters.are_bound()
                    await self._shard.request_guild_members(
                        self._guild_id,
                        include_presences=include_presences,
                        query=query,
                        limit=limit,
                        users=users,
                        nonce=self._nonce,
                    )
                    await self._end
            except CommandError:
                raise  # some of them are TimeoutErrors, too
            except TimeoutError as error:
                raise MembersTimeoutError(
                    self._shard.id, self._guild_id, self._chunks.count, self._chunks.expected_count
                ) from error
        return self._chunks.put_together(self._guild_id)

    def _on_chunk(self, chunk: events.MemberChunkEvent) -> None:
        if chunk.nonce == self._nonce and not self._end.done():
            self._chunks.add(chunk)
            if self._chunks.is_complete:
                self._end.set_result(None)

    def _on_refusal(self, event: events.RequestGuildMembersRateLimitedEvent) -> None:
        if event.nonce == self._nonce and not self._end.done():
            message = "Discord's limit of requests for members is used up"
            error = CommandRateLimitedError(self._shard.id, ErrorCode.RATE_LIMITED, message, event.retry_after)
            self._end.set_exception(error)
