"""Makes INTERACTION_CREATE dispatches of every kind, whose ids and tokens REST then accepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from gateway_sim.dispatch import Dispatch
from gateway_sim.interaction_book import OpenInteraction, token_of
from gateway_sim.messages import bare_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway_sim.world import World

JsonObject = dict[str, Any]

ALL_PERMISSIONS = "9007199254740991"
ATTACHMENT_SIZE_LIMIT = 10 * 1024 * 1024

_COMMON = frozenset({"guild_id", "channel_id", "user_id", "locale", "dm", "permissions"})
_SUBCOMMAND, _GROUP, _STRING, _INTEGER, _BOOLEAN, _NUMBER = 1, 2, 3, 4, 5, 10
_USER, _CHANNEL, _ROLE, _MENTIONABLE = 6, 7, 8, 9
_DEFAULT_COMMAND_MS = 150_000_000_000


@dataclass(slots=True)
class _Scene:
    """Who did it where, and the options that the caller gave."""

    world: World
    guild_id: int
    channel_id: int
    user_id: int
    given: Mapping[str, Any]
    resolved: dict[str, JsonObject] = field(default_factory=dict)

    def resolve(self, section: str, entity_id: int, entity: JsonObject) -> None:
        self.resolved.setdefault(section, {})[str(entity_id)] = entity

    def resolve_user(self, user_id: int) -> None:
        self.resolve("users", user_id, self.world.user(user_id))
        if self.guild_id:
            member = self.world.member(self.guild_id, user_id)
            hidden = ("user", "deaf", "mute")
            partial = {key: value for key, value in member.items() if key not in hidden}
            self.resolve("members", user_id, partial | {"permissions": ALL_PERMISSIONS})

    def resolve_channel(self, channel_id: int) -> None:
        self.resolve("channels", channel_id, _channel(self.world, self.guild_id, channel_id))

    def resolve_role(self, role_id: int) -> None:
        self.resolve("roles", role_id, self.world.role(self.guild_id, role_id))


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind: Discord's interaction type, the builder of `data`, the options it takes."""

    type: int
    build: Callable[[_Scene], JsonObject]
    options: frozenset[str]


def make_interaction(world: World, kind: str, **options: Any) -> Dispatch:  # noqa: ANN401 - JSON values
    """One INTERACTION_CREATE; the answer is due within 3 s from now.

    Every kind takes `guild_id`, `channel_id`, `user_id`, `locale`, `dm` (true: in a direct message), and `permissions`
    (of the member there, as Discord's bit field; default: all). Kinds:
    - `slash`: `name`, `options` ({name: value} or a list of Discord's option objects), `subcommands` (outermost first)
    - `autocomplete`: the same, and `focused` (the option being typed; default: the last)
    - `user`: `name`, `target_id`; `message`: `name`, `target` (a message object)
    - `button`: `custom_id`, `message` or `message_id` (one that the bot sent over REST)
    - `select`: `custom_id`, `values`, `component_type` (3 string, 5 user, 6 role, 7 mentionable, 8 channel), `message`
    - `modal_submit`: `custom_id`, `fields` ({custom_id: text}), `message`

    ValueError says what to change when a kind or option is unknown.
    """
    interaction_type, payload = interaction_payload(world, kind, **options)
    interaction_id, token, guild_id = payload["id"], payload["token"], int(payload.get("guild_id", 0))
    message_id = payload["message"]["id"] if "message" in payload else None
    channel_id = int(payload["channel_id"])
    world.interactions.issue(
        OpenInteraction(interaction_id, token, interaction_type, guild_id, channel_id, world.clock(), message_id)
    )
    return Dispatch("INTERACTION_CREATE", guild_id, interaction_id, orjson.dumps(payload))


def interaction_payload(world: World, kind: str, **options: Any) -> tuple[int, JsonObject]:  # noqa: ANN401 - JSON values
    """Discord's interaction type and the `d` of an interaction that nobody was sent yet: REST does not know it."""
    found = _KINDS.get(kind)
    if found is None:
        msg = f"there is no interaction kind {kind!r}: use one of {', '.join(sorted(_KINDS))}"
        raise ValueError(msg)
    if unknown := options.keys() - found.options - _COMMON:
        allowed = ", ".join(sorted(found.options | _COMMON))
        msg = f"an interaction of kind {kind!r} has no option {', '.join(sorted(unknown))}: use {allowed}"
        raise ValueError(msg)
    return found.type, _payload(_scene(world, options), found)


