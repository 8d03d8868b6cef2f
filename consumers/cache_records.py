"""A guild as JSON: what its dispatches make of it, and the frames by which a snapshot tells it. Pure."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from consumers.errors import MalformedDispatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    JsonObject = dict[str, Any]
    Frame = tuple[str, JsonObject]

CHUNK_SIZE: Final = 1000  # members, as in Discord's own chunks
MEMBERS_COMPLETE: Final = "hikari_relay_members_complete"
"""A key that we add to a GUILD_CREATE: all members of the guild are known with it and its chunks."""
MEMBERS_NONCE: Final = "cache-"
"""What the nonce of a request for all members of a guild begins with, if it was made for the cache."""
_COMPRESSION: Final = 1

_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "channels": ("id",),
    "threads": ("id",),
    "roles": ("id",),
    "emojis": ("id",),
    "stickers": ("id",),
    "members": ("user", "id"),
    "presences": ("user", "id"),
    "voice_states": ("user_id",),
    "invites": ("code",),
}
_LEFT_OUT: Final = ("stage_instances", "guild_scheduled_events", "soundboard_sounds", "embedded_activities")


def guild_id_of(event_type: str, payload: Mapping[str, Any]) -> int | None:
    """The guild that a dispatch is about; None if it is about none."""
    name = "id" if event_type in {"GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE"} else "guild_id"
    value = payload.get(name)
    return int(value) if isinstance(value, str | int) and str(value).isdecimal() else None


def shard_of_guild(guild_id: int, shard_count: int) -> int:
    """https://docs.discord.com/developers/events/gateway#sharding-sharding-formula"""
    return (guild_id >> 22) % shard_count


