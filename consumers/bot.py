"""The bot that handlers get: a `hikari.GatewayBotAware` whose shards run elsewhere."""

from __future__ import annotations

import asyncio
import logging
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

import hikari
from hikari import impl, snowflakes
from hikari.applications import get_token_id

from consumers import payloads, script
from consumers.consumer import Consumer
from consumers.counters import Counters
from consumers.errors import SomeShardsFailedError, only_one_of
from consumers.first_presence import FirstPresence
from consumers.handling import INSIDE_HANDLER
from consumers.members import MembersRequest
from consumers.parts import HikariParts
from consumers.refusals import CONSTRUCTOR, refuse
from consumers.script_logs import set_up_logs
from consumers.settings import GroupSettings
from consumers.start_request import StartRequest, warn_of_activity
from eventbus.errors import RelayError
from eventbus.proxies import is_proxied
from eventbus.settings import build, check_name

if TYPE_CHECKING:
    import concurrent.futures
    import datetime
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

    from hikari.api import ChannelInfoField, EventStream
    from hikari.api.event_manager import CallbackT, PredicateT

    from consumers.event_manager import EventManager
    from consumers.members import RequestedMembers
    from consumers.one_process import Work
    from consumers.parts import RestOptions
    from consumers.script_logs import LogChoice
    from consumers.shard_proxy import ShardProxy
    from consumers.start_request import StartOptions
    from consumers.voice import VoiceComponent

_log = logging.getLogger(__name__)

E = TypeVar("E", bound=hikari.Event)

MAX_COMMANDS_AT_ONCE = 32
MEMBERS_TIMEOUT_S = 60.0


class Options(TypedDict, total=False):
    """Settings of a `Bot`, as `gw-consume --help` explains them."""

    namespace: str
    group: str
    prefetch: int
    limit: str
    ordering: str
    partitions: int
    handler_timeout_s: float
    block_timeout_s: float
    max_age_s: float
    max_interaction_age_s: float
    on_error: str
    max_attempts: int
    max_deliveries: int
    components_anywhere: bool
    cache: str
    rest_url: str | None
    drain_timeout_s: float
    command_timeout_s: float
    connect_timeout_s: float
    ca_cert: str | None
    client_cert: str | None
    private_key: str | None
    log_level: str
    log_format: str


