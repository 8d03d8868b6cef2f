"""The life of one consumer: connect, learn, consume, drain, say goodbye."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
from typing import TYPE_CHECKING, Any

import aiohttp
import hikari

from consumers.cache_service import CacheService
from consumers.command_sync import CommandSync
from consumers.component_service import ComponentService
from consumers.copies import Copies
from consumers.counters import Counters
from consumers.delivery_path import DeliveryPath
from consumers.errors import DiscordUnreachableError
from consumers.failure_policy import ISOLATE_AFTER, ISOLATE_LATE, FailurePolicy
from consumers.fleet_view import FleetView
from consumers.fork_guard import guard_forks
from consumers.gateway_commands import GatewayCommands
from consumers.group import Group
from consumers.library_callbacks import count_library_callbacks
from consumers.library_pins import unmet_pins_here
from consumers.limits import TypeLimits
from consumers.one_process import OneProcess
from consumers.settling import Settling
from consumers.shard_connections import ShardConnections
from consumers.shard_proxy import ShardProxy
from consumers.staleness import Staleness
from consumers.start_order import StartOrder
from consumers.watchdog import Watchdog
from eventbus.amqp.broker import Broker
from eventbus.amqp.command_records import CommandRecords
from eventbus.amqp.control_news import ControlNews
from eventbus.amqp.delay_queues import DelayQueues
from eventbus.amqp.deliveries import QUARANTINE_LANE, DeadLetters, Quarantine
from eventbus.amqp.group_queues import CommandExchange
from eventbus.amqp.link import DeliveryLink, Link
from eventbus.amqp.presence_stream import PresenceWriter
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.errors import ConfigurationError, RelayError
from eventbus.group_layout import Ordering
from eventbus.messages import ExchangeRestored
from eventbus.names import Names
from eventbus.process import end_tasks, unless_stopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.dispatch import Dispatch
    from consumers.group import Service
    from consumers.one_process import Work
    from consumers.parts import HikariParts
    from consumers.settings import GroupSettings
    from consumers.shard_connections import ConnectionChange
    from eventbus.messages import BotConfig, ControlEvent

_log = logging.getLogger(__name__)

LIFETIME_EVENT_TIMEOUT_S = 10.0
START_PATIENCE_S = 5.0
ABOUT_SESSIONS = (hikari.ShardConnectedEvent, hikari.ShardReadyEvent, hikari.GuildAvailableEvent)
"""Events of the start of a session."""
REPORT_INTERVAL_S = 60.0
CLOSE_TIMEOUT_S = 5.0
CONFIG_INTERVAL_S = 10.0
"""Between questions for the configuration, while dispatches tell of another shard count: both come for a while."""


class Consumer:
    """One consumer, alive once: run `live()` as a task, `stop()` it.

    Two connections: one for deliveries, one for everything that publishes, since an alarm of the broker stops a
    connection that publishes, acknowledgements included.
    """

    def __init__(self, settings: GroupSettings, parts: HikariParts, *, works: Mapping[str, Work]) -> None:
        self._settings = settings
        self._parts = parts
        self._works = works
        names = Names(settings.namespace)
        broker = Broker.from_settings(settings)
        name = f"consumer {settings.group} {os.uname().nodename}-{os.getpid()}-{secrets.token_hex(2)}"
        self._link = Link(broker, name=name)
        rpc = RpcClient(self._link)
        CommandExchange(self._link, names)
        self._coordinator = CoordinatorClient(rpc, names)
        self._fleet = FleetView(self._coordinator)
        self._connections = ShardConnections()
        self.commands = GatewayCommands(
            rpc, names, PresenceWriter(self._link, names), timeout_s=settings.command_timeout_s
        )
        self._one_process = OneProcess(self._link, names, settings.group, on_exit=self._exit_with)
        self._command_sync = CommandSync(CommandRecords(self._link, names, settings.group))
        self._group_link = DeliveryLink(broker, name=f"{name} deliveries")
        self._cache = CacheService(
            parts,
            self._link,
            names,
            name=name,
            shard_of=self._shard_of,
            shards=lambda: self.shards,
            asks_for_members=not settings.members_as_sent,
        )
        self.counters = Counters()
        self._components: ComponentService | None = None
        if not settings.components_anywhere:
            self._components = ComponentService(parts.rest, self._link, names, settings.group)
        path = DeliveryPath(
            parts.event_manager,
            Settling(
                self.counters,
                dead_letters=DeadLetters(self._link, names, settings.group),
                delays=DelayQueues(self._link, names),
                quarantine=Quarantine(self._link, names, settings.group),
            ),
            FailurePolicy(
                settings.on_error,
                settings.max_attempts,
                settings.max_deliveries,
                isolate_after=ISOLATE_LATE if settings.layout.is_partitioned else ISOLATE_AFTER,
            ),
            staleness=Staleness(max_age_s=settings.max_age_s, max_interaction_age_s=settings.max_interaction_age_s),
            handler_timeout_s=settings.handler_timeout_s or None,
            counters=self.counters,
            quarantine=names.group(settings.group, QUARANTINE_LANE),
            shard_of=self._shard_of,
            reach=self._cache.reach,
            owners=self._components.owners if self._components else None,
            start_order=StartOrder(by_shard=settings.ordering is Ordering.SHARD),
        )
        if self._components is not None:
            self._components.handle_by(path.handle_for_another, TypeLimits(settings.limits))
        self.group = Group(
            self._group_link,
            self._link,
            names,
            settings.group,
            layout=settings.layout,
            prefetch_count=settings.prefetch,
            limits=TypeLimits(settings.limits),
            wanted=parts.event_manager.wanted_types,
            handle=path.handle,
        )
        self.copies = Copies(
            self._group_link,
            names,
            f"{settings.group}-{secrets.token_hex(8)}",
            manager=parts.event_manager,
            shard_of=self._shard_of,
            reach=self._cache.reach,
            reaches=parts.cache_parts.types.__contains__,
        )
        ControlNews(self._link, names, kinds=("exchange.restored", "shards.status", "worker.dead"), hear=self._hear)
        self._services: list[asyncio.Task[Any]] = []
        self._exit_request: SystemExit | None = None
        parts.event_manager.on_exit = self._exit_with
        self._stopping = asyncio.Event()
        self._closed = asyncio.Event()
        self._is_told_late = False
        self._foreign_shards: dict[tuple[int, int], ShardProxy] = {}
        self._config_doubted = asyncio.Event()
        self.consuming = asyncio.Event()
        self.has_started = False
        self.intents = hikari.Intents.NONE
        self.shards: Mapping[int, ShardProxy] = {}
        self.me: hikari.OwnUser | None = None

    def _hear(self, event: ControlEvent) -> None:
        if isinstance(event, ExchangeRestored):
            self.group.bind_again(event.event_type)
            self.copies.bind_again(event.event_type)
            self._cache.copy.bind_again(event.event_type)
        self._fleet.hear(event)
        changes = self._connections.hear(event)
        self._warn_of_late_listeners()
        for change in changes:
            if change.shard in self.shards:
                self._tell_of_connection(change)
            else:
                self._config_doubted.set()

    def _warn_of_late_listeners(self) -> None:
        """Once: what Discord says at the start of a session is over when a process starts later, as in every deploy."""
        if self._is_told_late or not self._connections.found_connected:
            return
        self._is_told_late = True
        manager = self._parts.event_manager
        late = [cls.__name__ for cls in ABOUT_SESSIONS if manager.get_listeners(cls, polymorphic=False)]
        if late:
            sentence = "shards were connected before this process started: listeners hear of their next sessions only"
            _log.info(sentence, extra={"action": "late_listener", "events": late})

    def _tell_of_connection(self, change: ConnectionChange) -> None:
        shard, factory = self.shards[change.shard], self._parts.event_factory
        make = factory.deserialize_connected_event if change.is_connected else factory.deserialize_disconnected_event
        self._parts.event_manager.dispatch(make(shard))

    def stop(self) -> None:
        """Drain and end `live()`."""
        self._stopping.set()

    def _exit_with(self, request: SystemExit) -> None:
        """A handler called `sys.exit`: as `stop`, and `live` ends with it."""
        self._exit_request = self._exit_request or request
        self.stop()

    async def live(self) -> None:
        """From connecting to goodbye. Raises RelayError, in a group if a service failed, or a handler's SystemExit."""
        loop = asyncio.get_running_loop()
        guard_forks(loop)
        count_library_callbacks(loop)
        block_timeout_s = self._settings.block_timeout_s or None
        watchdog = Watchdog(self.counters, end_after_s=block_timeout_s, may_end=self.consuming.is_set)
        watching = asyncio.create_task(watchdog.run(), name="watchdog")
        try:
            await self._live()
        finally:
            try:
                await self._say_goodbye()
            finally:
                watching.cancel()
        if self._exit_request is not None:
            raise self._exit_request

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._connect(tasks)
            starting = self._parts.event_factory.deserialize_starting_event()
            await unless_stopped(self._stopping, self._dispatch_bounded(starting, None))
            if not self._stopping.is_set():
                await self._tell_of_the_start()
            if not self._stopping.is_set():
                await self._consume(tasks)
                await self._stopping.wait()
                await self._drain()
            await end_tasks(self._services)

    # Start

    async def _connect(self, tasks: asyncio.TaskGroup) -> None:
        timeout_s = self._settings.connect_timeout_s
        await self._link.open(timeout_s=timeout_s)
        self._serve(tasks, "control link", self._link.keep)
        await self._parts.start()
        self.me = await self._fetch_me(timeout_s)
        self._parts.cache.update_me(self.me)
        self._configure(await self._coordinator.config(timeout_s=timeout_s))
        self._serve(tasks, "configuration", self._follow_config)
        self._parts.event_manager.waiters.binder = self.copies
        self._serve(tasks, "fleet view", self._fleet.keep)
        self._serve(tasks, "command sync", self._command_sync.run)
        self._parts.rest.command_sync = self._command_sync
        await self._cache.open(self.intents, functools.partial(self._serve, tasks), timeout_s=timeout_s)
        if self._components is not None:
            await self._components.open(functools.partial(self._serve, tasks))

    def _configure(self, config: BotConfig) -> None:
        if (hikari.Intents(config.intents), config.shard_count) == (self.intents, len(self.shards)):
            return
        self.intents = hikari.Intents(config.intents)
        self.shards = {shard: self._proxy(shard, config.shard_count) for shard in range(config.shard_count)}
        if self.consuming.is_set():
            self._parts.event_manager.know_intents(self.intents)

    async def _follow_config(self) -> None:
        """The fleet may come back with another shard count, and then with other intents, while this process runs."""
        while True:
            await self._config_doubted.wait()
            self._config_doubted.clear()
            try:
                self._configure(await self._coordinator.config(timeout_s=CONFIG_INTERVAL_S))
            except RelayError as error:
                fields = {"action": "config_unknown", "reason": str(error)}
                _log.debug("nobody tells the shard count", extra=fields)
            await asyncio.sleep(CONFIG_INTERVAL_S)

    async def _fetch_me(self, timeout_s: float) -> hikari.OwnUser:
        url = self._settings.rest_url
        try:
            async with asyncio.timeout(timeout_s):
                return await self._parts.rest.fetch_my_user()
        except hikari.UnauthorizedError as error:
            raise ConfigurationError(
                "Discord refused the bot token (401): set DISCORD_TOKEN to the token of the developer portal's Bot page"
            ) from error
        except hikari.NotFoundError as error:
            raise ConfigurationError(f"there is no Discord API at {url} (404): correct --rest-url") from error
        except (LookupError, TypeError, ValueError) as error:
            raise DiscordUnreachableError(
                f"what answers at {url} is not Discord's REST API ({error!r}): correct --rest-url"
            ) from error
        except (hikari.HTTPError, aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = " ".join(str(error).split()) or f"no answer within {timeout_s:g} s"
            raise DiscordUnreachableError(
                f"Discord's REST API at {url} gave no usable answer ({reason}): check the network and --rest-url"
            ) from error

    async def _tell_of_the_start(self) -> None:
        """Before anything is taken: lightbulb drops what comes while its StartedEvent handler still syncs commands."""
        self.has_started = True
        event = self._parts.event_factory.deserialize_started_event()
        handlers = asyncio.ensure_future(self._parts.event_manager.dispatch(event, return_tasks=True))
        stopping = asyncio.create_task(self._stopping.wait(), name="wait for the stop")
        try:
            both = {handlers, stopping}
            ended, _ = await asyncio.wait(both, timeout=START_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not ended:
            sentence = "a handler of StartedEvent still runs: deliveries are taken all the same"
            _log.info(sentence, extra={"action": "start_unfinished", "seconds": START_PATIENCE_S})

    async def _consume(self, tasks: asyncio.TaskGroup) -> None:
        self.group.grow(len(self.shards))
        await self.group.open(timeout_s=self._settings.connect_timeout_s)
        for name, service in self.group.services():
            self._serve(tasks, name, service)
        self._serve(tasks, "own queue", self.copies.run)
        self._serve(tasks, "copies behind the cache", self.copies.follow_cache)
        self._serve(tasks, "counters", self._report)
        for name, work in self._works.items():
            self._serve(tasks, f"work of one process: {name}", functools.partial(self._one_process.keep, name, work))
        self.group.request_sync()  # a listener may have come while the queues were declared
        for sentence in unmet_pins_here():
            _log.warning(sentence, extra={"action": "unmet_pin"})
        for sentence in self._parts.event_manager.missing_intents(self.intents):
            _log.warning(sentence, extra={"action": "missing_intent"})
        self._parts.event_manager.know_intents(self.intents)
        bound = sorted(self.group.bound)
        if not bound and not self._works:
            sentence = "nothing listens to any dispatch, so none comes: have the listeners gone to another bot object?"
            _log.warning(sentence, extra={"action": "no_listeners"})
        _log.info("consuming", extra={"action": "consuming", "group": self._settings.group, "types": bound})
        self.consuming.set()

    def _serve(self, tasks: asyncio.TaskGroup, name: str, service: Service) -> None:
        self._services.append(tasks.create_task(service(), name=name))

    async def _report(self) -> None:
        last = self.counters.fields()
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            count_library_callbacks(asyncio.get_running_loop())
            if (fields := self.counters.fields()) != last:
                _log.info("deliveries", extra={"action": "deliveries", **fields})
                last = fields

    # Shards

    def _proxy(self, shard: int, shard_count: int) -> ShardProxy:
        if self.me is None:
            raise hikari.ComponentStateConflictError("the own user is not known yet")
        return ShardProxy(
            shard,
            shard_count,
            intents=self.intents,
            user_id=self.me.id,
            commands=self.commands,
            fleet=self._fleet,
            closed=self._closed,
        )

    def _shard_of(self, dispatch: Dispatch) -> ShardProxy:
        own = self.shards.get(dispatch.shard)
        if own is not None and own.shard_count == dispatch.shard_count:
            return own
        self._config_doubted.set()
        key = (dispatch.shard, dispatch.shard_count)  # of another shard count: resharding
        if key not in self._foreign_shards:
            self._foreign_shards[key] = self._proxy(*key)
        return self._foreign_shards[key]

    # End

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._settings.drain_timeout_s):
                await self._finish_all()
        except TimeoutError:
            count = await self.group.cancel()
            if self._components is not None:
                count += await self._components.cancel()
            _log.warning(
                "handlers did not end in time: their dispatches come again",
                extra={"action": "drain_timeout", "count": count},
            )

    async def _finish_all(self) -> None:
        """Clicks are declined when all handlers have ended or half of the time is over: one may wait for a click."""
        if self._components is None:
            await self.group.drain()
            return
        own = asyncio.ensure_future(asyncio.gather(self.group.drain(), self._components.finish_begun()))
        try:
            await asyncio.wait([own], timeout=self._settings.drain_timeout_s / 2)
            await asyncio.gather(own, self._components.drain())
        finally:
            own.cancel()

    async def _say_goodbye(self) -> None:
        factory = self._parts.event_factory
        if self.has_started:
            await self._dispatch_bounded(factory.deserialize_stopping_event(), LIFETIME_EVENT_TIMEOUT_S)
        await self._parts.leave_voice(timeout_s=CLOSE_TIMEOUT_S)
        self._closed.set()
        self._parts.event_manager.waiters.binder = None
        self._parts.rest.command_sync = None
        if self._components is not None:
            self._components.close()
        await self._group_link.close()
        await self._cache.close()
        await self._link.close()
        await self._parts.close(timeout_s=CLOSE_TIMEOUT_S)
        if self.has_started:
            await self._dispatch_bounded(factory.deserialize_stopped_event(), LIFETIME_EVENT_TIMEOUT_S)
        _log.info("closed", extra={"action": "closed", **self.counters.fields()})

    async def _dispatch_bounded(self, event: hikari.Event, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._parts.event_manager.dispatch(event, return_tasks=True)
        except TimeoutError:
            _log.warning(
                "handlers did not end in time",
                extra={"action": "lifetime_timeout", "event": type(event).__name__},
            )
