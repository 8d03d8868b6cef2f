"""Gateway commands of a client with a session: presence, voice, members, soundboard, channel info."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway_sim.answers import (
    asks_all_members,
    channel_info,
    member_chunks,
    rate_limited,
    soundboard_sounds,
    voice_answers,
)
from gateway_sim.opcodes import ALL_MEMBERS_INTERVAL_S, MAX_REQUESTED_USERS, CloseCode
from gateway_sim.payload_rules import Refusal, check_presence, parse_snowflake
from gateway_sim.session_directory import shard_of_guild

if TYPE_CHECKING:
    from gateway_sim.connection import Connection
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.json_value import Json
    from gateway_sim.session import Session


class GatewayCommands:
    """Answers op 3, 4, 8, 31 and 43; each raises Refusal for a malformed `d`."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state
        self._all_members_at: dict[int, float] = {}

    def presence_update(self, connection: Connection, d: Json) -> None:
        """Op 3: nothing is dispatched in answer."""
        del connection
        check_presence(d)

    def voice_state_update(self, connection: Connection, d: Json) -> None:
        """Op 4: the voice events go to every session of the guild."""
        guild_id = self._guild_here(connection, d)
        if guild_id is None:
            return
        if d.get("channel_id") is not None:
            parse_snowflake(d, "channel_id")
        for dispatch in voice_answers(self._state.world, guild_id, d):
            self._state.sessions.publish(dispatch, time.time())

    def request_guild_members(self, connection: Connection, d: Json) -> None:
        """Op 8: chunks, or RATE_LIMITED."""
        guild_id = self._guild_here(connection, d)
        session = connection.session
        if guild_id is None or session is None:
            return
        _check_member_request(d)
        wait_s = self._all_members_wait_s(guild_id) if asks_all_members(d) else 0.0
        if wait_s > 0:
            self._state.referee.note("member_request_rate_limited")
            session.tell(rate_limited(guild_id, wait_s, d.get("nonce")), time.time())
            return
        for dispatch in member_chunks(self._state.world, guild_id, d, session.intents):
            session.tell(dispatch, time.time())

    def request_soundboard_sounds(self, connection: Connection, d: Json) -> None:
        """Op 31: one dispatch per guild."""
        guild_ids = d.get("guild_ids") if isinstance(d, dict) else None
        session = connection.session
        if not isinstance(guild_ids, list) or session is None:
            raise Refusal(CloseCode.DECODE_ERROR, "bad_payload", "'guild_ids' must be a list of snowflakes.")
        asked = [self._guild_here(connection, {"guild_id": guild_id}) for guild_id in guild_ids]
        here = [guild_id for guild_id in asked if guild_id is not None]
        for dispatch in soundboard_sounds(here, self._state.world.next_id):
            session.tell(dispatch, time.time())

    def request_channel_info(self, connection: Connection, d: Json) -> None:
        """Op 43: one dispatch with the guild's voice channels."""
        guild_id = self._guild_here(connection, d)
        fields = d.get("fields")
        session = connection.session
        if not isinstance(fields, list):
            raise Refusal(CloseCode.DECODE_ERROR, "bad_payload", "'fields' must be a list of names.")
        if guild_id is not None and session is not None:
            session.tell(channel_info(self._state.world, guild_id, fields, time.time()), time.time())

    def _guild_here(self, connection: Connection, d: Json) -> int | None:
        guild_id = parse_snowflake(d, "guild_id")
        session: Session | None = connection.session
        if session is None:
            return None
        on_shard = shard_of_guild(guild_id, session.shard_count) == session.shard_id
        if on_shard and self._state.world.has_guild(guild_id):
            return guild_id
        detail = f"A command named guild {guild_id}, which shard {session.shard_id} of {session.shard_count} has not."
        self._state.violation(connection, "guild_not_on_shard", detail, time.time())
        return None

    def _all_members_wait_s(self, guild_id: int) -> float:
        now = time.monotonic()
        last_at = self._all_members_at.get(guild_id)
        if last_at is not None and now - last_at < ALL_MEMBERS_INTERVAL_S:
            return ALL_MEMBERS_INTERVAL_S - (now - last_at)
        self._all_members_at[guild_id] = now
        return 0.0


def _check_member_request(d: dict[str, Any]) -> None:
    user_ids = d.get("user_ids")
    asked = user_ids if isinstance(user_ids, list) else []
    if len(asked) > MAX_REQUESTED_USERS:
        detail = f"Op 8 asked for {len(asked)} users; at most {MAX_REQUESTED_USERS} are allowed."
        raise Refusal(CloseCode.DECODE_ERROR, "too_many_user_ids", detail)
    if user_ids is None and "query" not in d:
        raise Refusal(CloseCode.DECODE_ERROR, "bad_payload", "Op 8 needs 'query' or 'user_ids'.")
    if not isinstance(d.get("query", ""), str) or not isinstance(d.get("limit", 0), int):
        raise Refusal(CloseCode.DECODE_ERROR, "bad_payload", "Op 8 needs a text 'query' and an integer 'limit'.")
