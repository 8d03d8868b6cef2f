"""A shard as the handlers see it: its commands travel to the worker that holds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import hikari
from hikari.api import GatewayShard

from consumers import payloads

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from hikari.api import ChannelInfoField

    from consumers.fleet_view import FleetView
    from consumers.gateway_commands import GatewayCommands


class ShardProxy(GatewayShard):
    """One shard of the bot, wherever it runs. Its commands raise `consumers.errors.CommandError`.

    What `is_alive`, `is_connected` and `heartbeat_latency` (seconds) say is some seconds old; what a command answers is
    not.
    """

    def __init__(
        self,
        shard_id: int,
        shard_count: int,
        *,
        intents: hikari.Intents,
        user_id: hikari.Snowflake,
        commands: GatewayCommands,
        fleet: FleetView,
        closed: asyncio.Event,
    ) -> None:
        self._id = shard_id
        self._shard_count = shard_count
        self._intents = intents
        self._user_id = user_id
        self._commands = commands
        self._fleet = fleet
        self._closed = closed
        self._idle_since: datetime.datetime | None = None
        self._afk = False
        self._activity: hikari.Activity | None = None
        self._status = hikari.Status.ONLINE

    @property
    def capabilities(self) -> hikari.GatewayCapabilities:
        """None: the worker identifies without any."""
        return hikari.GatewayCapabilities.NONE

    @property
    def heartbeat_latency(self) -> float:
        """Seconds; NaN if unknown."""
        return self._fleet.latency_s(self._id)

    @property
    def id(self) -> int:
        """Shard id."""
        return self._id

    @property
    def intents(self) -> hikari.Intents:
        """The bot's intents."""
        return self._intents

    @property
    def is_alive(self) -> bool:
        """Whether a worker runs this shard, as far as is known."""
        return not self._closed.is_set() and self._fleet.is_held(self._id)

    @property
    def is_connected(self) -> bool:
        """Whether this shard is known to be connected to Discord."""
        return not self._closed.is_set() and self._fleet.is_connected(self._id)

    @property
    def shard_count(self) -> int:
        """Shards of the whole bot."""
        return self._shard_count

    def get_user_id(self) -> hikari.Snowflake:
        """The bot's own user id."""
        return self._user_id

    async def close(self) -> None:
        """Not from here. Raises ComponentStateConflictError: a worker owns the connection."""
        raise hikari.ComponentStateConflictError("a worker runs this shard: stop it there, with gw-ctl or its SIGTERM")

    async def start(self) -> None:
        """Not from here. Raises ComponentStateConflictError: a worker owns the connection."""
        raise hikari.ComponentStateConflictError("a worker runs this shard: start gw-worker")

    async def join(self) -> None:
        """Wait until this bot closes."""
        await self._closed.wait()

    async def update_presence(
        self,
        *,
        idle_since: hikari.UndefinedNoneOr[datetime.datetime] = hikari.UNDEFINED,
        afk: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
        activity: hikari.UndefinedNoneOr[hikari.Activity] = hikari.UNDEFINED,
        status: hikari.UndefinedOr[hikari.Status] = hikari.UNDEFINED,
    ) -> None:
        """Change the presence; what is left out stays as this process last set it."""
        self._idle_since = self._idle_since if idle_since is hikari.UNDEFINED else idle_since
        self._afk = self._afk if afk is hikari.UNDEFINED else afk
        self._activity = self._activity if activity is hikari.UNDEFINED else activity
        self._status = self._status if status is hikari.UNDEFINED else status
        d = payloads.presence(idle_since=self._idle_since, afk=self._afk, activity=self._activity, status=self._status)
        await self._commands.send(self._id, payloads.PRESENCE_UPDATE, d)

    async def update_voice_state(
        self,
        guild: hikari.SnowflakeishOr[hikari.PartialGuild],
        channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel] | None,
        *,
        self_mute: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
        self_deaf: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
    ) -> None:
        """Join, move or leave (`channel` None) a voice channel."""
        d = payloads.voice_state(guild, channel, self_mute=self_mute, self_deaf=self_deaf)
        await self._commands.send(self._id, payloads.VOICE_STATE_UPDATE, d)

    async def request_guild_members(
        self,
        guild: hikari.SnowflakeishOr[hikari.PartialGuild],
        *,
        include_presences: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
        query: str = "",
        limit: int = 0,
        users: hikari.UndefinedOr[hikari.SnowflakeishSequence[hikari.User]] = hikari.UNDEFINED,
        nonce: hikari.UndefinedOr[str] = hikari.UNDEFINED,
    ) -> None:
        """Ask for members; they come as MemberChunkEvent. Raises ValueError or MissingIntentError as hikari does."""
        if not query and not limit and users is hikari.UNDEFINED:
            self._require(hikari.Intents.GUILD_MEMBERS)
        if include_presences:
            self._require(hikari.Intents.GUILD_PRESENCES)
        d = payloads.guild_members(
            guild, include_presences=include_presences, query=query, limit=limit, users=users, nonce=nonce
        )
        await self._commands.send(self._id, payloads.REQUEST_GUILD_MEMBERS, d)

    async def request_channel_info(
        self, guild: hikari.SnowflakeishOr[hikari.PartialGuild], *, fields: Sequence[ChannelInfoField]
    ) -> None:
        """Ask for what channels hold for the moment; it comes as ChannelInfoEvent."""
        await self._commands.send(self._id, payloads.REQUEST_CHANNEL_INFO, payloads.channel_info(guild, fields))

    def _require(self, intent: hikari.Intents) -> None:
        if not self._intents & intent:
            raise hikari.MissingIntentError(intent)
