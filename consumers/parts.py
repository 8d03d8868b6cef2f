"""hikari's own parts of a bot, all of them public."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import hikari
from hikari import impl

from consumers.cache_parts import choose
from consumers.cache_rest import JsonFactory
from consumers.event_manager import EventManager
from consumers.owner_rest import OwnerRestClient
from consumers.voice import VoiceComponent
from eventbus.errors import RelayError

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from consumers.cache_parts import CacheParts
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
    cache_parts: CacheParts
    entity_factory: impl.EntityFactoryImpl
    event_factory: impl.EventFactoryImpl
    event_manager: EventManager
    voice: VoiceComponent
    rest: OwnerRestClient
    make_json_rest: Callable[[], impl.RESTClientImpl]
    """Gives a client of its own that gives guilds as JSON."""

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
        """The parts of `app`. By default the cache holds the own user only; `consumers.cache_service` feeds all else.

        Raises ConfigurationError if both `settings` and `cache_settings` choose what it holds.
        """
        http_settings = http_settings or impl.HTTPSettings()
        proxy_settings = proxy_settings or impl.ProxySettings()
        cache_parts = choose(settings.cache, cache_settings.components if cache_settings else None)
        cache = impl.CacheImpl(app, cache_settings or impl.CacheSettings(components=cache_parts.components))
        entity_factory = impl.EntityFactoryImpl(app)
        event_factory = impl.EventFactoryImpl(app)
        event_manager = EventManager(
            entity_factory,
            event_factory,
            cache=None if cache_parts.names else cache,  # else what feeds it changes it
            on_listeners_changed=on_listeners_changed,
        )
        rest: dict[str, Any] = {
            "executor": executor,
            "http_settings": http_settings,
            "proxy_settings": proxy_settings,
            "rest_url": settings.rest_url,
            "token": settings.token.get_secret_value(),
            "token_type": hikari.TokenType.BOT,
            **rest_options,
        }
        return cls(
            http_settings=http_settings,
            proxy_settings=proxy_settings,
            executor=executor,
            cache=cache,
            cache_parts=cache_parts,
            entity_factory=entity_factory,
            event_factory=event_factory,
            event_manager=event_manager,
            voice=VoiceComponent(app, event_manager.waiters),
            rest=OwnerRestClient(cache=cache, entity_factory=entity_factory, **rest),
            make_json_rest=lambda: impl.RESTClientImpl(cache=None, entity_factory=JsonFactory(app), **rest),
        )

    async def start(self) -> None:
        """Start what must be started."""
        if not self.rest.is_alive:  # an async entrypoint may have it started already
            self.rest.start()
        self.voice.start()

    async def leave_voice(self, *, timeout_s: float) -> None:
        """Leave the voice channels, within `timeout_s`, while Discord can still be told."""
        await _close("voice", self.voice, timeout_s)

    async def close(self, *, timeout_s: float) -> None:
        """Close what is open, within `timeout_s` for each part."""
        await _close("voice", self.voice, timeout_s)
        await _close("rest", self.rest, timeout_s)
        self.cache.clear()


async def _close(name: str, part: impl.VoiceComponentImpl | impl.RESTClientImpl, timeout_s: float) -> None:
    if part.is_alive:
        try:
            async with asyncio.timeout(timeout_s):
                await part.close()
        except (hikari.HikariError, RelayError, OSError, TimeoutError) as error:
            _log.warning("not closed", extra={"action": "close_failed", "part": name, "reason": repr(error)})