def payload_of(body: bytes) -> JsonObject:
    """`d` of a gateway frame. Raises MalformedDispatchError."""
    try:
        payload = orjson.loads(body)["d"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise MalformedDispatchError(f"the frame has no d: {error!r}") from None
    if not isinstance(payload, dict):
        raise MalformedDispatchError(f"d is not an object but {type(payload).__name__}")
    return payload


def pack(payload: JsonObject) -> bytes:
    """The body of a snapshot's message."""
    return zlib.compress(orjson.dumps(payload), _COMPRESSION)


def unpack(body: bytes) -> JsonObject:
    """The payload in the body of a snapshot's message. Raises MalformedDispatchError."""
    try:
        payload = orjson.loads(zlib.decompress(body))
    except (zlib.error, orjson.JSONDecodeError) as error:
        raise MalformedDispatchError(f"a message of a snapshot cannot be read: {error!r}") from None
    if not isinstance(payload, dict):
        raise MalformedDispatchError("a message of a snapshot is no object")
    return payload


def completes_members(chunk: Mapping[str, Any]) -> bool:
    """Whether a GUILD_MEMBERS_CHUNK is the last one of all members of its guild."""
    nonce, index, count = chunk.get("nonce"), chunk.get("chunk_index"), chunk.get("chunk_count")
    is_ours = isinstance(nonce, str) and nonce.startswith(MEMBERS_NONCE)
    return is_ours and isinstance(index, int) and isinstance(count, int) and index + 1 >= count


class GuildRecord:
    """One guild, from its GUILD_CREATE on. `apply` dispatches in order; `frames` tell its state at that point.

    `fields` are those that have no entry of their own in `entities`: kind → id → JSON.
    """

    def __init__(self, create: JsonObject) -> None:
        self.fields = {key: value for key, value in create.items() if key not in _KEYS and key not in _LEFT_OUT}
        self.guild_id = int(create["id"])
        self.is_available = True
        self.entities: dict[str, dict[str, JsonObject]] = {kind: {} for kind in _KEYS}
        for kind in _KEYS:
            self.replace(kind, create.get(kind) or ())
        member_count = create.get("member_count")
        if isinstance(member_count, int) and 0 < member_count <= len(self.entities["members"]):
            self.fields[MEMBERS_COMPLETE] = True  # also when some of them leave

    def apply(self, event_type: str, payload: JsonObject, *, own_id: int) -> None:
        """Change what a dispatch changes; `own_id` is the bot's user. Not for GUILD_CREATE, nor for leaving."""
        change = _CHANGES.get(event_type)
        if change is not None:
            change(self, payload)
        elif event_type == "THREAD_MEMBERS_UPDATE" and str(own_id) in (payload.get("removed_member_ids") or ()):
            self.remove("threads", payload["id"])

    def frames(self, *, heavy: Iterable[str]) -> Iterator[Frame]:
        """Event types and payloads that make this guild of nothing; of heavy parts only those named by `heavy`."""
        entities = {kind: list(found.values()) for kind, found in self.entities.items()}
        invites = entities.pop("invites")
        in_voice = {state["user_id"] for state in entities["voice_states"]}
        speakers = [one for key, one in self.entities["members"].items() if key in in_voice]
        others = [one for key, one in self.entities["members"].items() if key not in in_voice]
        known = self.entities["members"].keys()
        # hikari cannot read a voice state of which the GUILD_CREATE has no member.
        entities["voice_states"] = [state for state in entities["voice_states"] if state["user_id"] in known]
        members = [*speakers, *others] if "members" in heavy else speakers
        first = max(CHUNK_SIZE, len(speakers))
        presences = entities["presences"] if "presences" in heavy else []
        entities |= {"members": members[:first], "presences": presences[:first]}
        yield "GUILD_CREATE", {**self.fields, **entities, "unavailable": False}
        yield from self._chunks(members[first:], presences[first:])
        yield from (("INVITE_CREATE", invite) for invite in invites)
        if not self.is_available:
            yield "GUILD_DELETE", {"id": self.fields["id"], "unavailable": True}

    def _chunks(self, members: list[JsonObject], presences: list[JsonObject]) -> Iterator[Frame]:
        for start in range(0, max(len(members), len(presences)), CHUNK_SIZE):
            here = slice(start, start + CHUNK_SIZE)
            chunk = {"guild_id": self.fields["id"], "chunk_index": 0, "chunk_count": 1, "not_found": []}
            yield "GUILD_MEMBERS_CHUNK", {**chunk, "members": members[here], "presences": presences[here]}

    # Changes

    def replace(self, kind: str, entities: Iterable[JsonObject]) -> None:
        """These are all of `kind`, a key of GUILD_CREATE."""
        self.entities[kind] = {_key(kind, one): one for one in entities}

    def put(self, kind: str, entity: JsonObject) -> None:
        """Add or change one of `kind`, a key of GUILD_CREATE."""
        key = _key(kind, entity)
        self.entities[kind][key] = {**self.entities[kind].get(key, {}), **entity}

    def remove(self, kind: str, key: str) -> None:
        """Take one of `kind` away, if it is there."""
        self.entities[kind].pop(str(key), None)


def _key(kind: str, entity: JsonObject) -> str:
    value: Any = entity
    for name in _KEYS[kind]:
        value = value[name]
    return str(value)


def _update(record: GuildRecord, payload: JsonObject) -> None:
    for key, value in payload.items():
        if key not in _KEYS:
            if key != "guild_id":
                record.fields[key] = value
        elif value is not None:
            record.replace(key, value)


def _delete_channel(record: GuildRecord, payload: JsonObject) -> None:
    record.remove("channels", payload["id"])
    _remove_threads_of(record, {payload["id"]})


def _remove_threads_of(record: GuildRecord, channel_ids: Iterable[str]) -> None:
    gone = set(channel_ids)
    threads = record.entities["threads"].items()
    record.entities["threads"] = {key: one for key, one in threads if one.get("parent_id") not in gone}


def _sync_threads(record: GuildRecord, payload: JsonObject) -> None:
    if payload.get("channel_ids"):
        _remove_threads_of(record, payload["channel_ids"])
    else:
        record.entities["threads"] = {}
    for thread in payload["threads"]:
        record.put("threads", thread)


def _take_chunk(record: GuildRecord, payload: JsonObject) -> None:
    for member in payload["members"]:
        record.put("members", member)
    for presence in payload.get("presences") or ():
        record.put("presences", presence)
    if completes_members(payload):
        record.fields[MEMBERS_COMPLETE] = True


def _take_presence(record: GuildRecord, payload: JsonObject) -> None:
    if payload.get("status") == "offline":
        record.remove("presences", payload["user"]["id"])
    else:
        record.entities["presences"][payload["user"]["id"]] = payload


def _take_voice_state(record: GuildRecord, payload: JsonObject) -> None:
    if payload.get("channel_id") is None:
        record.remove("voice_states", payload["user_id"])
        return
    state = dict(payload)
    member = state.pop("member", None)
    if member is not None:
        record.put("members", member)
    record.put("voice_states", state)


def _become_unavailable(record: GuildRecord, payload: JsonObject) -> None:
    record.is_available = not payload.get("unavailable")


def _putting(kind: str, name: str | None = None) -> Callable[[GuildRecord, JsonObject], None]:
    return lambda record, payload: record.put(kind, payload[name] if name else payload)


def _removing(kind: str, *path: str) -> Callable[[GuildRecord, JsonObject], None]:
    def remove(record: GuildRecord, payload: JsonObject) -> None:
        value: Any = payload
        for name in path:
            value = value[name]
        record.remove(kind, value)

    return remove


_CHANGES: Final[dict[str, Callable[[GuildRecord, JsonObject], None]]] = {
    "GUILD_UPDATE": _update,
    "GUILD_DELETE": _become_unavailable,
    "CHANNEL_CREATE": _putting("channels"),
    "CHANNEL_UPDATE": _putting("channels"),
    "CHANNEL_DELETE": _delete_channel,
    "THREAD_CREATE": _putting("threads"),
    "THREAD_UPDATE": _putting("threads"),
    "THREAD_DELETE": _removing("threads", "id"),
    "THREAD_LIST_SYNC": _sync_threads,
    "GUILD_ROLE_CREATE": _putting("roles", "role"),
    "GUILD_ROLE_UPDATE": _putting("roles", "role"),
    "GUILD_ROLE_DELETE": _removing("roles", "role_id"),
    "GUILD_EMOJIS_UPDATE": _update,
    "GUILD_STICKERS_UPDATE": _update,
    "GUILD_MEMBER_ADD": _putting("members"),
    "GUILD_MEMBER_UPDATE": _putting("members"),
    "GUILD_MEMBER_REMOVE": _removing("members", "user", "id"),
    "GUILD_MEMBERS_CHUNK": _take_chunk,
    "PRESENCE_UPDATE": _take_presence,
    "VOICE_STATE_UPDATE": _take_voice_state,
    "INVITE_CREATE": _putting("invites"),
    "INVITE_DELETE": _removing("invites", "code"),
}