def _scene(world: World, options: Mapping[str, Any]) -> _Scene:
    dm = bool(options.get("dm", False))
    guild_id = 0 if dm else int(options.get("guild_id") or (world.guild_ids[0] if world.guild_ids else 0))
    if not dm and not world.has_guild(guild_id):
        some = ", ".join(map(str, world.guild_ids[:3])) or "it has none"
        msg = f"the bot is in no guild {guild_id}: give the id of one of its guilds ({some}, …), or dm=true"
        raise ValueError(msg)
    default_user = world.member_ids(guild_id)[1] if guild_id else int(world.application["owner"]["id"])
    user_id = int(options.get("user_id") or default_user)
    default_channel = world.text_channel_ids(guild_id)[0] if guild_id else int(world.dm_channel(user_id)["id"])
    return _Scene(world, guild_id, int(options.get("channel_id") or default_channel), user_id, options)


def _payload(scene: _Scene, kind: _Kind) -> JsonObject:
    world, guild_id = scene.world, scene.guild_id
    interaction_id = world.next_id()
    data = kind.build(scene)
    if scene.resolved:
        data["resolved"] = scene.resolved
    owners = {"0": str(guild_id)}
    payload: JsonObject = {
        "id": interaction_id,
        "application_id": str(world.application_id),
        "type": kind.type,
        "data": data,
        "channel_id": str(scene.channel_id),
        "channel": _channel(world, guild_id, scene.channel_id),
        "token": token_of(interaction_id),
        "version": 1,
        "locale": scene.given.get("locale", "en-US"),
        "app_permissions": ALL_PERMISSIONS,
        "entitlements": [],
        "entitlement_sku_ids": [],
        "authorizing_integration_owners": owners,
        "context": 0 if guild_id else 1,
        "attachment_size_limit": ATTACHMENT_SIZE_LIMIT,
    }
    if guild_id:
        guild_locale = "en-US"
        member = world.member(guild_id, scene.user_id) | {"permissions": _permissions(scene)}
        payload |= {"guild_id": str(guild_id), "guild_locale": guild_locale, "member": member}
        payload["guild"] = {"id": str(guild_id), "locale": guild_locale, "features": []}
    else:
        payload["user"] = world.user(scene.user_id)
    if "message" in kind.options and (message := _message(scene, kind)) is not None:
        payload["message"] = message
    return payload


def _permissions(scene: _Scene) -> str:
    text = str(scene.given.get("permissions", ALL_PERMISSIONS))
    if not text.isdecimal():
        msg = f"permissions is a bit field in decimal, like {ALL_PERMISSIONS} for all of them, not {text!r}"
        raise ValueError(msg)
    return text


def _channel(world: World, guild_id: int, channel_id: int) -> JsonObject:
    if not guild_id:
        return {"id": str(channel_id), "type": 1, "flags": 0}
    if world.guild_of_channel(channel_id) != guild_id:
        some = ", ".join(map(str, world.text_channel_ids(guild_id)[:3]))
        msg = f"guild {guild_id} has no channel {channel_id}: give the id of one of its channels ({some}, …)"
        raise ValueError(msg)
    channel = world.channel(guild_id, channel_id)
    del channel["permission_overwrites"]
    return channel | {"guild_id": str(guild_id), "permissions": ALL_PERMISSIONS}


# --- commands


def _command_data(scene: _Scene, command_type: int) -> JsonObject:
    name = str(scene.given.get("name", "ping"))
    known = scene.world.find_command(name, command_type, scene.guild_id)
    data: JsonObject = {
        "id": known["id"] if known else str((_DEFAULT_COMMAND_MS << 22) + sum(name.encode())),
        "name": name,
        "type": command_type,
    }
    if known and "guild_id" in known:
        data["guild_id"] = known["guild_id"]
    return data


def _slash(scene: _Scene) -> JsonObject:
    return _command_data(scene, 1) | {"options": _nest(scene, _leaf_options(scene))}


def _autocomplete(scene: _Scene) -> JsonObject:
    leaves = _leaf_options(scene)
    focused = scene.given.get("focused", leaves[-1]["name"] if leaves else None)
    for option in leaves:
        if option["name"] == focused:
            option["focused"] = True
    return _command_data(scene, 1) | {"options": _nest(scene, leaves)}


def _leaf_options(scene: _Scene) -> list[JsonObject]:
    given = scene.given.get("options") or {}
    if isinstance(given, dict):
        given = [{"name": name, "type": _option_type(value), "value": value} for name, value in given.items()]
    leaves = [dict(option) for option in given]
    for option in leaves:
        _resolve_option(scene, option)
    return leaves


def _option_type(value: object) -> int:
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int):
        return _INTEGER
    return _NUMBER if isinstance(value, float) else _STRING


def _resolve_option(scene: _Scene, option: JsonObject) -> None:
    kind = option.get("type")
    if kind in _RESOLVERS:
        option["value"] = str(option["value"])
        _RESOLVERS[kind](scene, int(option["value"]))


