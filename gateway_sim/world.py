"""The simulated universe: one bot, its guilds, channels, roles, members and users, all from a seed."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from gateway_sim import guild_payloads
from gateway_sim.bot_account import application, own_user, public_user
from gateway_sim.dispatch import Dispatch
from gateway_sim.guild_payloads import NAMES, TOPICS, hex_hash, stamp
from gateway_sim.interaction_book import ANSWER_WITHIN_S, InteractionBook
from gateway_sim.opcodes import GUILD_PRESENCES

if TYPE_CHECKING:
    from collections.abc import Callable

JsonObject = dict[str, Any]

DISCORD_EPOCH_MS = 1_420_070_400_000
"""Start of snowflake time: https://discord.com/developers/docs/reference#snowflakes"""

INTENT_GUILDS = 1 << 0

# Creation instants in ms after the Discord epoch. Each kind of thing has a range of its own, so that an id says what
# it names, and so that (channel_id >> 22) leads to another shard than (guild_id >> 22), as at Discord.
_USER_MS = 90_000_000_000
_DM_MS = 120_000_000_000
_GUILD_MS = 160_000_000_000
_CHANNEL_MS = 170_000_000_000
_ROLE_MS = 180_000_000_000
_EMOJI_MS = 190_000_000_000
_RANGE_MS = 10_000_000_000
_SLOTS = 1000  # channels, roles or emojis of one guild: one millisecond each

_DEFAULT_APPLICATION_MS = 100_000_000_000
_CACHED_GUILDS = 512
_CACHED_IDS = 4096
_LARGE_MEMBERS = 2500


