"""Bots of a group of several processes that wait for events, connect to voice and ask for members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hikari
from consume_bots import record
from hikari.api import VoiceConnection

from consumers import Bot
from eventbus.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable


class Connection(VoiceConnection):
    """Says what it is given and what it hears."""

    def __init__(self, channel_id: hikari.Snowflake, guild_id: hikari.Snowflake, owner: Any) -> None:
        self._channel_id, self._guild_id, self._owner = channel_id, guild_id, owner
        self._on_close: Callable[[Any], Any]

    @classmethod
    async def initialize(cls, channel_id: Any, endpoint: str, guild_id: Any, on_close: Any, owner: Any,
                         session_id: str, shard_id: int, token: str, user_id: Any, **_: Any) -> Connection:  # fmt: skip
        connection = cls(channel_id, guild_id, owner)
        connection._on_close, connection._shard_id = on_close, shard_id
        record("voice", guild=str(guild_id), endpoint=endpoint, token=token, session=session_id, user=str(user_id))
        return connection

    channel_id = property(lambda self: self._channel_id)
    guild_id = property(lambda self: self._guild_id)
    shard_id = property(lambda self: self._shard_id)
    owner = property(lambda self: self._owner)
    is_alive = property(lambda _: True)

    async def disconnect(self) -> None:
        await self._on_close(self)

    async def join(self) -> None:
        pass

    async def notify(self, event: hikari.VoiceEvent) -> None:
        record("notified", event=type(event).__name__)


def setup(bot: Bot) -> None:
    for event in (hikari.ShardReadyEvent, hikari.ShardResumedEvent, hikari.ShardConnectedEvent,
                  hikari.ShardDisconnectedEvent):  # fmt: skip
        bot.subscribe(event, on_shard)
    bot.subscribe(hikari.GuildAvailableEvent, on_guild)
    bot.subscribe(hikari.VoiceStateUpdateEvent, on_voice_state)

    @bot.listen(hikari.DMMessageCreateEvent)
    async def on_message(event: hikari.DMMessageCreateEvent) -> None:
        words = (event.content or "").split(" ")
        try:
            await obey(bot, *words)
        except (hikari.HikariError, RelayError, ValueError) as error:
            record("failed", word=words[0], error=type(error).__name__, message=str(error))


async def on_shard(event: hikari.ShardEvent) -> None:
    record("shard", event=type(event).__name__, id=event.shard.id)


async def on_guild(event: hikari.GuildAvailableEvent) -> None:
    channels = [one for one in event.channels.values() if isinstance(one, hikari.GuildVoiceChannel)]
    record("guild", id=str(event.guild_id), owner=str(event.guild.owner_id), voice=[str(one.id) for one in channels])


async def on_voice_state(event: hikari.VoiceStateUpdateEvent) -> None:
    record("listened", guild=str(event.guild_id), channel=str(event.state.channel_id))


async def obey(bot: Bot, word: str, *arguments: str) -> None:
    match word:
        case "connect":
            await bot.voice.connect_to(int(arguments[0]), int(arguments[1]), Connection, timeout=60)
            record("connected")
            await bot.update_voice_state(int(arguments[0]), int(arguments[2]))
        case "disconnect":
            await bot.voice.disconnect(int(arguments[0]))
            record("disconnected")
        case "members":
            answer = await bot.request_members(int(arguments[0]), limit=0, query="", include_presences=False,
                                               timeout=float(arguments[1]))  # fmt: skip
            record("members", guild=str(answer.guild_id), count=len(answer.members), not_found=len(answer.not_found))
        case "unknown":
            await bot.request_members(int(arguments[0]), users=[1], timeout=1)
        case "users":
            answer = await bot.request_members(int(arguments[0]), users=[int(one) for one in arguments[1:]])
            record("users", members=[str(one) for one in answer.members], not_found=[str(n) for n in answer.not_found])