class Bot(hikari.GatewayBot):
    """A member of a consumer group, with all that hikari's GatewayBot offers: docs/parity.md compares the two.

    It is one for whoever asks (`isinstance`, injection by class), and all public members are our own.
    Shard count and intents are the coordinator's and known once the bot has started; until then `intents` is what is
    given here. Raises ConfigurationError if an argument is wrong, or cannot mean here what it means to hikari.
    """

    def __init__(  # noqa: PLR0913 - hikari's own arguments
        self,
        amqp_url: str,
        token: str,
        *,
        allow_color: bool = True,
        banner: str | None = None,
        suppress_optimization_warning: bool = True,  # noqa: ARG002 - there is no such warning
        executor: concurrent.futures.Executor | None = None,
        force_color: bool = False,
        cache_settings: impl.CacheSettings | None = None,
        http_settings: impl.HTTPSettings | None = None,
        dumps: Callable[[Any], bytes] | None = None,
        loads: Callable[[Any], Any] | None = None,
        intents: hikari.Intents = hikari.Intents.ALL_UNPRIVILEGED,
        capabilities: hikari.GatewayCapabilities = hikari.GatewayCapabilities.NONE,
        auto_chunk_members: bool = True,
        logs: hikari.UndefinedOr[LogChoice] = hikari.UNDEFINED,
        max_rate_limit: float = 300.0,
        max_retries: int = 3,
        proxy_settings: impl.ProxySettings | None = None,
        **options: Unpack[Options],
    ) -> None:
        refuse(CONSTRUCTOR, {"capabilities": capabilities}, {"capabilities": hikari.GatewayCapabilities.NONE})
        given = {"amqp_url": amqp_url, "token": token, "members_as_sent": not auto_chunk_members, **options}
        self._settings = build(GroupSettings, given)
        self._logs = logs
        if logs is not hikari.UNDEFINED:
            set_up_logs(logs, self._settings)
        self.print_banner(banner, allow_color=allow_color, force_color=force_color)
        self._intents = intents
        self._consumer: Consumer | None = None
        self._works: dict[str, Work] = {}
        self._life: asyncio.Task[None] | None = None
        rest_options: RestOptions = {"max_rate_limit": max_rate_limit, "max_retries": max_retries}
        if dumps is not None:
            rest_options["dumps"] = dumps
        if loads is not None:
            rest_options["loads"] = loads
        self._parts = HikariParts.build(
            self,
            self._settings,
            cache_settings=cache_settings,
            http_settings=http_settings,
            proxy_settings=proxy_settings,
            executor=executor,
            rest_options=rest_options,
            on_listeners_changed=self._request_sync,
        )

    @classmethod
    def from_settings(cls, settings: GroupSettings) -> Bot:
        """A bot with the settings of a command."""
        options: Any = {name: getattr(settings, name) for name in Options.__annotations__}
        url, token = settings.amqp_url.get_secret_value(), settings.token.get_secret_value()
        proxy = impl.ProxySettings(trust_env=is_proxied(settings.rest_url))
        return cls(url, token, auto_chunk_members=not settings.members_as_sent, proxy_settings=proxy, **options)

    @staticmethod
    def print_banner(
        banner: str | None, *, allow_color: bool, force_color: bool, extra_args: dict[str, str] | None = None
    ) -> None:
        """As hikari's GatewayBot: print the `banner.txt` of the package `banner`; nothing for None."""
        hikari.GatewayBot.print_banner(banner, allow_color=allow_color, force_color=force_color, extra_args=extra_args)

    # What it is made of

    @property
    def token_id(self) -> hikari.Snowflake:
        """The bot's id, as its token says. Raises ValueError if the token has no id in it."""
        return get_token_id(self._settings.token.get_secret_value())

    @property
    def capabilities(self) -> hikari.GatewayCapabilities:
        """None: the gateway workers identify without any."""
        return hikari.GatewayCapabilities.NONE

    @property
    def cache(self) -> impl.CacheImpl:
        """By default it holds the own user only; other parts are chosen by `cache` or hikari's `cache_settings`."""
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
    def voice(self) -> VoiceComponent:
        """hikari's. A connection lives in this process; what Discord says of it comes here."""
        return self._parts.voice

    # Shards

    @property
    def intents(self) -> hikari.Intents:
        """The coordinator's, once started."""
        return self._consumer.intents if self._consumer and self._consumer.has_started else self._intents

    @property
    def shards(self) -> Mapping[int, ShardProxy]:  # type: ignore[override] # a slot of hikari's
        """Every shard of the bot by its id; empty before the start and after the end."""
        return MappingProxyType(dict(self._consumer.shards)) if self._consumer and self.is_alive else {}

    @property
    def counters(self) -> Counters:
        """What this process counted of its deliveries since the start; all 0 before it."""
        return self._consumer.counters if self._consumer else Counters()

    @property
    def shard_count(self) -> int:
        """The coordinator's; 0 before the start and after the end."""
        return len(self.shards)

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
        """The own user; known from before StartingEvent on, until StoppedEvent."""
        return self.cache.get_me() or (self._consumer.me if self._consumer and self.is_alive else None)

    async def update_presence(
        self,
        *,
        idle_since: hikari.UndefinedNoneOr[datetime.datetime] = hikari.UNDEFINED,
        status: hikari.UndefinedOr[hikari.Status] = hikari.UNDEFINED,
        activity: hikari.UndefinedNoneOr[hikari.Activity] = hikari.UNDEFINED,
        afk: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
    ) -> None:
        """Change the presence on every shard; what is left out stays as it was set last, by whatever process.

        The fleet remembers it: a shard that is not connected now shows it from its next session on. Raises CommandError
        if it could not be stored, SomeShardsFailedError with the error of each shard that is, and does not show it yet.
        """
        warn_of_activity(activity)
        self._known_shards()
        fields = payloads.presence(idle_since=idle_since, status=status, activity=activity, afk=afk)
        if fields:
            record_id = await self._require_alive().commands.store_presence(fields, None)
            await self._on_every_shard(lambda shard: shard.show_presence_if_connected(record_id))

    async def _on_every_shard(self, command: Callable[[ShardProxy], Coroutine[Any, Any, None]]) -> None:
        failures: dict[int, RelayError] = {}
        places = asyncio.Semaphore(MAX_COMMANDS_AT_ONCE)

        async def send(shard: ShardProxy) -> None:
            try:
                async with places:
                    await command(shard)
            except RelayError as error:
                failures[shard.id] = error

        shards = self._known_shards()
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

    async def request_members(
        self,
        guild: hikari.SnowflakeishOr[hikari.PartialGuild],
        *,
        include_presences: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
        query: str = "",
        limit: int = 0,
        users: hikari.UndefinedOr[hikari.SnowflakeishSequence[hikari.User]] = hikari.UNDEFINED,
        timeout: float | None = MEMBERS_TIMEOUT_S,
    ) -> RequestedMembers:
        """Ask for members as `request_guild_members` does, and return them, when all came; `timeout` in seconds.

        Raises MembersTimeoutError, any other CommandError, BrokerLostError, MissingIntentError or ValueError.
        """
        request = MembersRequest(self.event_manager.waiters, self._shard_of(guild), guild)
        return await request.ask(
            include_presences=include_presences, query=query, limit=limit, users=users, timeout=timeout
        )

    async def request_channel_info(
        self, guild: hikari.SnowflakeishOr[hikari.PartialGuild], *, fields: Sequence[ChannelInfoField]
    ) -> None:
        """Ask for what channels hold for the moment; the group gets it as ChannelInfoEvent. Raises CommandError."""
        await self._shard_of(guild).request_channel_info(guild, fields=fields)

    async def request_soundboard_sounds(self, guilds: Sequence[hikari.SnowflakeishOr[hikari.PartialGuild]]) -> None:
        """Ask for the soundboard sounds of guilds; the group gets them as SOUNDBOARD_SOUNDS. Raises CommandError."""
        by_shard: dict[ShardProxy, list[hikari.SnowflakeishOr[hikari.PartialGuild]]] = {}
        for guild in guilds:
            by_shard.setdefault(self._shard_of(guild), []).append(guild)
        for shard, of_shard in by_shard.items():
            await shard.request_soundboard_sounds(of_shard)

    def _shard_of(self, guild: hikari.SnowflakeishOr[hikari.PartialGuild]) -> ShardProxy:
        shards = self._known_shards()
        return shards[snowflakes.calculate_shard_id(len(shards), guild)]

    def _require_alive(self) -> Consumer:
        if self._consumer is None or not self.is_alive:
            raise hikari.ComponentStateConflictError("the bot is not running: start it first")
        return self._consumer

    def _known_shards(self) -> Mapping[int, ShardProxy]:
        shards = self._require_alive().shards
        if not shards:
            raise hikari.ComponentStateConflictError("the shards are not known yet: wait for StartingEvent")
        return shards

    # Events

    @overload
    def dispatch(self, event: hikari.Event, *, return_tasks: Literal[False] = False) -> None: ...

    @overload
    def dispatch(self, event: hikari.Event, *, return_tasks: Literal[True] = True) -> asyncio.Future[Any]: ...

    @overload
    def dispatch(self, event: hikari.Event, *, return_tasks: bool = False) -> asyncio.Future[Any] | None: ...

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
        """As hikari's GatewayBot: it gets the events of the whole fleet, whichever process listeners get them in."""
        self._require_alive()
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
        """As hikari's GatewayBot: whichever process of the group gets the event for its listeners."""
        self._require_alive()
        return await self.event_manager.wait_for(event_type, timeout=timeout, predicate=predicate)

    def _request_sync(self) -> None:
        if self._consumer is not None:
            self._consumer.group.request_sync()
            self._consumer.copies.request_sync()

    # Life

    def run_in_one_process(self, name: str, work: Work) -> None:
        """Have `work()` run in one process of the group at a time, for what is no dispatch: periodic loops, feeds.

        Call it in each process, before the bot consumes. `work` is cancelled when the bot stops or loses the broker;
        then, or when the process dies, another one begins it anew. So it does if `work` raises; once it has returned it
        is not begun again while its process keeps its connection. To clean up it has 10 s. Two may overlap for some
        seconds when a connection hangs.
        Raises ComponentStateConflictError (too late) or ValueError (the name).
        """
        if self._consumer is not None and self.is_alive and self._consumer.consuming.is_set():
            raise hikari.ComponentStateConflictError("the bot consumes already: name what one process does before that")
        if name in self._works:
            raise ValueError(f"{name!r} is named already: each work of one process needs a name of its own")
        self._works[check_name(name)] = work

    @property
    def is_alive(self) -> bool:
        """Whether the bot is starting, running or closing."""
        return self._life is not None and not self._life.done()

    async def start(self, **options: Unpack[StartOptions]) -> None:
        """Return when deliveries are being consumed.

        A presence in `options` is sent to every shard, and again to each that begins a new session. Raises RelayError,
        ComponentStateConflictError if alive, ConfigurationError for an option that cannot mean the same here,
        InvalidCommandError for a presence that Discord would refuse.
        """
        if self.is_alive:
            raise hikari.ComponentStateConflictError("the bot is running already")
        request = StartRequest(**options)
        warn_of_activity(request.activity)
        first = FirstPresence(request.presence) if request.presence is not None else None
        consumer = self._consumer = Consumer(self._settings, self._parts, works=self._works)
        living = first.during(consumer.live(), consumer) if first is not None else consumer.live()
        life = self._life = asyncio.create_task(living, name="consumer")
        if not await _is_consuming(consumer, life):
            await self.join()
            raise hikari.ComponentStateConflictError("the bot was closed while it started")
        lacking = self._intents & ~consumer.intents
        if lacking and self._intents != hikari.Intents.ALL_UNPRIVILEGED:
            sentence = f"this bot asks for {lacking!s}, which the fleet lacks: add it to the coordinator's --intents"
            _log.warning(sentence, extra={"action": "lacking_intents"})
        self._intents = consumer.intents

    async def join(self) -> None:
        """Wait until the bot has closed. Raises the RelayError that ended it, if one did."""
        if self._life is None:
            raise hikari.ComponentStateConflictError("the bot is not running: start it first")
        await asyncio.wait({self._life})
        if not self._life.cancelled():
            error = self._life.exception()
            if error is not None:
                raise only_one_of(error)

    async def close(self) -> None:
        """Drain, settle, and return when all is closed; called inside a handler, it returns at once."""
        if self._life is None or self._consumer is None or self._life.done():
            raise hikari.ComponentStateConflictError("the bot is not running: there is nothing to close")
        if self._consumer.has_started:
            self._consumer.stop()
        else:
            self._life.cancel()
        if not INSIDE_HANDLER.get():  # the drain waits for handlers: one that waited for it would wait for ever
            await asyncio.wait({self._life})

    def run(
        self,
        *,
        asyncio_debug: bool | None = None,
        close_loop: bool = True,
        close_passed_executor: bool = False,
        coroutine_tracking_depth: int | None = None,
        enable_signal_handlers: bool | None = None,
        propagate_interrupts: bool = False,
        **start: Unpack[StartOptions],
    ) -> None:
        """Start, and run until a signal or `close()`; ends the process with an exit code if something goes wrong.

        Raises what `start()` raises, but for a RelayError, which becomes sentences on standard error and SystemExit.
        """
        if self.is_alive:
            raise hikari.ComponentStateConflictError("the bot is running already")
        if self._logs is hikari.UNDEFINED:
            set_up_logs(self._settings.log_level, self._settings)
        options = script.LoopOptions(
            asyncio_debug=asyncio_debug,
            close_loop=close_loop,
            close_passed_executor=close_passed_executor,
            coroutine_tracking_depth=coroutine_tracking_depth,
            enable_signal_handlers=enable_signal_handlers,
            propagate_interrupts=propagate_interrupts,
        )
        script.run(self, start, options)


async def _is_consuming(consumer: Consumer, life: asyncio.Task[None]) -> bool:
    consuming = asyncio.create_task(consumer.consuming.wait(), name="wait for the start")
    try:
        await asyncio.wait({life, consuming}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        life.cancel()
        raise
    finally:
        consuming.cancel()
    return consumer.consuming.is_set()
