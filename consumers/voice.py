"""hikari's voice component; what Discord answers comes to this process, whichever process of the group is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hikari import events, impl, snowflakes

if TYPE_CHECKING:
    import hikari
    from hikari.api import VoiceConnection

    from consumers.waiters import Waiters

_VoiceConnectionT = TypeVar("_VoiceConnectionT", bound="VoiceConnection")


class VoiceComponent(impl.VoiceComponentImpl):
    """As in hikari. The event manager counts what it listens to among the waiters."""

    def __init__(self, app: hikari.GatewayBotAware, waiters: Waiters) -> None:
        super().__init__(app)
        self._waiters = waiters

    async def connect_to(
        self,
        guild: hikari.SnowflakeishOr[hikari.PartialGuild],
        channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel],
        voice_connection_type: type[_VoiceConnectionT],
        **options: Any,  # noqa: ANN401 - hikari's, and those of the connection
    ) -> _VoiceConnectionT:
        """As in hikari; Discord's answer counts from before the question on. Raises CommandError or BrokerLostError."""
        guild_id = snowflakes.Snowflake(guild)
        kind: type[Any] = events.VoiceEvent  # an abstract one, which mypy does not take for a type
        with self._waiters.remembering(kind, lambda event: event.guild_id == guild_id):
            await self._waiters.are_bound()
            return await super().connect_to(guild, channel, voice_connection_type, **options)
