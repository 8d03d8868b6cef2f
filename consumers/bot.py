"""The bot that handlers get: a `hikari.GatewayBotAware` whose shards run elsewhere."""

from __future__ import annotations

import asyncio
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import hikari
from hikari import snowflakes

from consumers.consumer import Consumer
from consumers.errors import SomeShardsFailedError
from consumers.handling import INSIDE_HANDLER
from consumers.parts import HikariParts
from consumers.serve import serve
from consumers.settings import GroupSettings
from eventbus.errors import RelayError
from eventbus.process import run_process
from eventbus.settings import build

if TYPE_CHECKING:
    import concurrent.futures
    import datetime
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

    from hikari import impl
    from hikari.api import ChannelInfoField, EventStream
    from hikari.api.event_manager import CallbackT, PredicateT

    from consumers.event_manager import EventManager
    from consumers.shard_proxy import ShardProxy

E = TypeVar("E", bound=hikari.Event)

MAX_COMMANDS_AT_ONCE = 32


class Options(TypedDict, total=False):
    """Settings of a `Bot`, as `gw-consume --help` explains them."""

    namespace: str
    group: str
    prefetch: int
    rest_url: str
    drain_timeout_s: float
    connect_timeout_s: float
    ca_cert: str | None
    client_cert: str | None
    private_key: str | None
    log_level: str
    log_format: str