class World:
    """A deterministic universe: the same seed and guild count give the same guilds, members and ids.

    `guild_count` guilds, of which `large_guilds` have 2,500 members and a GUILD_CREATE of about 500 KB; the others
    2 to 20 KB. `bot_token` is the only one that the gateway and REST accept. `clock` gives the Unix time in seconds
    from which `next_id` mints snowflakes.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        guild_count: int = 100,
        large_guilds: int = 2,
        bot_token: str,
        application_id: int | None = None,
        clock: Callable[[], float] = time.time,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        if guild_count < 0 or large_guilds < 0:
            msg = f"guild_count and large_guilds must be 0 or more, not {guild_count} and {large_guilds}"
            raise ValueError(msg)
        self.seed = seed
        self.bot_token = bot_token
        self.clock = clock
        self.interactions = InteractionBook(answer_within_s=answer_within_s)
        self.commands: dict[int, dict[str, JsonObject]] = {}
        """Registered application commands by guild id (0: global) and command id."""
        self.messages: OrderedDict[str, JsonObject] = OrderedDict()
        """Messages that were created over REST, oldest first; REST bounds them."""
        self._large_guilds = large_guilds
        self.channel_ids = lru_cache(_CACHED_IDS)(self._channel_ids)
        self.role_ids = lru_cache(_CACHED_IDS)(self._role_ids)
        self.member_ids = lru_cache(_CACHED_IDS)(self._member_ids)
        self._member_patches: dict[tuple[int, int], JsonObject] = {}
        self._first_id = self._last_id = (int(clock() * 1000) - DISCORD_EPOCH_MS) << 22
        self._guilds: OrderedDict[int, JsonObject] = OrderedDict()
        self.application_id = self._snowflake(_DEFAULT_APPLICATION_MS) if application_id is None else application_id
        self.bot_user: JsonObject = own_user(self.application_id)
        owner = self.user(self._snowflake(_USER_MS))
        self.application: JsonObject = application(self.application_id, owner, hex_hash(self.rng("verify")) * 2)
        # One guild a millisecond: consecutive (id >> 22) spread evenly for every shard count.
        self.guild_ids: tuple[int, ...] = tuple(self._snowflake(_GUILD_MS + i) for i in range(guild_count))

    # --- ids

    def next_id(self) -> str:
        """A snowflake of this moment that was never given before."""
        fresh = (int(self.clock() * 1000) - DISCORD_EPOCH_MS) << 22
        self._last_id = fresh if fresh > self._last_id else self._last_id + 1
        return str(self._last_id)

    def minted(self, entity_id: int) -> bool:
        """Whether the id was given since this universe began."""
        return self._first_id < entity_id <= self._last_id

    def now_iso(self) -> str:
        """This moment as Discord writes it in JSON."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="microseconds")

    def guilds_of_shard(self, shard_id: int, shard_count: int) -> tuple[int, ...]:
        """The guilds whose events go to this shard."""
        return tuple(g for g in self.guild_ids if (g >> 22) % shard_count == shard_id)

    def has_guild(self, guild_id: int) -> bool:
        """Whether the bot is in this guild."""
        index = (guild_id >> 22) - _GUILD_MS
        return 0 <= index < len(self.guild_ids) and self.guild_ids[index] == guild_id

    def guild_of_channel(self, channel_id: int) -> int | None:
        """The guild that has this channel, or None."""
        index = ((channel_id >> 22) - _CHANNEL_MS) // _SLOTS
        if not 0 <= index < len(self.guild_ids):
            return None
        guild_id = self.guild_ids[index]
        return guild_id if channel_id in self.channel_ids(guild_id) else None

    def _channel_ids(self, guild_id: int) -> tuple[int, ...]:
        """The ids of the guild's channels, categories first, in order of position."""
        return self._slots(_CHANNEL_MS, guild_id, 160 if self.is_large(guild_id) else 4 + (guild_id >> 22) % 9)

    def text_channel_ids(self, guild_id: int) -> tuple[int, ...]:
        """The ids of the guild's plain text channels: at least two."""
        return tuple(c for i, c in enumerate(self.channel_ids(guild_id)) if guild_payloads.channel_type(i) == 0)

    def voice_channel_id(self, guild_id: int) -> int:
        """The id of the guild's first voice channel."""
        return self.channel_ids(guild_id)[guild_payloads.VOICE_SLOT]

    def _role_ids(self, guild_id: int) -> tuple[int, ...]:
        """The ids of the guild's roles; the first is @everyone and equals the guild's id."""
        count = 90 if self.is_large(guild_id) else 2 + (guild_id >> 22) % 6
        return (guild_id, *self._slots(_ROLE_MS, guild_id, count))

    def emoji_ids(self, guild_id: int) -> tuple[int, ...]:
        """The ids of the guild's custom emojis."""
        return self._slots(_EMOJI_MS, guild_id, 40 if self.is_large(guild_id) else (guild_id >> 22) % 4)

    def is_large(self, guild_id: int) -> bool:
        """Whether the guild is one of the few large ones."""
        return self._index(guild_id) < self._large_guilds

    def dm_channel(self, user_id: int) -> JsonObject:
        """The direct-message channel between the bot and a user."""
        channel_id = self._snowflake(_DM_MS + (user_id >> 22) - _USER_MS)
        return {
            "id": str(channel_id),
            "type": 1,
            "last_message_id": None,
            "flags": 0,
            "recipients": [self.user(user_id)],
        }

    def user_of_dm_channel(self, channel_id: int) -> int | None:
        """The user at the other end of a direct-message channel, or None if it is none."""
        index = (channel_id >> 22) - _DM_MS
        if not 0 <= index < _RANGE_MS or self._snowflake(_DM_MS + index) != channel_id:
            return None
        return self._snowflake(_USER_MS + index)

    def find_command(self, name: str, command_type: int, guild_id: int) -> JsonObject | None:
        """The registered command of that name: the guild's own before the global one."""
        for scope in (guild_id, 0):
            for command in self.commands.get(scope, {}).values():
                if command["name"] == name and command["type"] == command_type:
                    return command
        return None

    # --- people

    def has_user(self, user_id: int) -> bool:
        """Whether the id names a user of this universe."""
        if user_id == self.application_id:
            return True
        ms = user_id >> 22
        return _USER_MS <= ms < _USER_MS + _RANGE_MS and self._snowflake(ms) == user_id

    def user(self, user_id: int) -> JsonObject:
        """The public user object (https://discord.com/developers/docs/resources/user#user-object)."""
        if user_id == self.application_id:
            return public_user(self.bot_user)
        rng = self.rng("user", user_id)
        name = rng.choice(NAMES)
        return {
            "id": str(user_id),
            "username": f"{name}_{(user_id >> 22) % 99991}",
            "global_name": f"{name.title()} {rng.choice(NAMES).title()}" if rng.random() < 0.8 else None,
            "avatar": hex_hash(rng) if rng.random() < 0.7 else None,
            "discriminator": "0",
            "public_flags": rng.choice((0, 0, 64, 128, 256)),
            "avatar_decoration_data": None,
            "primary_guild": None,
        }

    def _member_ids(self, guild_id: int) -> tuple[int, ...]:
        """The user ids of the guild's members; the first is the bot, the second the owner."""
        index = self._index(guild_id)
        count = _LARGE_MEMBERS if index < self._large_guilds else 3 + index * 7 % 24
        start = _USER_MS + index * 17 % 5000
        return (self.application_id, *(self._snowflake(start + i) for i in range(count - 1)))

    def member(self, guild_id: int, user_id: int) -> JsonObject:
        """The guild member object, with its user."""
        patch = self._member_patches.get((guild_id, user_id), {})
        rng = self.rng("member", guild_id, user_id)
        roles = self.role_ids(guild_id)[1:]
        return {
            "user": self.user(user_id),
            "nick": f"{rng.choice(NAMES)} of {rng.choice(TOPICS)}" if rng.random() < 0.3 else None,
            "avatar": None,
            "banner": None,
            "roles": [str(role) for role in rng.sample(roles, min(len(roles), rng.randrange(4)))],
            "joined_at": stamp(rng),
            "premium_since": stamp(rng) if rng.random() < 0.1 else None,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "pending": False,
            "communication_disabled_until": None,
            **patch,
        }

    def patch_member(self, guild_id: int, user_id: int, changes: JsonObject) -> JsonObject:
        """Change fields of a member for good; returns the member."""
        self._member_patches.setdefault((guild_id, user_id), {}).update(changes)
        self._guilds.pop(guild_id, None)
        return self.member(guild_id, user_id)

    def members_of(self, guild_id: int) -> list[JsonObject]:
        """Every member of the guild, the bot first; a large guild's GUILD_CREATE shows only some of them."""
        return [self.member(guild_id, user_id) for user_id in self.member_ids(guild_id)]

    def presence(self, guild_id: int, user_id: int) -> JsonObject:
        """The presence of one member, as it stands in GUILD_CREATE and GUILD_MEMBERS_CHUNK (without `guild_id`)."""
        rng = self.rng("presence", guild_id, user_id)
        status = rng.choice(("online", "idle", "dnd"))
        return {"user": {"id": str(user_id)}, "status": status, "activities": [], "client_status": {"desktop": status}}

    # --- guilds

    def guild_create(self, guild_id: int, intents: int = GUILD_PRESENCES) -> Dispatch:
        """The GUILD_CREATE that follows READY (lazily rendered).

        Without GUILD_PRESENCES, members are the bot and who is in voice, and there are no presences:
        https://docs.discord.com/developers/events/gateway-events#guild-create
        """
        guild = self.guild(guild_id)
        if not intents & GUILD_PRESENCES:
            shown = {self.bot_user["id"], *(state["user_id"] for state in guild["voice_states"])}
            members = [member for member in guild["members"] if member["user"]["id"] in shown]
            guild = {**guild, "members": members, "presences": []}
        return Dispatch("GUILD_CREATE", guild_id, str(guild_id), orjson.dumps(guild), INTENT_GUILDS)

    def guild(self, guild_id: int) -> JsonObject:
        """The guild with all that GUILD_CREATE shows; KeyError if the bot is not in it."""
        if not self.has_guild(guild_id):
            raise KeyError(guild_id)
        found = self._guilds.get(guild_id)
        if found is None:
            found = self._guilds[guild_id] = guild_payloads.guild(self, guild_id)
            if len(self._guilds) > _CACHED_GUILDS:
                self._guilds.popitem(last=False)
        else:
            self._guilds.move_to_end(guild_id)
        return found

    def role(self, guild_id: int, role_id: int) -> JsonObject:
        """The role object."""
        return guild_payloads.role(self, guild_id, role_id)

    def channel(self, guild_id: int, channel_id: int) -> JsonObject:
        """The guild channel object, without `guild_id`, as it stands in GUILD_CREATE."""
        return guild_payloads.channel(self, guild_id, channel_id)

    def emoji(self, emoji_id: int) -> JsonObject:
        """The custom emoji object."""
        return guild_payloads.emoji(self, emoji_id)

    # --- determinism

    def _index(self, guild_id: int) -> int:
        return (guild_id >> 22) - _GUILD_MS

    def _slots(self, base_ms: int, guild_id: int, count: int) -> tuple[int, ...]:
        start = base_ms + self._index(guild_id) * _SLOTS
        return tuple(self._snowflake(start + i) for i in range(count))

    def _snowflake(self, ms: int) -> int:
        """The one id of this universe that was created in that millisecond; the low bits depend on the seed."""
        return (ms << 22) | ((ms * 2_654_435_761 + self.seed * 40_503) >> 7 & 0x3FFFFF)

    def rng(self, *what: object) -> random.Random:
        """The randomness that belongs to one thing of this universe: always the same for the same thing."""
        return random.Random(f"{self.seed}:{what}")
