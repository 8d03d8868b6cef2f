"""The bot's own account: its user as it sees itself, and its application."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

_OWN = {"mfa_enabled": True, "locale": "en-US", "verified": True, "email": None, "flags": 0, "bio": ""}
_MESSAGE_CONTENT, _MEMBERS, _PRESENCE = 1 << 18, 1 << 14, 1 << 12


def own_user(application_id: int) -> JsonObject:
    """The bot user of READY and `GET /users/@me`."""
    return {
        "id": str(application_id),
        "username": "relay-under-test",
        "global_name": None,
        "avatar": None,
        "discriminator": "4242",
        "public_flags": 0,
        "bot": True,
        "avatar_decoration_data": None,
        "primary_guild": None,
        **_OWN,
    }


def public_user(user: JsonObject) -> JsonObject:
    """The bot user as it stands in messages and member lists."""
    return {key: value for key, value in user.items() if key not in _OWN}


def application(application_id: int, owner: JsonObject, verify_key: str) -> JsonObject:
    """The application of `GET /applications/@me`, with all privileged intents granted."""
    return {
        "id": str(application_id),
        "name": "Relay under test",
        "icon": None,
        "description": "A bot that talks to a simulator.",
        "summary": "",
        "type": None,
        "bot": public_user(own_user(application_id)),
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": verify_key,
        "flags": _MESSAGE_CONTENT | _MEMBERS | _PRESENCE,
        "hook": True,
        "is_monetized": False,
        "tags": [],
        "rpc_origins": [],
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "integration_types_config": {"0": {}},
        "approximate_guild_count": 0,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "owner": owner,
        "team": None,
    }
