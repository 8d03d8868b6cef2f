"""A shard as the handlers see it: its commands travel to the worker that holds it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import hikari
from hikari.api import GatewayShard

from consumers import payloads
from consumers.errors import NoHolderError, ShardNotConnectedError
from eventbus import gateway_payloads

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from hikari.api import ChannelInfoField

    from consumers.fleet_view import FleetView
    from consumers.gateway_commands import GatewayCommands
    from eventbus.gateway_payloads import CommandOp

MAX_SOUNDBOARD_GUILDS = 150
"""In one payload of Discord's 4096 bytes."""


class ShardProxy(GatewayShard):
    """One shard of the bot, wherever it runs. Its commands raise `consumers.errors.CommandError`.

    `is_alive`, `is_connected` and `heartbeat_latency` (seconds) are what its worker told everyone last.
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
        """Change the presence; what is left out stays as it was set last, by whatever process.

        The fleet remembers it: the shard shows it after an error, too, unless that is an InvalidCommandError.
        """
        fields = payloads.presence(idle_since=idle_since, afk=afk, activity=activity, status=status)
        if fields:
            await self.show_presence(await self._commands.store_presence(fields, self._id))

    async def show_presence(self, record_id: str) -> None:
        """Return when Discord was told the presence of a record that was stored, or a newer one."""
        await self._commands.show_presence(self._id, record_id)

    async def show_presence_if_connected(self, record_id: str) -> None:
        """As `show_presence`, but a shard that is not connected is left to itself: it shows what is remembered."""
        with contextlib.suppress(NoHolderError, ShardNotConnectedError):
            await self._commands.show_presence(self._id, record_id, waits=False)

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
        await self._send(gateway_payloads.VOICE_STATE_UPDATE, d)

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
        await self._send(gateway_payloads.REQUEST_GUILD_MEMBERS, d)

    async def request_channel_info(
        self, guild: hikari.SnowflakeishOr[hikari.PartialGuild], *, fields: Sequence[ChannelInfoField]
    ) -> None:
        """Ask for what channels hold for the moment; it comes as ChannelInfoEvent."""
        await self._send(gateway_payloads.REQUEST_CHANNEL_INFO, payloads.channel_info(guild, fields))

    async def request_soundboard_sounds(self, guilds: Sequence[hikari.SnowflakeishOr[hikari.PartialGuild]]) -> None:
        """Ask for the soundboard sounds of guilds of this shard; they come as SOUNDBOARD_SOUNDS, one for each guild."""
        for start in range(0, len(guilds), MAX_SOUNDBOARD_GUILDS):
            d = payloads.soundboard_sounds(guilds[start : start + MAX_SOUNDBOARD_GUILDS])
            await self._send(gateway_payloads.REQUEST_SOUNDBOARD_SOUNDS, d)

    async def _send(self, op: CommandOp, d: dict[str, Any]) -> None:
        await self._commands.send(self._id, op, d, shard_count=self._shard_count, intents=int(self._intents))

    def _require(self, intent: hikari.Intents) -> None:
        if not self._intents & intent:
            raise hikari.MissingIntentError(intent)
