"""Routes that read guilds, their channels, roles and members, and change members."""

from __future__ import annotations

from gateway_sim.guild_payloads import GATEWAY_ONLY
from gateway_sim.rest.call import NO_CONTENT, Call, JsonObject, Reply
from gateway_sim.rest.errors import invalid_form, unknown
from gateway_sim.rest.message_store import dispatch
from gateway_sim.rest.router import Route

_MEMBERS = 1 << 1
_NICK_LENGTH = 32
_MEMBER_FIELDS = ("nick", "roles", "mute", "deaf", "communication_disabled_until", "flags")


def _guild_id(call: Call) -> int:
    guild_id = call.id("guild_id")
    if not call.world.has_guild(guild_id):
        raise unknown("Guild", 10004)
    return guild_id


def _member_id(call: Call, guild_id: int) -> int:
    user_id = call.world.application_id if call.params.get("user_id", "@me") == "@me" else call.id("user_id")
    if user_id not in call.world.member_ids(guild_id):
        raise unknown("Member", 10007)
    return user_id


def _guild(call: Call) -> Reply:
    guild = call.world.guild(_guild_id(call))
    shown = {key: value for key, value in guild.items() if key not in GATEWAY_ONLY}
    shown |= {"max_presences": None}
    if call.flag("with_counts"):
        count = guild["member_count"]
        shown |= {"approximate_member_count": count, "approximate_presence_count": count // 2}
    return Reply(200, shown)


def _preview(call: Call) -> Reply:
    guild = call.world.guild(_guild_id(call))
    keys = ("id", "name", "icon", "splash", "discovery_splash", "emojis", "features", "description", "stickers")
    count = guild["member_count"]
    counts = {"approximate_member_count": count, "approximate_presence_count": count // 2}
    return Reply(200, {key: guild[key] for key in keys} | counts)


def _channels(call: Call) -> Reply:
    guild_id = _guild_id(call)
    found = [call.world.channel(guild_id, channel) for channel in call.world.channel_ids(guild_id)]
    return Reply(200, [channel | {"guild_id": str(guild_id)} for channel in found])


def _roles(call: Call) -> Reply:
    guild_id = _guild_id(call)
    return Reply(200, [call.world.role(guild_id, role) for role in call.world.role_ids(guild_id)])


def _role(call: Call) -> Reply:
    guild_id, role_id = _guild_id(call), call.id("role_id")
    if role_id not in call.world.role_ids(guild_id):
        raise unknown("Role", 10011)
    return Reply(200, call.world.role(guild_id, role_id))


def _emojis(call: Call) -> Reply:
    return Reply(200, call.world.guild(_guild_id(call))["emojis"])


def _nothing(call: Call) -> Reply:
    _guild_id(call)
    return Reply(200, [])


def _active_threads(call: Call) -> Reply:
    _guild_id(call)
    return Reply(200, {"threads": [], "members": []})


def _members(call: Call) -> Reply:
    guild_id, after = _guild_id(call), call.query_id("after", 0)
    found = sorted(user_id for user_id in call.world.member_ids(guild_id) if user_id > after)
    return Reply(200, [call.world.member(guild_id, user_id) for user_id in found[: call.limit(1, 1000)]])


def _search_members(call: Call) -> Reply:
    guild_id, start = _guild_id(call), call.query.get("query", "").lower()
    if not start:
        raise invalid_form([(("query",), "BASE_TYPE_REQUIRED", "This field is required")])
    found = [member for member in call.world.members_of(guild_id) if _is_called(member, start)]
    return Reply(200, found[: call.limit(1, 1000)])


def _is_called(member: JsonObject, start: str) -> bool:
    names = (member["nick"], member["user"]["username"], member["user"]["global_name"])
    return any(name and name.lower().startswith(start) for name in names)


def _member(call: Call) -> Reply:
    guild_id = _guild_id(call)
    return Reply(200, call.world.member(guild_id, _member_id(call, guild_id)))


def _edit_member(call: Call) -> Reply:
    guild_id = _guild_id(call)
    user_id = _member_id(call, guild_id)
    body = call.json_object()
    if len(str(body.get("nick") or "")) > _NICK_LENGTH:
        raise invalid_form([(("nick",), "BASE_TYPE_BAD_LENGTH", f"Must be {_NICK_LENGTH} or fewer in length.")])
    changes = {key: body[key] for key in _MEMBER_FIELDS if key in body}
    return Reply(200, _change_member(call, guild_id, user_id, changes))


def _add_role(call: Call) -> Reply:
    return _set_role(call, present=True)


def _remove_role(call: Call) -> Reply:
    return _set_role(call, present=False)


def _set_role(call: Call, *, present: bool) -> Reply:
    role_id = str(_role(call).body["id"])
    guild_id = _guild_id(call)
    user_id = _member_id(call, guild_id)
    roles = [role for role in call.world.member(guild_id, user_id)["roles"] if role != role_id]
    _change_member(call, guild_id, user_id, {"roles": [*roles, role_id] if present else roles})
    return NO_CONTENT


def _change_member(call: Call, guild_id: int, user_id: int, changes: JsonObject) -> JsonObject:
    member = call.world.patch_member(guild_id, user_id, changes)
    dispatch(call.backend, "GUILD_MEMBER_UPDATE", guild_id, str(user_id), member, _MEMBERS)
    return member


ROUTES = (
    Route("GET", "/guilds/{guild_id}", _guild),
    Route("GET", "/guilds/{guild_id}/preview", _preview),
    Route("GET", "/guilds/{guild_id}/channels", _channels),
    Route("GET", "/guilds/{guild_id}/roles", _roles),
    Route("GET", "/guilds/{guild_id}/roles/{role_id}", _role),
    Route("GET", "/guilds/{guild_id}/emojis", _emojis),
    Route("GET", "/guilds/{guild_id}/stickers", _nothing),
    Route("GET", "/guilds/{guild_id}/invites", _nothing),
    Route("GET", "/guilds/{guild_id}/bans", _nothing),
    Route("GET", "/guilds/{guild_id}/webhooks", _nothing),
    Route("GET", "/guilds/{guild_id}/integrations", _nothing),
    Route("GET", "/guilds/{guild_id}/regions", _nothing),
    Route("GET", "/guilds/{guild_id}/threads/active", _active_threads),
    Route("GET", "/guilds/{guild_id}/members", _members),
    Route("GET", "/guilds/{guild_id}/members/search", _search_members),
    Route("PATCH", "/guilds/{guild_id}/members/@me", _edit_member),
    Route("GET", "/guilds/{guild_id}/members/{user_id}", _member),
    Route("PATCH", "/guilds/{guild_id}/members/{user_id}", _edit_member),
    Route("PUT", "/guilds/{guild_id}/members/{user_id}/roles/{role_id}", _add_role),
    Route("DELETE", "/guilds/{guild_id}/members/{user_id}/roles/{role_id}", _remove_role),
)
