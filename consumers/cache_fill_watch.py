"""Guilds that are being fetched over REST: what the stream says of them meanwhile. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from consumers.cache_changes import apply
from consumers.cache_fill import GUILD_FILL, SPAN, guild_and_since
from consumers.cache_records import GuildRecord, guild_id_of, payload_of, shard_of_guild
from consumers.errors import MalformedDispatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.cache_records import JsonObject


class FetchState(Enum):
    """How far a fetched guild is."""

    OPEN = "it is fetched, or must be written"
    SENT = "its fill is on the way through the stream"
    FILLED = "its fill counts"
    ANSWERED = "a dispatch said whether the bot is in it: nothing is left to do"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self in {FetchState.FILLED, FetchState.ANSWERED}


class FetchedGuild:
    """One guild, from before it is asked for. `answer` with what REST said, then `send` until `state.is_over`."""

    def __init__(self, guild_id: int, *, own_id: int) -> None:
        self.guild_id = guild_id
        self.state = FetchState.OPEN
        self._own_id = own_id
        self._record: GuildRecord | None = None
        self._unapplied: list[tuple[str, JsonObject]] = []
        self._message_id: str | None = None
        self._is_disturbed = False
        self._since = 0

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was said of it since it is watched."""
        return self._record is None and not self._unapplied

    def answer(self, create: JsonObject) -> None:
        """REST said this."""
        self._record = GuildRecord(create)

    def send(self, message_id: str, since: int) -> GuildRecord | None:
        """The guild with all that was said before offset `since`; None if REST gave none."""
        for event_type, payload in self._unapplied:
            self._record = apply(self._record, event_type, payload, own_id=self._own_id)
        self._unapplied.clear()
        self._message_id, self._since, self._is_disturbed = message_id, since, False
        self.state = FetchState.SENT
        return self._record

    def hear(self, event_type: str, payload: JsonObject) -> None:
        """A dispatch about it stands in the stream."""
        is_decided = event_type in {"GUILD_CREATE", "GUILD_DELETE"} and not payload.get("unavailable")
        if is_decided:
            self.state = FetchState.ANSWERED
        self._unapplied.append((event_type, payload))

    def hear_fill(self, message_id: str, offset: int) -> None:
        """A fill of it stands in the stream; if it is its own, it counts when nothing came between."""
        if message_id != self._message_id or self.state is not FetchState.SENT:
            self._is_disturbed = True
            return
        counts = not self._unapplied and not self._is_disturbed and 0 <= offset - self._since <= SPAN
        self.state = FetchState.FILLED if counts else FetchState.OPEN


class FillWatch:
    """The guilds that are fetched now. It hears every entry of the stream, of whatever part."""

    def __init__(self, *, own_id: int) -> None:
        self._own_id = own_id
        self._guilds: dict[int, FetchedGuild] = {}

    def begin(self, guild_id: int) -> FetchedGuild:
        """Watch a guild from now on."""
        self._guilds[guild_id] = FetchedGuild(guild_id, own_id=self._own_id)
        return self._guilds[guild_id]

    def end(self, guild_id: int) -> None:
        """Watch it no more."""
        self._guilds.pop(guild_id, None)

    def hear(self, offset: int, event_type: str, headers: Mapping[str, Any], message_id: str, body: bytes) -> None:
        """An entry of the stream, in order. What cannot be read says nothing."""
        try:
            if event_type == GUILD_FILL:
                guild_id: int | None = guild_and_since(headers)[0]
                if guild_id in self._guilds:
                    self._guilds[guild_id].hear_fill(message_id, offset)
            elif event_type == "READY":
                self._hear_identify(headers)
            elif body and self._guilds:
                payload = payload_of(body)
                guild_id = guild_id_of(event_type, payload)
                if guild_id in self._guilds:
                    self._guilds[guild_id].hear(event_type, payload)
        except MalformedDispatchError:
            return

    def _hear_identify(self, headers: Mapping[str, Any]) -> None:
        """A session began: its guilds come by themselves, or are left."""
        shard, shard_count = headers.get("shard"), headers.get("shard_count")
        if not isinstance(shard, int) or not isinstance(shard_count, int) or shard_count < 1:
            return
        for guild_id, guild in self._guilds.items():
            if shard_of_guild(guild_id, shard_count) == shard:
                guild.state = FetchState.ANSWERED
