"""What may be sent to Discord over a shard: the documented shape of each gateway command, and its limits. Pure.

A payload that passes is never the reason for a close with 4002 (decode error). Sources:
https://discord.com/developers/docs/events/gateway-events#send-events and, for the lengths of an activity's texts,
https://docs.discord.food/resources/presence
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

PRESENCE_UPDATE: Final = 3
VOICE_STATE_UPDATE: Final = 4
REQUEST_GUILD_MEMBERS: Final = 8
REQUEST_SOUNDBOARD_SOUNDS: Final = 31
REQUEST_CHANNEL_INFO: Final = 43

CommandOp = Literal[3, 4, 8, 31, 43]

MAX_PAYLOAD_BYTES = 4096
MAX_PRESENCE_BYTES = 3500
"""Of a presence that is remembered: it has to fit into an Identify, too."""
MAX_REQUESTED_USERS = 100
MAX_NONCE_BYTES = 32
MAX_SNOWFLAKE_DIGITS = 20
MAX_ACTIVITY_TEXT = 128
MAX_ACTIVITY_URL = 512
_SHARD_ID_SHIFT = 22

_GUILD_MEMBERS = 1 << 1
_GUILD_PRESENCES = 1 << 8


class InvalidPayloadError(ValueError):
    """A payload that Discord would refuse; the message names the field."""


def _snowflake(value: object) -> int | str:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    is_digits = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MAX_SNOWFLAKE_DIGITS
    if not (is_number or is_digits) or not 0 <= int(value) < 2**64:  # type: ignore[call-overload]
        raise ValueError("must be a snowflake: digits, below 2**64")
    return value  # type: ignore[return-value]


def _snowflakes(value: object) -> list[int | str]:
    many = value if isinstance(value, list) else [value]
    if len(many) > MAX_REQUESTED_USERS:
        raise ValueError(f"at most {MAX_REQUESTED_USERS} at once")
    return [_snowflake(one) for one in many]


def _nonce(value: str) -> str:
    if len(value.encode()) > MAX_NONCE_BYTES:
        raise ValueError(f"can have at most {MAX_NONCE_BYTES} bytes")
    return value


Snowflake = Annotated[int | str, PlainValidator(_snowflake)]
OneOrMoreSnowflakes = Annotated[list[int | str], PlainValidator(_snowflakes)]
Nonce = Annotated[str, AfterValidator(_nonce)]
ActivityText = Annotated[str, Field(min_length=1, max_length=MAX_ACTIVITY_TEXT)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Activity(_Shape):
    """What a bot may set of an activity."""

    name: ActivityText
    type: Annotated[int, Field(ge=0, le=5)]
    state: ActivityText | None = None
    url: Annotated[str, Field(max_length=MAX_ACTIVITY_URL)] | None = None


class PresenceFields(_Shape):
    """Some or all fields of a presence: one that is left out stays as it is."""

    since: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    activities: list[Activity] | None = None
    status: Literal["online", "dnd", "idle", "invisible", "offline"] | None = None
    afk: bool | None = None

    @model_validator(mode="after")
    def _only_since_may_be_null(self) -> PresenceFields:
        for name in self.model_fields_set - {"since"}:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self


class Presence(_Shape):
    """`d` of op 3."""

    since: Annotated[int, Field(ge=0, lt=2**53)] | None
    activities: list[Activity]
    status: Literal["online", "dnd", "idle", "invisible", "offline"]
    afk: bool


class VoiceState(_Shape):
    """`d` of op 4."""

    guild_id: Snowflake
    channel_id: Snowflake | None
    self_mute: bool = False
    self_deaf: bool = False


class MembersRequest(_Shape):
    """`d` of op 8."""

    guild_id: Snowflake
    query: str | None = None
    limit: Annotated[int, Field(ge=0, le=MAX_REQUESTED_USERS)] | None = None
    presences: bool = False
    user_ids: OneOrMoreSnowflakes | None = None
    nonce: Nonce | None = None

    @model_validator(mode="after")
    def _query_or_users(self) -> MembersRequest:
        nulls = [name for name in self.model_fields_set if getattr(self, name) is None]
        if nulls:
            raise ValueError(f"{nulls[0]} cannot be null: leave it out")
        if self.user_ids is None and self.query is None:
            raise ValueError("give query or user_ids")
        if self.user_ids is None and self.limit is None:
            raise ValueError("query needs limit")
        if self.user_ids is not None and (self.query or self.limit):
            raise ValueError("give either user_ids or query and limit, not both")
        return self


class SoundboardRequest(_Shape):
    """`d` of op 31."""

    guild_ids: Annotated[list[Snowflake], Field(min_length=1)]


class ChannelInfoRequest(_Shape):
    """`d` of op 43."""

    guild_id: Snowflake
    fields: Annotated[list[Literal["status", "voice_start_time"]], Field(min_length=1)]


_SHAPES: dict[int, type[_Shape]] = {
    PRESENCE_UPDATE: Presence,
    VOICE_STATE_UPDATE: VoiceState,
    REQUEST_GUILD_MEMBERS: MembersRequest,
    REQUEST_SOUNDBOARD_SOUNDS: SoundboardRequest,
    REQUEST_CHANNEL_INFO: ChannelInfoRequest,
}


def payload(op: int, d: dict[str, Any]) -> bytes:
    """A gateway command as bytes. Raises InvalidPayloadError if it is larger than Discord takes."""
    encoded = encode_payload(op, d)
    if len(encoded) > MAX_PAYLOAD_BYTES:
        raise InvalidPayloadError(
            f"the payload has {len(encoded)} bytes, Discord takes {MAX_PAYLOAD_BYTES}: make it smaller"
        )
    return encoded


def encode_payload(op: int, d: dict[str, Any]) -> bytes:
    """JSON. Raises InvalidPayloadError for what JSON cannot say (half of a character, a number too big)."""
    try:
        return orjson.dumps({"op": op, "d": d})
    except TypeError as error:  # orjson's errors are TypeErrors
        raise InvalidPayloadError(f"d: {error}") from error


def check_command(op: int, d: dict[str, Any], *, shard: int, shard_count: int, intents: int) -> None:
    """Whether Discord takes `d` over this shard. Raises InvalidPayloadError."""
    shape = _parse(_SHAPES[op], d)
    for field, guild in _guilds(shape):
        home = (int(guild) >> _SHARD_ID_SHIFT) % shard_count
        if home != shard:
            raise InvalidPayloadError(f"{field}: guild {guild} is on shard {home}, not on shard {shard}")
    if isinstance(shape, MembersRequest):
        if asks_for_all_members(d) and not intents & _GUILD_MEMBERS:
            raise InvalidPayloadError("all members need the intent GUILD_MEMBERS, which the fleet lacks")
        if shape.presences and not intents & _GUILD_PRESENCES:
            raise InvalidPayloadError("presences: needs the intent GUILD_PRESENCES, which the fleet lacks")


def check_presence_fields(d: dict[str, Any]) -> None:
    """Whether `d` has some fields of a presence, and none else. Raises InvalidPayloadError."""
    if not d:
        raise InvalidPayloadError("a presence needs at least one of since, activities, status and afk")
    _parse(PresenceFields, d)
    size = len(encode_payload(PRESENCE_UPDATE, d))
    if size > MAX_PRESENCE_BYTES:
        raise InvalidPayloadError(f"the presence has {size} bytes, at most {MAX_PRESENCE_BYTES} fit: make it smaller")


def asks_for_all_members(d: dict[str, Any]) -> bool:
    """Whether a valid `d` of op 8 asks for every member: Discord allows that once in 30 s for each guild."""
    return "user_ids" not in d and not d.get("query") and not d.get("limit")


def _parse(shape: type[_Shape], d: dict[str, Any]) -> _Shape:
    try:
        return shape.model_validate(d)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "d"
        raise InvalidPayloadError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def _guilds(shape: _Shape) -> list[tuple[str, int | str]]:
    if isinstance(shape, VoiceState | MembersRequest | ChannelInfoRequest):
        return [("guild_id", shape.guild_id)]
    if isinstance(shape, SoundboardRequest):
        return [("guild_ids", guild) for guild in shape.guild_ids]
    return []
