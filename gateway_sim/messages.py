"""The message object that traffic, interactions and REST share."""

from __future__ import annotations

from typing import Any


def bare_message(
    message_id: str, channel_id: int, author: dict[str, Any], content: str, timestamp: str
) -> dict[str, Any]:
    """A message without attachments (https://discord.com/developers/docs/resources/message#message-object)."""
    return {
        "id": message_id,
        "type": 0,
        "channel_id": str(channel_id),
        "content": content,
        "author": author,
        "timestamp": timestamp,
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
        "pinned": False,
        "flags": 0,
    }
