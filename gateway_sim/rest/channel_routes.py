"""Routes of channels: messages, reactions, typing."""

from __future__ import annotations

from gateway_sim.rest import message_store
from gateway_sim.rest.call import NO_CONTENT, Call, JsonObject, Reply
from gateway_sim.rest.errors import DiscordError
from gateway_sim.rest.message_form import check_message
from gateway_sim.rest.router import Route

_BULK = range(2, 101)


def _channel(call: Call) -> Reply:
    channel_id = call.id("channel_id")
    guild_id = message_store.guild_of(call.world, channel_id)
    if guild_id:
        return Reply(200, call.world.channel(guild_id, channel_id) | {"guild_id": str(guild_id)})
    user_id = call.world.user_of_dm_channel(channel_id)
    return Reply(200, call.world.dm_channel(user_id or 0))


def _create_message(call: Call) -> Reply:
    body = call.json_object()
    channel_id = call.id("channel_id")
    message_store.guild_of(call.world, channel_id)
    check_message(body, upload_count=len(call.uploads))
    return Reply(200, message_store.create(call.backend, channel_id, body, call.uploads))


def _messages(call: Call) -> Reply:
    channel_id = call.id("channel_id")
    message_store.guild_of(call.world, channel_id)
    before, after = call.query_id("before", 1 << 64), call.query_id("after", 0)
    found = [
        message
        for message in call.world.messages.values()
        if message["channel_id"] == str(channel_id)
        and after < int(message["id"]) < before
        and not message["flags"] & message_store.EPHEMERAL
    ]
    limit = call.limit(50, 100)
    page = found[:limit] if "after" in call.query else found[-limit:]
    return Reply(200, page[::-1])


def _message(call: Call) -> Reply:
    return Reply(200, message_store.find(call.world, call.id("channel_id"), call.id("message_id")))


def _edit_message(call: Call) -> Reply:
    message = message_store.find(call.world, call.id("channel_id"), call.id("message_id"))
    body = call.json_object()
    check_message(body, may_be_empty=True)
    return Reply(200, message_store.edit(call.backend, message, body, call.uploads))


def _delete_message(call: Call) -> Reply:
    channel_id, message_id = call.id("channel_id"), call.id("message_id")
    message_store.require(call.world, channel_id, message_id)
    message_store.delete(call.backend, channel_id, message_id)
    return NO_CONTENT


def _delete_messages(call: Call) -> Reply:
    channel_id, ids = call.id("channel_id"), call.json_object().get("messages")
    if not isinstance(ids, list) or len(ids) not in _BULK:
        raise DiscordError(400, 50016, "Provided too few or too many messages to delete. Must provide 2 to 100.")
    guild_id = message_store.guild_of(call.world, channel_id)
    for message_id in ids:
        call.world.messages.pop(str(message_id), None)
    data = {"ids": [str(message_id) for message_id in ids], "channel_id": str(channel_id)}
    event = "MESSAGE_DELETE_BULK"
    message_store.dispatch(call.backend, event, guild_id, str(ids[0]), data, message_store.GUILD_MESSAGES)
    return NO_CONTENT


def _nothing(call: Call) -> Reply:
    message_store.guild_of(call.world, call.id("channel_id"))
    return Reply(200, [])


def _typing(call: Call) -> Reply:
    channel_id, world = call.id("channel_id"), call.world
    guild_id = message_store.guild_of(world, channel_id)
    me = str(world.application_id)
    data: JsonObject = {"channel_id": str(channel_id), "user_id": me, "timestamp": int(world.clock())}
    if guild_id:
        data["member"] = world.member(guild_id, world.application_id)
    message_store.dispatch(call.backend, "TYPING_START", guild_id, me, data, message_store.TYPING)
    return NO_CONTENT


def _add_reaction(call: Call) -> Reply:
    guild_id, data = _own_reaction(call)
    if guild_id:
        data["member"] = call.world.member(guild_id, call.world.application_id)
    event = "MESSAGE_REACTION_ADD"
    message_store.dispatch(call.backend, event, guild_id, data["message_id"], data, message_store.REACTIONS)
    return NO_CONTENT


def _remove_reaction(call: Call) -> Reply:
    guild_id, data = _own_reaction(call)
    event = "MESSAGE_REACTION_REMOVE"
    message_store.dispatch(call.backend, event, guild_id, data["message_id"], data, message_store.REACTIONS)
    return NO_CONTENT


def _own_reaction(call: Call) -> tuple[int, JsonObject]:
    """The guild of the message, and the event of the bot's reaction to it."""
    channel_id, message_id = call.id("channel_id"), call.id("message_id")
    guild_id = message_store.guild_of(call.world, channel_id)
    message_store.require(call.world, channel_id, message_id)
    return guild_id, {
        "user_id": str(call.world.application_id),
        "channel_id": str(channel_id),
        "message_id": str(message_id),
        "emoji": _emoji(call.params["emoji"]),
        "burst": False,
        "type": 0,
    }


def _emoji(text: str) -> JsonObject:
    """`name:id` of a custom emoji, or the emoji itself."""
    name, colon, emoji_id = text.rpartition(":")
    if colon and emoji_id.isdecimal():
        return {"id": emoji_id, "name": name}
    if text.isascii() and text.isalpha():
        raise DiscordError(400, 10014, "Unknown Emoji")
    return {"id": None, "name": text}


_MESSAGE = "/channels/{channel_id}/messages/{message_id}"
_OWN_REACTION = f"{_MESSAGE}/reactions/{{emoji}}/@me"
ROUTES = (
    Route("GET", "/channels/{channel_id}", _channel),
    Route("GET", "/channels/{channel_id}/messages", _messages),
    Route("POST", "/channels/{channel_id}/messages", _create_message),
    Route("POST", "/channels/{channel_id}/messages/bulk-delete", _delete_messages),
    Route("GET", _MESSAGE, _message),
    Route("PATCH", _MESSAGE, _edit_message),
    Route("DELETE", _MESSAGE, _delete_message),
    Route("PUT", _OWN_REACTION, _add_reaction),
    Route("DELETE", _OWN_REACTION, _remove_reaction),
    Route("POST", "/channels/{channel_id}/typing", _typing),
    Route("GET", "/channels/{channel_id}/pins", _nothing),
    Route("GET", "/channels/{channel_id}/invites", _nothing),
    Route("GET", "/channels/{channel_id}/webhooks", _nothing),
)
