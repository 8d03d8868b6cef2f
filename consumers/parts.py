"""hikari's own parts of a bot, all of them public."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import hikari
from hikari import impl

from consumers.event_manager import EventManager

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from consumers.settings import GroupSettings

_log = logging.getLogger(__name__)


class RestOptions(TypedDict, total=False):
    """hikari's arguments for REST: seconds, tries, JSON encoder and decoder (default: hikari's)."""

    max_rate_limit: float
    max_retries: int
    dumps: Callable[[Any], bytes]
    loads: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class HikariParts:
    """Factories, event manager, cache, REST and voice of one bot."""

    http_settings: impl.HTTPSettings
    proxy_settings: impl.ProxySettings
    executor: concurrent.futures.Executor | None
    cache: impl.CacheImpl
    entity_factory: impl.EntityFactoryImpl
    event_factory: impl.EventFactoryImpl
    event_manager: EventManager
    voice: impl.VoiceComponentImpl
    rest: impl.RESTClientImpl

    @classmethod
    def build(
        cls,
        app: hikari.GatewayBotAware,
        settings: GroupSettings,
        *,
        cache_settings: impl.CacheSettings | None,
        http_settings: impl.HTTPSettings | None,
        proxy_settings: impl.ProxySettings | None,
        executor: concurrent.futures.Executor | None,
        rest_options: RestOptions,
        on_listeners_changed: Callable[[], None],
    ) -> HikariParts:
        """The parts of `app`. By default the cache holds the own user only: a consumer sees a part of the events."""
        http_settings = http_settings or impl.HTTPSettings()
        proxy_settings = proxy_settings or impl.ProxySettings()
        own_user_only = impl.CacheSettings(components=hikari.api.CacheComponents.ME)
        cache = impl.CacheImpl(app, cache_settings or own_user_only)
        entity_factory = impl.EntityFactoryImpl(app)
        event_factory = impl.EventFactoryImpl(app)
        return cls(
            http_settings=http_settings,
            proxy_settings=proxy_settings,
            executor=executor,
            cache=cache,
            entity_factory=entity_factory,
            event_factory=event_factory,
            event_manager=EventManager(
                entity_factory, event_factory, cache=cache, on_listeners_changed=on_listeners_changed
            ),
            voice=impl.VoiceComponentImpl(app),
            rest=impl.RESTClientImpl(
                cache=cache,
                entity_factory=entity_factory,
                executor=executor,
                http_settings=http_settings,
                proxy_settings=proxy_settings,
                rest_url=settings.rest_url,
                token=settings.token.get_secret_value(),
                token_type=hikari.TokenType.BOT,
                **rest_options,
            ),
        )

    async def start(self) -> None:
        """Start what must be started."""
        if not self.rest.is_alive:  # an async entrypoint may have it started already
            self.rest.start()
        self.voice.start()

    async def close(self, *, timeout_s: float) -> None:
        """Close what is open, within `timeout_s` for each part."""
        for name, part in (("voice", self.voice), ("rest", self.rest)):
            if part.is_alive:
                try:
                    async with asyncio.timeout(timeout_s):
                        await part.close()
                except (hikari.HikariError, OSError, TimeoutError) as error:
                    _log.warning("not closed", extra={"action": "close_failed", "part": name, "reason": repr(error)})
        self.cache.clear()
