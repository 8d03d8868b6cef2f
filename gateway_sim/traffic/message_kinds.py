"""Traffic about messages: created, changed, deleted, reacted to, being typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway_sim.messages import bare_message
from gateway_sim.traffic.template import ID, TIMESTAMP, UNIX_TIME, Draft
from gateway_sim.traffic.text import sentence

if TYPE_CHECKING:
    import random

    from gateway_sim.world import World

_GUILD_MESSAGES, _REACTIONS, _TYPING, _DIRECT_MESSAGES = 1 << 9, 1 << 10, 1 << 11, 1 << 12
_EMOJIS = ("🔥", "👍", "❤️", "🎉", "😂")
_FACTS_TIMESTAMP = "2024-05-05T05:05:05.050000+00:00"


def message(world: World, guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_CREATE, 0.4 to 4 KB: short text mostly, sometimes an embed, an attachment, a reply or a mention."""
    if rng.random() < 0.05:
        return Draft("MESSAGE_CREATE", guild_id, _webhook_message(world, guild_id, rng), _GUILD_MESSAGES)
    return Draft("MESSAGE_CREATE", guild_id, _guild_message(world, guild_id, rng), _GUILD_MESSAGES)


def message_update(world: World, guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_UPDATE: an edit of a message."""
    data = _guild_message(world, guild_id, rng) | {"edited_timestamp": TIMESTAMP}
    return Draft("MESSAGE_UPDATE", guild_id, data, _GUILD_MESSAGES)


def message_delete(world: World, guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_DELETE."""
    data = {"id": ID, "channel_id": _text_channel(world, guild_id, rng), "guild_id": str(guild_id)}
    return Draft("MESSAGE_DELETE", guild_id, data, _GUILD_MESSAGES)


def message_bulk_delete(world: World, guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_DELETE_BULK of 2 to 100 messages."""
    ids = [ID, *(str(rng.getrandbits(62)) for _ in range(rng.randrange(1, 100)))]
    data = {"ids": ids, "channel_id": _text_channel(world, guild_id, rng), "guild_id": str(guild_id)}
    return Draft("MESSAGE_DELETE_BULK", guild_id, data, _GUILD_MESSAGES)


def direct_message(world: World, _guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_CREATE in a direct-message channel: belongs to no guild, so only shard 0 gets it."""
    user_id = rng.choice(world.member_ids(rng.choice(world.guild_ids))[1:])
    channel_id = int(world.dm_channel(user_id)["id"])
    content = sentence(rng, rng.randrange(1, 200))
    data = bare_message(ID, channel_id, world.user(user_id), content, TIMESTAMP) | {"channel_type": 1}
    return Draft("MESSAGE_CREATE", 0, data, _DIRECT_MESSAGES)


def reaction_add(world: World, guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_REACTION_ADD."""
    user_id = _user(world, guild_id, rng)
    data = _reaction(world, guild_id, user_id, rng)
    data |= {"member": world.member(guild_id, user_id), "message_author_id": str(_user(world, guild_id, rng))}
    return Draft("MESSAGE_REACTION_ADD", guild_id, data, _REACTIONS)


def reaction_remove(world: World, guild_id: int, rng: random.Random) -> Draft:
    """MESSAGE_REACTION_REMOVE."""
    data = _reaction(world, guild_id, _user(world, guild_id, rng), rng)
    return Draft("MESSAGE_REACTION_REMOVE", guild_id, data, _REACTIONS)


def typing_start(world: World, guild_id: int, rng: random.Random) -> Draft:
    """TYPING_START; the member's nickname carries the fresh id, so that no two are alike."""
    user_id = _user(world, guild_id, rng)
    data = {
        "channel_id": _text_channel(world, guild_id, rng),
        "guild_id": str(guild_id),
        "user_id": str(user_id),
        "timestamp": UNIX_TIME,
        "member": world.member(guild_id, user_id) | {"nick": f"typist {ID}"},
    }
    return Draft("TYPING_START", guild_id, data, _TYPING, str(user_id))


def _user(world: World, guild_id: int, rng: random.Random) -> int:
    return rng.choice(world.member_ids(guild_id)[1:])


def _text_channel(world: World, guild_id: int, rng: random.Random) -> str:
    return str(rng.choice(world.text_channel_ids(guild_id)))


def _reaction(world: World, guild_id: int, user_id: int, rng: random.Random) -> dict[str, Any]:
    emojis = world.emoji_ids(guild_id)
    custom = emojis and rng.random() < 0.3
    emoji = {"id": str(emojis[0]), "name": "custom"} if custom else {"id": None, "name": rng.choice(_EMOJIS)}
    return {
        "user_id": str(user_id),
        "channel_id": _text_channel(world, guild_id, rng),
        "message_id": ID,
        "guild_id": str(guild_id),
        "emoji": emoji,
        "burst": False,
        "type": 0,
    }


def _guild_message(world: World, guild_id: int, rng: random.Random) -> dict[str, Any]:
    user_id = _user(world, guild_id, rng)
    member = world.member(guild_id, user_id)
    author = member.pop("user")
    channel_id = int(_text_channel(world, guild_id, rng))
    length = min(int(rng.lognormvariate(4.0, 1.2)), 1800)
    data = bare_message(ID, channel_id, author, sentence(rng, length), TIMESTAMP)
    data |= {"guild_id": str(guild_id), "member": member, "nonce": ID, "channel_type": 0}
    for chance, decorate in _DECORATIONS:
        if rng.random() < chance:
            decorate(world, guild_id, data, rng)
    return data


def _webhook_message(world: World, guild_id: int, rng: random.Random) -> dict[str, Any]:
    webhook_id = str(rng.getrandbits(62))
    author = {"id": webhook_id, "username": "feed", "avatar": None, "discriminator": "0000", "bot": True}
    channel_id = int(_text_channel(world, guild_id, rng))
    data = bare_message(ID, channel_id, author, sentence(rng, rng.randrange(1, 60)), TIMESTAMP)
    return data | {"guild_id": str(guild_id), "webhook_id": webhook_id}


def _mention(world: World, guild_id: int, data: dict[str, Any], rng: random.Random) -> None:
    user_id = _user(world, guild_id, rng)
    member = world.member(guild_id, user_id)
    user = member.pop("user")
    data["mentions"] = [user | {"member": member}]
    data["content"] = f"<@{user_id}> {data['content']}"
    data["mention_roles"] = [str(role) for role in world.role_ids(guild_id)[1:2]]


def _embed(_world: World, _guild_id: int, data: dict[str, Any], rng: random.Random) -> None:
    data["embeds"] = [
        {
            "type": "rich",
            "title": sentence(rng, 30),
            "description": sentence(rng, rng.randrange(40, 700)),
            "url": f"https://example.com/{rng.getrandbits(40)}",
            "color": rng.randrange(1 << 24),
            "timestamp": _FACTS_TIMESTAMP,
            "fields": [
                {"name": sentence(rng, 10), "value": sentence(rng, 30), "inline": rng.random() < 0.5}
                for _ in range(rng.randrange(1, 5))
            ],
            "footer": {"text": sentence(rng, 20)},
        }
    ]


def _attachment(_world: World, _guild_id: int, data: dict[str, Any], rng: random.Random) -> None:
    name = f"picture-{rng.getrandbits(32):x}.png"
    url = f"https://cdn.example.com/attachments/{data['channel_id']}/{rng.getrandbits(62)}/{name}"
    facts = {"content_type": "image/png", "size": rng.randrange(10_000, 9_000_000), "width": 800, "height": 600}
    data["attachments"] = [
        {"id": str(rng.getrandbits(62)), "filename": name, "url": url, "proxy_url": url, "flags": 0, **facts}
    ]


def _reply(world: World, guild_id: int, data: dict[str, Any], rng: random.Random) -> None:
    earlier = str(rng.getrandbits(62))
    author = world.user(_user(world, guild_id, rng))
    text = sentence(rng, rng.randrange(5, 200))
    data["type"] = 19
    place = {"channel_id": data["channel_id"], "guild_id": str(guild_id)}
    data["message_reference"] = {"type": 0, "message_id": earlier, **place}
    data["referenced_message"] = bare_message(earlier, int(data["channel_id"]), author, text, _FACTS_TIMESTAMP)


def _buttons(_world: World, _guild_id: int, data: dict[str, Any], rng: random.Random) -> None:
    buttons = [
        {
            "type": 2,
            "id": n + 2,
            "style": 1 + n % 4,
            "label": sentence(rng, 6)[:80],
            "custom_id": f"b{rng.getrandbits(30)}",
        }
        for n in range(rng.randrange(1, 4))
    ]
    data["components"] = [{"type": 1, "id": 1, "components": buttons}]


_DECORATIONS = ((0.15, _mention), (0.12, _embed), (0.10, _attachment), (0.15, _reply), (0.05, _buttons))
