"""Makes, changes and deletes the messages of the simulated channels, and tells the gateway."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from gateway_sim.dispatch import Dispatch
from gateway_sim.messages import bare_message
from gateway_sim.rest.errors import unknown

if TYPE_CHECKING:
    from gateway_sim.rest.call import Backend, Upload
    from gateway_sim.world import World

JsonObject = dict[str, Any]

EPHEMERAL, LOADING = 1 << 6, 1 << 7
GUILD_MESSAGES, REACTIONS, TYPING = 1 << 9, 1 << 10, 1 << 11
_TO_DIRECT = 3  # the same intents for direct messages stand three bits higher
_MOST_MESSAGES = 20_000
_MENTION = re.compile(r"<@!?(\d{15,20})>")
_EDITABLE = ("content", "embeds", "components", "flags")


def guild_of(world: World, channel_id: int) -> int:
    """The guild of a channel, 0 for a direct message; DiscordError 404 if there is no such channel."""
    guild_id = world.guild_of_channel(channel_id)
    if guild_id is not None:
        return guild_id
    if world.user_of_dm_channel(channel_id) is None:
        raise unknown("Channel", 10003)
    return 0


def find(world: World, channel_id: int, message_id: int) -> JsonObject:
    """A message that was created over REST; DiscordError 404 otherwise."""
    found = world.messages.get(str(message_id))
    if found is None or found["channel_id"] != str(channel_id):
        raise unknown("Message", 10008)
    return found


def require(world: World, channel_id: int, message_id: int) -> JsonObject | None:
    """The message, or None for one of the traffic, whose content is not kept; DiscordError 404 if it never was."""
    if str(message_id) not in world.messages and world.minted(message_id):
        return None
    return find(world, channel_id, message_id)


def create(backend: Backend, channel_id: int, body: JsonObject, uploads: list[Upload], **extra: Any) -> JsonObject:  # noqa: ANN401
    """Store a message of the bot, and dispatch MESSAGE_CREATE unless only one user may see it."""
    world = backend.world
    guild_id = guild_of(world, channel_id)
    author = world.user(world.application_id)
    message = bare_message(world.next_id(), channel_id, author, "", world.now_iso())
    message["channel_type"] = 0 if guild_id else 1
    _apply(world, message, body, uploads)
    if "nonce" in body:
        message["nonce"] = body["nonce"]
    if body.get("message_reference"):
        message |= {"type": 19, "message_reference": {"channel_id": str(channel_id), **body["message_reference"]}}
        message["referenced_message"] = world.messages.get(str(body["message_reference"].get("message_id")))
    message |= extra
    world.messages[message["id"]] = message
    if len(world.messages) > _MOST_MESSAGES:
        world.messages.popitem(last=False)
    tell(backend, "MESSAGE_CREATE", message)
    return message


def edit(backend: Backend, message: JsonObject, body: JsonObject, uploads: list[Upload]) -> JsonObject:
    """Change a message, and dispatch MESSAGE_UPDATE."""
    _apply(backend.world, message, body, uploads)
    message["flags"] &= ~LOADING
    message["edited_timestamp"] = backend.world.now_iso()
    tell(backend, "MESSAGE_UPDATE", message)
    return message


def delete(backend: Backend, channel_id: int, message_id: int) -> None:
    """Forget a message, and dispatch MESSAGE_DELETE."""
    guild_id = guild_of(backend.world, channel_id)
    message = backend.world.messages.pop(str(message_id), None)
    if message is None or not message["flags"] & EPHEMERAL:
        place = {"id": str(message_id), "channel_id": str(channel_id)}
        dispatch(backend, "MESSAGE_DELETE", guild_id, str(message_id), place, GUILD_MESSAGES)


def tell(backend: Backend, event: str, message: JsonObject) -> None:
    """Dispatch a message event, with guild and member, unless the message is ephemeral."""
    if message["flags"] & EPHEMERAL:
        return
    world = backend.world
    guild_id = guild_of(world, int(message["channel_id"]))
    data = dict(message)
    if guild_id:
        member = world.member(guild_id, world.application_id)
        del member["user"]
        data["member"] = member
    dispatch(backend, event, guild_id, message["id"], data, GUILD_MESSAGES)


def dispatch(backend: Backend, event: str, guild_id: int, entity_id: str, data: JsonObject, intents: int) -> None:
    """Hand an event to the gateway; `intents` are those for guilds."""
    if guild_id:
        data = data | {"guild_id": str(guild_id)}
    else:
        intents <<= _TO_DIRECT
    backend.on_dispatch(Dispatch(event, guild_id, entity_id, orjson.dumps(data), intents))


def _apply(world: World, message: JsonObject, body: JsonObject, uploads: list[Upload]) -> None:
    for key in _EDITABLE:
        if body.get(key) is not None:
            message[key] = body[key]
    message["content"] = str(message["content"])
    message["embeds"] = [{"type": "rich", **embed} for embed in message["embeds"]]
    message["components"] = _numbered(message["components"])
    message["tts"] = bool(body.get("tts", message["tts"]))
    mentioned = [int(found) for found in _MENTION.findall(message["content"])]
    message["mentions"] = [world.user(user) for user in dict.fromkeys(mentioned) if world.has_user(user)]
    if uploads:
        message["attachments"] = [_attachment(world, message["channel_id"], upload) for upload in uploads]


def _numbered(components: list[JsonObject]) -> list[JsonObject]:
    """The components with the ids that Discord gives to those that have none."""
    count = 0

    def number(component: JsonObject) -> JsonObject:
        nonlocal count
        count += 1
        done = component | {"id": component.get("id") or count}
        if "components" in component:
            done["components"] = [number(child) for child in component["components"]]
        if isinstance(component.get("accessory"), dict):
            done["accessory"] = number(component["accessory"])
        return done

    return [number(component) for component in components]


def _attachment(world: World, channel_id: str, upload: Upload) -> JsonObject:
    attachment_id = world.next_id()
    url = f"https://cdn.example.com/attachments/{channel_id}/{attachment_id}/{upload.name}"
    facts = {"filename": upload.name, "size": upload.size, "content_type": upload.content_type}
    return {"id": attachment_id, "url": url, "proxy_url": url, "flags": 0, **facts}
