"""Routes about the bot itself: gateway, own user, application, direct messages."""

from __future__ import annotations

from gateway_sim.rest.call import Call, JsonObject, Reply
from gateway_sim.rest.errors import DiscordError, invalid_form, unknown
from gateway_sim.rest.router import Route

_REGIONS = ("rotterdam", "us-east", "japan")


def _gateway(call: Call) -> Reply:
    return Reply(200, {"url": call.backend.gateway_url()})


def _gateway_bot(call: Call) -> Reply:
    backend = call.backend
    limit = backend.session_start_limit()
    return Reply(
        200, {"url": backend.gateway_url(), "shards": backend.recommended_shards(), "session_start_limit": limit}
    )


def _me(call: Call) -> Reply:
    return Reply(200, call.world.bot_user)


def _edit_me(call: Call) -> Reply:
    name = call.json_object().get("username")
    if name is not None:
        if not 2 <= len(str(name)) <= 32:
            raise invalid_form([(("username",), "BASE_TYPE_BAD_LENGTH", "Must be between 2 and 32 in length.")])
        call.world.bot_user["username"] = str(name)
    return Reply(200, call.world.bot_user)


def _user(call: Call) -> Reply:
    user_id = call.id("user_id")
    if not call.world.has_user(user_id):
        raise unknown("User", 10013)
    return Reply(200, call.world.user(user_id))


def _my_guilds(call: Call) -> Reply:
    after, before = call.query_id("after", 0), call.query_id("before", 1 << 64)
    found = [guild_id for guild_id in call.world.guild_ids if after < guild_id < before]
    limit = call.limit(200, 200)
    page = found[-limit:] if "before" in call.query else found[:limit]
    return Reply(200, [_own_guild(call, guild_id) for guild_id in page])


def _own_guild(call: Call, guild_id: int) -> JsonObject:
    guild = call.world.guild(guild_id)
    shown = {key: guild[key] for key in ("id", "name", "icon", "banner", "features")}
    if call.flag("with_counts"):
        count = guild["member_count"]
        shown |= {"approximate_member_count": count, "approximate_presence_count": count // 2}
    return shown | {"owner": False, "permissions": "2248473465835073"}


def _open_dm(call: Call) -> Reply:
    text = str(call.json_object().get("recipient_id", ""))
    if not text.isdecimal():
        raise invalid_form([(("recipient_id",), "NUMBER_TYPE_COERCE", f'Value "{text}" is not snowflake.')])
    if int(text) == call.world.application_id:
        raise DiscordError(400, 50007, "Cannot send messages to this user")
    if not call.world.has_user(int(text)):
        raise unknown("User", 10013)
    return Reply(200, call.world.dm_channel(int(text)))


def _application(call: Call) -> Reply:
    return Reply(200, call.world.application | {"approximate_guild_count": len(call.world.guild_ids)})


def _oauth_application(call: Call) -> Reply:
    hidden = ("approximate_user_authorization_count", "integration_types_config")
    return Reply(200, {key: value for key, value in _application(call).body.items() if key not in hidden})


def _application_emojis(_call: Call) -> Reply:
    return Reply(200, {"items": []})


def _nothing(_call: Call) -> Reply:
    return Reply(200, [])


def _voice_regions(_call: Call) -> Reply:
    state = {"optimal": False, "deprecated": False, "custom": False}
    return Reply(200, [{"id": region, "name": region.title(), **state} for region in _REGIONS])


def _sticker_packs(_call: Call) -> Reply:
    return Reply(200, {"sticker_packs": []})


ROUTES = (
    Route("GET", "/gateway", _gateway, auth=False),
    Route("GET", "/gateway/bot", _gateway_bot),
    Route("GET", "/users/@me", _me),
    Route("PATCH", "/users/@me", _edit_me),
    Route("GET", "/users/@me/guilds", _my_guilds),
    Route("POST", "/users/@me/channels", _open_dm),
    Route("GET", "/users/{user_id}", _user),
    Route("GET", "/applications/@me", _application),
    Route("GET", "/oauth2/applications/@me", _oauth_application),
    Route("GET", "/applications/{application_id}/emojis", _application_emojis),
    Route("GET", "/applications/{application_id}/skus", _nothing),
    Route("GET", "/applications/{application_id}/entitlements", _nothing),
    Route("GET", "/applications/{application_id}/role-connections/metadata", _nothing),
    Route("GET", "/voice/regions", _voice_regions),
    Route("GET", "/sticker-packs", _sticker_packs, auth=False),
)
