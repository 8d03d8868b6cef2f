"""By what an interaction tells whose it is: the message it was made on, what that message answers, or a modal's opener.

A key is an integer of 64 bits: a snowflake for messages and interactions, which never share one, and a digest for
modals. https://discord.com/developers/docs/interactions/receiving-and-responding
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

Key = int

_KEY_BYTES = 8
_MAX_DIGITS = 19  # of less than 64 bits


def modal_key(custom_id: str, user_id: int) -> Key:
    """Of a modal that was shown to a user."""
    digest = blake2b(f"{user_id}:{custom_id}".encode(errors="surrogatepass"), digest_size=_KEY_BYTES)
    return int.from_bytes(digest.digest(), "big")


def keys_of(interaction: Any) -> tuple[Key, ...]:  # noqa: ANN401 - JSON
    """The keys of an interaction payload, the decisive one first; none if any process may handle it."""
    if not isinstance(interaction, dict):
        return ()
    match interaction.get("type"):
        case 3:  # MESSAGE_COMPONENT
            return _keys_of_message(interaction.get("message"))
        case 5:  # MODAL_SUBMIT
            return _keys_of_modal(interaction)
        case _:
            return ()


def user_and_message(interaction: Any) -> tuple[int | None, int | None]:  # noqa: ANN401 - JSON
    """The ids of the user who made an interaction, and of the message it was made on."""
    if not isinstance(interaction, dict):
        return None, None
    user = interaction.get("user") or _part(interaction, "member").get("user")
    return _id_in(user), _id_in(interaction.get("message"))


def _keys_of_message(message: Any) -> tuple[Key, ...]:  # noqa: ANN401 - JSON
    """Its own id, then that of the interaction it answers: known before the message is."""
    if not isinstance(message, dict):
        return ()
    answered = message.get("interaction_metadata") or message.get("interaction")
    return tuple(key for key in (_id_in(message), _id_in(answered)) if key is not None)


def _keys_of_modal(interaction: dict[str, Any]) -> tuple[Key, ...]:
    custom_id, (user_id, _) = _part(interaction, "data").get("custom_id"), user_and_message(interaction)
    return (modal_key(custom_id, user_id),) if isinstance(custom_id, str) and user_id is not None else ()


def _part(payload: dict[str, Any], name: str) -> dict[str, Any]:
    part = payload.get(name)
    return part if isinstance(part, dict) else {}


def _id_in(entity: Any) -> int | None:  # noqa: ANN401 - JSON
    text = entity.get("id") if isinstance(entity, dict) else None
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        return None
    return int(text)
