"""Which parts of the cache can be chosen, and what each needs."""

from __future__ import annotations

import hikari
import pytest
from hikari import impl
from hikari.api import CacheComponents

from consumers import Bot
from consumers.cache_parts import COMMON_TYPES, PARTS, CacheParts
from consumers.settings import ConsumerSettings
from eventbus.errors import ConfigurationError


def test_without_a_choice_the_cache_holds_the_own_user_and_nothing_is_streamed() -> None:
    bot = Bot("amqp://127.0.0.1/", "token")
    assert bot.cache.settings.components == CacheComponents.ME
    assert CacheParts.parse("").types == frozenset()


def test_parts_are_named_in_any_case_and_all_means_all() -> None:
    assert CacheParts.parse(" Guilds, ROLES,").names == {"guilds", "roles"}
    assert CacheParts.parse("all").names == PARTS.keys()
    assert CacheParts.parse("all").components == CacheComponents.ALL


def test_an_unknown_part_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"--cache \(GW_CACHE\): 'guildz': there is no such part.*voice-states"
    ):
        Bot("amqp://127.0.0.1/", "token", cache="guildz,roles")


def test_the_help_names_every_part() -> None:
    said = ConsumerSettings.model_fields["cache"].description or ""
    assert all(name in said for name in PARTS)


def test_hikaris_cache_settings_choose_too_but_not_both() -> None:
    settings = impl.CacheSettings(components=CacheComponents.ME | CacheComponents.ROLES, max_messages=5)
    assert Bot("amqp://127.0.0.1/", "token", cache_settings=settings).cache.settings.max_messages == 5
    assert CacheParts.of(settings.components).names == {"roles"}
    with pytest.raises(ConfigurationError, match="either cache or cache_settings"):
        Bot("amqp://127.0.0.1/", "token", cache_settings=settings, cache="roles")


def test_heavy_parts_are_streamed_only_when_chosen() -> None:
    light = CacheParts.parse("roles")
    assert light.heavy == ()
    assert "CHANNEL_UPDATE" in light.streamed_types
    assert "GUILD_MEMBER_UPDATE" not in light.streamed_types
    assert light.types == COMMON_TYPES | {"GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE", "GUILD_ROLE_DELETE"}
    heavy = CacheParts.parse("presences,guilds,members")
    assert heavy.heavy == ("members", "presences")
    assert {"GUILD_MEMBERS_CHUNK", "PRESENCE_UPDATE"} <= heavy.streamed_types


def test_a_part_that_needs_an_intent_says_so() -> None:
    chosen = CacheParts.parse("guilds,members,voice-states")
    sentences = list(chosen.missing_intents(hikari.Intents.GUILDS | hikari.Intents.GUILD_VOICE_STATES))
    assert len(sentences) == 1
    assert "members" in sentences[0]
    assert "GUILD_MEMBERS" in sentences[0]
