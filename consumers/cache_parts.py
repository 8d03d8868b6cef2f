"""The parts of hikari's cache that can be chosen, and which dispatches keep each of them fresh. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import hikari
from hikari.api import CacheComponents

from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL: Final = "all"
COMMON_TYPES: Final = frozenset({"READY", "USER_UPDATE", "GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE"})


class Part(NamedTuple):
    """One part: hikari's component, the event types besides COMMON_TYPES, and an intent without which none comes.

    A heavy part has many dispatches or entries: only who chooses it pays for them.
    """

    component: CacheComponents
    types: frozenset[str] = frozenset()
    intent: hikari.Intents = hikari.Intents.GUILDS
    is_heavy: bool = False


def _types(kind: str, *verbs: str) -> frozenset[str]:
    return frozenset(f"{kind}_{verb}" for verb in verbs)


_LIFE = ("CREATE", "UPDATE", "DELETE")
_CHUNK = frozenset({"GUILD_MEMBERS_CHUNK"})

PARTS: Final[dict[str, Part]] = {
    "guilds": Part(CacheComponents.GUILDS),
    "channels": Part(CacheComponents.GUILD_CHANNELS, _types("CHANNEL", *_LIFE)),
    "threads": Part(
        CacheComponents.GUILD_THREADS,
        _types("THREAD", *_LIFE, "LIST_SYNC", "MEMBERS_UPDATE") | _types("CHANNEL", "DELETE"),
    ),
    "roles": Part(CacheComponents.ROLES, _types("GUILD_ROLE", *_LIFE)),
    "emojis": Part(CacheComponents.EMOJIS, _types("GUILD_EMOJIS", "UPDATE"), hikari.Intents.GUILD_EMOJIS),
    "stickers": Part(CacheComponents.GUILD_STICKERS, _types("GUILD_STICKERS", "UPDATE"), hikari.Intents.GUILD_EMOJIS),
    "invites": Part(CacheComponents.INVITES, _types("INVITE", "CREATE", "DELETE"), hikari.Intents.GUILD_INVITES),
    "voice-states": Part(
        CacheComponents.VOICE_STATES, _types("VOICE_STATE", "UPDATE"), hikari.Intents.GUILD_VOICE_STATES
    ),
    "members": Part(
        CacheComponents.MEMBERS,
        _types("GUILD_MEMBER", "ADD", "UPDATE", "REMOVE") | _CHUNK,
        hikari.Intents.GUILD_MEMBERS,
        is_heavy=True,
    ),
    "presences": Part(
        CacheComponents.PRESENCES,
        _types("PRESENCE", "UPDATE") | _CHUNK,
        hikari.Intents.GUILD_PRESENCES,
        is_heavy=True,
    ),
    "messages": Part(
        CacheComponents.MESSAGES,
        _types("MESSAGE", *_LIFE, "DELETE_BULK"),
        hikari.Intents.GUILD_MESSAGES,
        is_heavy=True,
    ),
}


class CacheParts(NamedTuple):
    """A choice of parts, by name."""

    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> CacheParts:
        """From names joined by commas, or `all`. Raises ValueError, which names the parts that there are."""
        words = {word.strip().lower() for word in text.split(",") if word.strip()}
        unknown = sorted(words - PARTS.keys() - {ALL})
        if unknown:
            said = ", ".join(map(repr, unknown))
            raise ValueError(f"{said}: there is no such part of the cache; use {', '.join(PARTS)} or {ALL}")
        return cls(frozenset(PARTS) if ALL in words else frozenset(words))

    @classmethod
    def of(cls, components: CacheComponents) -> CacheParts:
        """Those that hikari's `components` name; ME and DM_CHANNEL_IDS need no dispatches."""
        return cls(frozenset(name for name, part in PARTS.items() if part.component & components))

    @property
    def components(self) -> CacheComponents:
        """hikari's name for them, the own user included; and, if any is chosen, the ids of the process's own DMs."""
        components = CacheComponents.ME | (CacheComponents.DM_CHANNEL_IDS if self.names else CacheComponents.NONE)
        for name in self.names:
            components |= PARTS[name].component
        return components

    @property
    def types(self) -> frozenset[str]:
        """The event types that change what is chosen; none if nothing is."""
        return COMMON_TYPES.union(*(PARTS[name].types for name in self.names)) if self.names else frozenset()

    @property
    def heavy(self) -> tuple[str, ...]:
        """The heavy ones, sorted: they name the streams."""
        return tuple(sorted(name for name in self.names if PARTS[name].is_heavy))

    @property
    def streamed_types(self) -> frozenset[str]:
        """What the streams of this choice carry: all that is not heavy, and the heavy parts that are chosen."""
        light = (name for name, part in PARTS.items() if not part.is_heavy)
        return COMMON_TYPES.union(*(PARTS[name].types for name in (*light, *self.heavy)))

    def missing_intents(self, intents: hikari.Intents) -> Iterator[str]:
        """A sentence for each part that stays empty or stale with `intents`."""
        for name in sorted(self.names):
            if not intents & PARTS[name].intent:
                yield (
                    f"the cache is to hold {name}, which never come without {PARTS[name].intent!s}: "
                    "add it to the coordinator's --intents"
                )


def choose(text: str, components: CacheComponents | None) -> CacheParts:
    """What `--cache` or hikari's cache settings choose. Raises ConfigurationError if both do."""
    if components is None:
        return CacheParts.parse(text)
    if text:
        raise ConfigurationError("give either cache or cache_settings, not both: each says what the cache holds")
    return CacheParts.of(components)
