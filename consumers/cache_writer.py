"""Keeps hikari's cache as its own event manager does, and gives the events that it makes of it, `old_*` and all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hikari
from hikari import impl

from consumers.cache_changes import guilds_of_ready
from consumers.cache_records import MEMBERS_COMPLETE, completes_members, guild_id_of, shard_of_guild

if TYPE_CHECKING:
    from hikari.api import EntityFactory, EventFactory, GatewayShard

    from consumers.cache_parts import CacheParts


class CacheWriter(impl.EventManagerImpl):
    """Dispatches go in, events come out, nothing is dispatched. It knows the guilds even if `parts` has none."""

    def __init__(
        self, entity_factory: EntityFactory, event_factory: EventFactory, cache: impl.CacheImpl, parts: CacheParts
    ) -> None:
        super().__init__(entity_factory, event_factory, hikari.Intents.ALL, auto_chunk_members=False, cache=cache)
        self._kept = cache
        self._types = parts.types
        self._made: hikari.Event | None = None
        self._guild_ids: set[int] = set()
        self._unavailable_ids: set[int] = set()
        self._keeps_only_mine = "members" in parts.names and cache.settings.only_my_member
        self._keeps_members = "members" in parts.names and not self._keeps_only_mine
        self._lacking: dict[int, int] = {}  # the guilds of which Discord sent fewer members than they have: how many
        self.subscribe(hikari.GuildUpdateEvent, _ignore)  # else hikari makes none, and has no old guild

    @property
    def types(self) -> frozenset[str]:
        """The event types that change this cache."""
        return self._types

    @property
    def guild_ids(self) -> frozenset[int]:
        """The guilds that the bot is in, as far as this cache has come."""
        return frozenset(self._guild_ids)

    def has_guild(self, guild_id: int) -> bool:
        """Whether the bot is in a guild, as far as this cache has come."""
        return guild_id in self._guild_ids

    def is_unavailable(self, guild_id: int) -> bool:
        """Whether Discord said last that the guild cannot be reached."""
        return guild_id in self._unavailable_ids

    @property
    def guilds_lacking_members(self) -> tuple[int, ...]:
        """The guilds of which members may be missing and can be asked for."""
        return tuple(self._lacking.keys() - self._unavailable_ids)

    def lacks_members(self, guild_id: int) -> bool:
        """Whether members of a guild may be missing and can be asked for."""
        return guild_id in self._lacking and guild_id not in self._unavailable_ids

    def count_members(self, guild_id: int) -> None:
        """Look whether members of a guild are really missing; takes as long as a copy of them."""
        if len(self._kept.get_members_view_for_guild(guild_id)) >= self._lacking.get(guild_id, 0):
            self._lacking.pop(guild_id, None)

    def clear(self) -> None:
        """Forget all but the own user."""
        me = self._kept.get_me()
        self._kept.clear()
        self._guild_ids.clear()
        self._unavailable_ids.clear()
        self._lacking.clear()
        if me is not None:
            self._kept.update_me(me)

    def apply(self, event_type: str, shard: GatewayShard, payload: dict[str, Any]) -> hikari.Event | None:
        """Change the cache; the event, if hikari made one. Raises whatever hikari raises for what it cannot read."""
        if event_type not in self._types:
            return None
        if event_type == "READY":
            self._forget_others(shard, guilds_of_ready(payload))
            return None
        guild_id = guild_id_of(event_type, payload)
        if guild_id is not None:
            self._note_guild(guild_id, event_type, payload)
            if event_type != "GUILD_DELETE" and guild_id not in self._guild_ids:
                # Parts of a guild that is missing are no guild: hikari's views of it would raise.
                return None
        if event_type == "GUILD_MEMBERS_CHUNK" and completes_members(payload):
            self._lacking.pop(guild_id or 0, None)
        if self._keeps_only_mine:
            payload = _with_my_member_only(event_type, shard, payload)
        self._made = None
        getattr(self, f"on_{event_type.lower()}")(shard, payload)
        if self._keeps_only_mine and event_type == "GUILD_MEMBERS_CHUNK":
            return None  # who asked for the chunk gets it whole, from its frame
        return self._made

    def dispatch(self, event: hikari.Event, *, return_tasks: bool = False) -> Any:  # noqa: ANN401, ARG002 - hikari's
        """Keep what hikari would dispatch."""
        self._made = event

    def _forget_others(self, shard: GatewayShard, guild_ids: frozenset[int]) -> None:
        """A session began: guilds of its shard that it does not name are left."""
        for guild_id in self.guild_ids - guild_ids:
            if shard_of_guild(guild_id, shard.shard_count) == shard.id:
                self.apply("GUILD_DELETE", shard, {"id": str(guild_id)})

    def _note_guild(self, guild_id: int, event_type: str, payload: dict[str, Any]) -> None:
        if event_type not in {"GUILD_CREATE", "GUILD_DELETE"}:
            return
        if payload.get("unavailable"):
            self._unavailable_ids.add(guild_id)
            return
        self._unavailable_ids.discard(guild_id)
        self._lacking.pop(guild_id, None)
        if event_type == "GUILD_CREATE":
            self._guild_ids.add(guild_id)
            self._clear_guild(guild_id)
            count = payload.get("member_count") or 0
            if self._keeps_members and not payload.get(MEMBERS_COMPLETE) and count > len(payload.get("members") or ()):
                self._lacking[guild_id] = count
        else:
            self._guild_ids.discard(guild_id)

    def _clear_guild(self, guild_id: int) -> None:
        """hikari leaves what a guild had where the new GUILD_CREATE has nothing of the kind."""
        self._kept.clear_guild_channels_for_guild(guild_id)
        self._kept.clear_threads_for_guild(guild_id)
        self._kept.clear_roles_for_guild(guild_id)
        self._kept.clear_emojis_for_guild(guild_id)
        self._kept.clear_stickers_for_guild(guild_id)
        self._kept.clear_voice_states_for_guild(guild_id)
        self._kept.clear_presences_for_guild(guild_id)
        self._kept.clear_members_for_guild(guild_id)


def _with_my_member_only(event_type: str, shard: GatewayShard, payload: dict[str, Any]) -> dict[str, Any]:
    """hikari asks for no chunks then, and keeps all of those that come; ours are of those who keep all members."""
    if event_type not in {"GUILD_CREATE", "GUILD_MEMBERS_CHUNK"}:
        return payload
    own_id = str(shard.get_user_id())
    mine = [member for member in payload.get("members") or () if member["user"]["id"] == own_id]
    if event_type == "GUILD_MEMBERS_CHUNK":
        return {**payload, "members": mine}
    if not mine:  # it comes in a chunk; hikari would look for it here, and for the members of voice states
        return {**payload, "members": [], "voice_states": []}
    return payload


async def _ignore(_: hikari.Event) -> None:
    """A listener that hikari sees."""