class Bot(hikari.GatewayBotAware):
    """A member of a consumer group.

    Shard count and intents are the coordinator's and known once the bot has started; until then `intents` is what is
    given here. Raises ConfigurationError if an argument is wrong.
    """

    def __init__(
        self,
        amqp_url: str,
        token: str,
        *,
        intents: hikari.Intents = hikari.Intents.ALL_UNPRIVILEGED,
        cache_settings: impl.CacheSettings | None = None,
        http_settings: impl.HTTPSettings | None = None,
        proxy_settings: impl.ProxySettings | None = None,
        executor: concurrent.futures.Executor | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._settings = build(GroupSettings, {"amqp_url": amqp_url, "token": token, **options})
        self._intents = intents
        self._consumer: Consumer | None = None
        self._life: asyncio.Task[None] | None = None
        self._parts = HikariParts.build(
            self,
            self._settings,
            cache_settings=cache_settings,
            http_settings=http_settings,
            proxy_settings=proxy_settings,
            executor=executor,
            on_listeners_changed=self._request_sync,
        )

    @classmethod
    def from_settings(cls, settings: GroupSettings) -> Bot:
        """A bot with the settings of a command."""
        options: Any = {name: getattr(settings, name) for name in Options.__annotations__}
        return cls(settings.amqp_url.get_secret_value(), settings.token.get_secret_value(), **options)

    # What it is made of

    @property
    def cache(self) -> impl.CacheImpl:
        """By default it holds the own user only: each process of a group sees a part of the events."""
        return self._parts.cache

    @property
    def entity_factory(self) -> impl.EntityFactoryImpl:
        """hikari's."""
        return self._parts.entity_factory

    @property
    def event_factory(self) -> impl.EventFactoryImpl:
        """hikari's."""
        return self._parts.event_factory

    @property
    def event_manager(self) -> EventManager:
        """hikari's, with knowledge of which dispatch a handler belongs to."""
        return self._parts.event_manager

    @property
    def executor(self) -> concurrent.futures.Executor | None:
        """What was given."""
        return self._parts.executor

    @property
    def http_settings(self) -> impl.HTTPSettings:
        """Of REST."""
        return self._parts.http_settings

    @property
    def proxy_settings(self) -> impl.ProxySettings:
        """Of REST."""
        return self._parts.proxy_settings

    @property
    def rest(self) -> impl.RESTClientImpl:
        """Discord's REST API."""
        return self._parts.rest

    @property
    def voice(self) -> impl.VoiceComponentImpl:
        """hikari's. Both voice events of a connect must reach this process: use a group of one process for voice."""
        return self._parts.voice

    # Shards

    @property
    def intents(self) -> hikari.Intents:
        """The coordinator's, once started."""
        return self._intents

    @property
    def shards(self) -> Mapping[int, ShardProxy]:
        """Every shard of the bot by its id; empty before the start."""
        return MappingProxyType(dict(self._consumer.shards)) if self._consumer else {}

    @property
    def shard_count(self) -> int:
        """The coordinator's; 0 before the start."""
        return len(self._consumer.shards) if self._consumer else 0

    @property
    def heartbeat_latencies(self) -> Mapping[int, float]:
        """Seconds by shard id; NaN if unknown."""
        return {shard_id: shard.heartbeat_latency for shard_id, shard in self.shards.items()}

    @property
    def heartbeat_latency(self) -> float:
        """Mean of the known latencies, in seconds; NaN if none is known."""
        known = [latency for latency in self.heartbeat_latencies.values() if not math.isnan(latency)]
        return sum(known) / len(known) if known else math.nan

    def get_me(self) -> hikari.OwnUser | None:
        """The own user; known from before StartingEvent on."""
        return self.cache.get_me() or (self._consumer.me if self._consumer else None)

    async def update_presence(
        self,
        *,
        idle_since: hikari.UndefinedNoneOr[datetime.datetime] = hikari.UNDEFINED,
        status: hikari.UndefinedOr[hikari.Status] = hikari.UNDEFINED,
        activity: hikari.UndefinedNoneOr[hikari.Activity] = hikari.UNDEFINED,
        afk: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
    ) -> None:
        """Change the presence on every shard. Raises SomeShardsFailedError with the error of each that failed."""
        await self._on_every_shard(
            lambda shard: shard.update_presence(idle_since=idle_since, status=status, activity=activity, afk=afk)
        )

    async def _on_every_shard(self, command: Callable[[ShardProxy], Coroutine[Any, Any, None]]) -> None:
        failures: dict[int, RelayError] = {}
        places = asyncio.Semaphore(MAX_COMMANDS_AT_ONCE)

        async def send(shard: ShardProxy) -> None:
            try:
                async with places:
                    await command(shard)
            except RelayError as error:
                failures[shard.id] = error

        shards = self._alive_consumer().shards
        await asyncio.gather(*(send(shard) for shard in shards.values()))
        if failures:
            raise SomeShardsFailedError(failures, len(shards))

    async def update_voice_state(
        self,
        guild: hikari.SnowflakeishOr[hikari.PartialGuild],
        channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel] | None,
        *,
        self_mute: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
        self_deaf: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
    ) -> None:
        """Join, move or leave (`channel` None) a voice channel. Raises CommandError."""
        await self._shard_of(guild).update_voice_state(guild, channel, self_mute=self_mute, self_deaf=self_deaf)

    async def request_guild_members(
        self,
        guild: hikari.SnowflakeishOr[hikari.PartialGuild],
        *,
        include_presences: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
        query: str = "",
        limit: int = 0,
        users: hikari.UndefinedOr[hikari.SnowflakeishSequence[hikari.User]] = hikari.UNDEFINED,
        nonce: hikari.UndefinedOr[str] = hikari.UNDEFINED,
    ) -> None:
        """Ask for members; the group gets them as MemberChunkEvent. Raises CommandError."""
        await self._shard_of(guild).request_guild_members(
            guild, include_presences=include_presences, query=query, limit=limit, users=users, nonce=nonce
        )

    async def request_channel_info(
        self, guild: hikari.SnowflakeishOr[hikari.PartialGuild], *, fields: Sequence[ChannelInfoField]
    ) -> None:
        """Ask for what channels hold for the moment; the group gets it as ChannelInfoEvent. Raises CommandError."""
        await self._shard_of(guild).request_channel_info(guild, fields=fields)

    def _shard_of(self, guild: hikari.SnowflakeishOr[hikari.PartialGuild]) -> ShardProxy:
        shards = self._alive_consumer().shards
        return shards[snowflakes.calculate_shard_id(len(shards), guild)]

    def _alive_consumer(self) -> Consumer:
        if self._consumer is None or not self._consumer.shards:
            raise hikari.ComponentStateConflictError("the bot is not running: start it first")
        return self._consumer

    # Events

    def dispatch(self, event: hikari.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None:
        """As hikari's GatewayBot."""
        return self.event_manager.dispatch(event, return_tasks=return_tasks)

    def get_listeners(self, event_type: type[E], /, *, polymorphic: bool = True) -> Collection[CallbackT[E]]:
        """As hikari's GatewayBot."""
        return self.event_manager.get_listeners(event_type, polymorphic=polymorphic)

    def listen(self, *event_types: type[E]) -> Callable[[CallbackT[E]], CallbackT[E]]:
        """As hikari's GatewayBot."""
        return self.event_manager.listen(*event_types)

    def stream(self, event_type: type[E], /, timeout: float | None, limit: int | None = None) -> EventStream[E]:
        """As hikari's GatewayBot; with several processes in a group, each streams a part of the events."""
        return self.event_manager.stream(event_type, timeout=timeout, limit=limit)

    def subscribe(self, event_type: type[Any], callback: CallbackT[Any]) -> None:
        """As hikari's GatewayBot."""
        self.event_manager.subscribe(event_type, callback)

    def unsubscribe(self, event_type: type[Any], callback: CallbackT[Any]) -> None:
        """As hikari's GatewayBot."""
        self.event_manager.unsubscribe(event_type, callback)

    async def wait_for(
        self, event_type: type[E], /, timeout: float | None, predicate: PredicateT[E] | None = None
    ) -> E:
        """As hikari's GatewayBot; with several processes in a group, the event may reach another one."""
        return await self.event_manager.wait_for(event_type, timeout=timeout, predicate=predicate)

    def _request_sync(self) -> None:
        if self._consumer is not None:
            self._consumer.group.request_sync()

    # Life

    @property
    def is_alive(self) -> bool:
        """Whether the bot is starting, running or closing."""
        return self._life is not None and not self._life.done()

    async def start(self) -> None:
        """Return when deliveries are being consumed. Raises RelayError, or ComponentStateConflictError if alive."""
        if self.is_alive:
            raise hikari.ComponentStateConflictError("the bot is running already")
        consumer = self._consumer = Consumer(self._settings, self._parts)
        life = self._life = asyncio.create_task(consumer.live(), name="consumer")
        consuming = asyncio.create_task(consumer.consuming.wait(), name="wait for the start")
        try:
            await asyncio.wait({life, consuming}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            life.cancel()
            raise
        finally:
            consuming.cancel()
        if not consumer.consuming.is_set():
            await self.join()
            raise hikari.ComponentStateConflictError("the bot was closed while it started")
        self._intents = consumer.intents

    async def join(self) -> None:
        """Wait until the bot has closed. Raises the RelayError that ended it, if one did."""
        if self._life is None:
            raise hikari.ComponentStateConflictError("the bot is not running: start it first")
        await asyncio.wait({self._life})
        if not self._life.cancelled():
            error = self._life.exception()
            if error is not None:
                raise _only_one_of(error)

    async def close(self) -> None:
        """Drain, settle, and return when all is closed; called inside a handler, it returns at once."""
        if self._life is None or self._consumer is None or self._life.done():
            raise hikari.ComponentStateConflictError("the bot is not running: there is nothing to close")
        if self._consumer.consuming.is_set():
            self._consumer.stop()
        else:
            self._life.cancel()
        if not INSIDE_HANDLER.get():  # the drain waits for handlers: one that waited for it would wait for ever
            await asyncio.wait({self._life})

    def run(self) -> None:
        """Run until a signal, or until `close()`; ends the process with an exit code if something goes wrong."""
        run_process("bot", self._settings, lambda stop: serve(self, stop))


def _only_one_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