def _resolve_mentionable(scene: _Scene, entity_id: int) -> None:
    if scene.world.has_user(entity_id):
        scene.resolve_user(entity_id)
    else:
        scene.resolve_role(entity_id)


_RESOLVERS: dict[int, Callable[[_Scene, int], None]] = {
    _USER: _Scene.resolve_user,
    _CHANNEL: _Scene.resolve_channel,
    _ROLE: _Scene.resolve_role,
    _MENTIONABLE: _resolve_mentionable,
}


def _nest(scene: _Scene, leaves: list[JsonObject]) -> list[JsonObject]:
    path: Sequence[str] = scene.given.get("subcommands") or ()
    nested, kind = leaves, _SUBCOMMAND
    for name in reversed(path):
        nested, kind = [{"name": name, "type": kind, "options": nested}], _GROUP
    return nested


def _user_command(scene: _Scene) -> JsonObject:
    target_id = int(scene.given.get("target_id") or scene.user_id)
    scene.resolve_user(target_id)
    return _command_data(scene, 2) | {"target_id": str(target_id)}


def _message_command(scene: _Scene) -> JsonObject:
    target = scene.given.get("target") or _new_message(scene, scene.user_id, "a message worth a command")
    scene.resolve("messages", int(target["id"]), target)
    return _command_data(scene, 3) | {"target_id": target["id"]}


# --- components and modals


def _button(scene: _Scene) -> JsonObject:
    return {"custom_id": str(scene.given.get("custom_id", "button")), "component_type": 2, "id": 2}


def _select(scene: _Scene) -> JsonObject:
    component_type = int(scene.given.get("component_type", 3))
    values = [str(value) for value in scene.given.get("values", ("first",) if component_type == 3 else ())]
    resolver = _SELECT_RESOLVERS.get(component_type)
    if resolver is not None:
        for value in values:
            resolver(scene, int(value))
    custom_id = str(scene.given.get("custom_id", "select"))
    return {"custom_id": custom_id, "component_type": component_type, "values": values, "id": 2}


_SELECT_RESOLVERS: dict[int, Callable[[_Scene, int], None]] = {
    5: _Scene.resolve_user,
    6: _Scene.resolve_role,
    7: _resolve_mentionable,
    8: _Scene.resolve_channel,
}


def _modal_submit(scene: _Scene) -> JsonObject:
    fields: Mapping[str, str] = scene.given.get("fields") or {"text": "hello"}
    rows = [
        {
            "type": 1,
            "id": 2 * n + 1,
            "components": [{"type": 4, "id": 2 * n + 2, "custom_id": key, "value": str(value)}],
        }
        for n, (key, value) in enumerate(fields.items())
    ]
    return {"custom_id": str(scene.given.get("custom_id", "modal")), "components": rows}


def _message(scene: _Scene, kind: _Kind) -> JsonObject | None:
    given = scene.given.get("message")
    if given is not None:
        return dict(given)
    if (message_id := scene.given.get("message_id")) is not None:
        known = scene.world.messages.get(str(message_id))
        if known is None:
            msg = f"the bot sent no message {message_id}: give the id of a message that it created over REST"
            raise ValueError(msg)
        return dict(known)
    if kind.type != _COMPONENT:
        return None
    message = _new_message(scene, scene.world.application_id, "press here")
    custom_id = str(scene.given.get("custom_id", "button"))
    button = {"type": 2, "id": 2, "style": 1, "label": "press", "custom_id": custom_id}
    return message | {"components": [{"type": 1, "id": 1, "components": [button]}]}


def _new_message(scene: _Scene, author_id: int, content: str) -> JsonObject:
    world = scene.world
    return bare_message(world.next_id(), scene.channel_id, world.user(author_id), content, world.now_iso())


_COMPONENT = 3
_COMMAND_OPTIONS = frozenset({"name", "options", "subcommands"})
_MESSAGE_OPTIONS = frozenset({"custom_id", "message", "message_id"})
_KINDS = {
    "slash": _Kind(2, _slash, _COMMAND_OPTIONS),
    "user": _Kind(2, _user_command, frozenset({"name", "target_id"})),
    "message": _Kind(2, _message_command, frozenset({"name", "target"})),
    "button": _Kind(_COMPONENT, _button, _MESSAGE_OPTIONS),
    "select": _Kind(_COMPONENT, _select, _MESSAGE_OPTIONS | {"values", "component_type"}),
    "autocomplete": _Kind(4, _autocomplete, _COMMAND_OPTIONS | {"focused"}),
    "modal_submit": _Kind(5, _modal_submit, _MESSAGE_OPTIONS | {"fields"}),
}
KINDS = tuple(_KINDS)
