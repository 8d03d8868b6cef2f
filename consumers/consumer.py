"""The life of one consumer: connect, learn, consume, drain, say goodbye."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from typing import TYPE_CHECKING, Any

import aiohttp
import hikari

from consumers.counters import Counters
from consumers.delivery_path import DeliveryPath
from consumers.errors import DiscordUnreachableError
from consumers.failure_policy import FailurePolicy
from consumers.fleet_view import FleetView
from consumers.gateway_commands import GatewayCommands
from consumers.group import Group
from consumers.settling import Settling
from consumers.shard_proxy import ShardProxy
from eventbus.amqp.broker import Broker
from eventbus.amqp.control_news import ControlNews
from eventbus.amqp.delay_queues import DelayQueues
from eventbus.amqp.deliveries import QUARANTINE_LANE, DeadLetters, Quarantine
from eventbus.amqp.group_queues import CommandExchange
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.errors import ConfigurationError
from eventbus.messages import ExchangeRestored
from eventbus.names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.dispatch import Dispatch
    from consumers.group import Service
    from consumers.parts import HikariParts
    from consumers.settings import GroupSettings
    from eventbus.messages import ControlEvent

_log = logging.getLogger(__name__)

LIFETIME_EVENT_TIMEOUT_S = 10.0
REPORT_INTERVAL_S = 60.0
CANCEL_AGAIN_S = 0.5
CLOSE_TIMEOUT_S = 5.0


class Consumer:
    """One consumer, alive once: run `live()` as a task, `stop()` it.

    Two connections: one for deliveries, one for everything that publishes, since an alarm of the broker stops a
    connection that publishes, acknowledgements included.
    """

    def __init__(self, settings: GroupSettings, parts: HikariParts) -> None:
        self._settings = settings
        self._parts = parts
        names = Names(settings.namespace)
        broker = Broker.from_settings(settings)
        name = f"consumer {settings.group} {os.uname().nodename}-{os.getpid()}-{secrets.token_hex(2)}"
        self._link = Link(broker, name=name)
        rpc = RpcClient(self._link)
        CommandExchange(self._link, names)
        self._coordinator = CoordinatorClient(rpc, names)
        self._fleet = FleetView(self._coordinator)
        self._commands = GatewayCommands(rpc, names)
        self._group_link = Link(broker, name=f"{name} deliveries")
        self.counters = Counters()
        path = DeliveryPath(
            parts.event_manager,
            Settling(
                self.counters,
                dead_letters=DeadLetters(self._link, names, settings.group),
                delays=DelayQueues(self._link, names),
                quarantine=Quarantine(self._link, names, settings.group),
            ),
            FailurePolicy(settings.on_error, settings.max_attempts, settings.max_deliveries),
            counters=self.counters,
            quarantine=names.group(settings.group, QUARANTINE_LANE),
            shard_of=self._shard_of,
        )
        self.group = Group(
            self._group_link,
            names,
            settings.group,
            prefetch_count=settings.prefetch,
            wanted=parts.event_manager.wanted_types,
            handle=path.handle,
        )
        ControlNews(self._link, names, kinds=("exchange.restored",), hear=self._hear)
        self._services: list[asyncio.Task[Any]] = []
        self._stopping = asyncio.Event()
        self._closed = asyncio.Event()
        self._foreign_shards: dict[tuple[int, int], ShardProxy] = {}
        self.consuming = asyncio.Event()
        self.intents = hikari.Intents.NONE
        self.shards: Mapping[int, ShardProxy] = {}
        self.me: hikari.OwnUser | None = None

    def _hear(self, event: ControlEvent) -> None:
        if isinstance(event, ExchangeRestored):
            self.group.bind_again(event.event_type)

    def stop(self) -> None:
        """Drain and end `live()`."""
        self._stopping.set()

    async def live(self) -> None:
        """From connecting to goodbye. Raises RelayError, in a group if a service failed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._connect(tasks)
                await self._dispatch_bounded(self._parts.event_factory.deserialize_starting_event(), None)
                await self._consume(tasks)
                self._parts.event_manager.dispatch(self._parts.event_factory.deserialize_started_event())
                await self._stopping.wait()
                await self._drain()
                await self._end_services()
        finally:
            await self._say_goodbye()

    # Start

    async def _connect(self, tasks: asyncio.TaskGroup) -> None:
        timeout_s = self._settings.connect_timeout_s
        await self._link.open(timeout_s=timeout_s)
        self._serve(tasks, "control link", self._link.keep)
        await self._parts.start()
        self.me = await self._fetch_me(timeout_s)
        self._parts.cache.update_me(self.me)
        config = await self._coordinator.config(timeout_s=timeout_s)
        self.intents = hikari.Intents(config.intents)
        self.shards = {shard: self._proxy(shard, config.shard_count) for shard in range(config.shard_count)}
        self._serve(tasks, "fleet view", self._fleet.keep)

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

    async def _consume(self, tasks: asyncio.TaskGroup) -> None:
        await self.group.open(timeout_s=self._settings.connect_timeout_s)
        for name, service in self.group.services():
            self._serve(tasks, name, service)
        self._serve(tasks, "counters", self._report)
        self.group.request_sync()  # a listener may have come while the queues were declared
        for sentence in self._parts.event_manager.missing_intents(self.intents):
            _log.warning(sentence, extra={"action": "missing_intent"})
        bound = sorted(self.group.bound)
        _log.info("consuming", extra={"action": "consuming", "group": self._settings.group, "types": bound})
        self.consuming.set()

    def _serve(self, tasks: asyncio.TaskGroup, name: str, service: Service) -> None:
        self._services.append(tasks.create_task(service(), name=name))

    async def _report(self) -> None:
        last = self.counters.fields()
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
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
            commands=self._commands,
            fleet=self._fleet,
            closed=self._closed,
        )

    def _shard_of(self, dispatch: Dispatch) -> ShardProxy:
        own = self.shards.get(dispatch.shard)
        if own is not None and own.shard_count == dispatch.shard_count:
            return own
        key = (dispatch.shard, dispatch.shard_count)  # of another shard count: resharding
        if key not in self._foreign_shards:
            self._foreign_shards[key] = self._proxy(*key)
        return self._foreign_shards[key]

    # End

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._settings.drain_timeout_s):
                await self.group.drain()
        except TimeoutError:
            count = await self.group.cancel()
            _log.warning(
                "handlers did not end in time: their dispatches come again",
                extra={"action": "drain_timeout", "count": count},
            )

    async def _end_services(self) -> None:
        running = set(self._services)
        while running:  # `wait_for` of Python 3.11 loses a cancellation that comes as what it waits for ends
            for service in running:
                service.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)

    async def _say_goodbye(self) -> None:
        was_consuming = self.consuming.is_set()
        factory = self._parts.event_factory
        if was_consuming:
            await self._dispatch_bounded(factory.deserialize_stopping_event(), LIFETIME_EVENT_TIMEOUT_S)
        self._closed.set()
        await self._group_link.close()
        await self._link.close()
        await self._parts.close(timeout_s=CLOSE_TIMEOUT_S)
        if was_consuming:
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
