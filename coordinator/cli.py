"""`gw-coordinator`: the parts of the coordinator, wired together."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets

from coordinator.discord_gateway import DiscordGateway
from coordinator.service import CoordinatorService
from coordinator.settings import CoordinatorSettings
from eventbus import messages
from eventbus.amqp.broker import Broker
from eventbus.amqp.control_channel import ControlChannel
from eventbus.amqp.coordinator_queue import declare_coordinator_queue, on_coordinator_queue
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcServer
from eventbus.amqp.session_stream import SessionStream
from eventbus.names import Names
from eventbus.process import end_tasks, run_process
from eventbus.settings import command, run_command

_log = logging.getLogger(__name__)


async def _coordinate(settings: CoordinatorSettings, services: list[asyncio.Task[None]]) -> None:
    broker, names = Broker.from_settings(settings), Names(settings.namespace)
    coordinator_id = f"coordinator-{os.getpid()}-{secrets.token_hex(3)}"
    link = Link(broker, name=coordinator_id)
    async with DiscordGateway(settings.rest_url, settings.token.get_secret_value()) as discord:
        info = await discord.fetch_until(timeout_s=settings.connect_timeout_s)

        async def step_back(_: object) -> None:
            service.on_new_connection()

        link.on_connect(step_back)  # first of all, before anything can be asked or read over it
        control = ControlChannel(link, names)
        stream = SessionStream(link, names)
        service = CoordinatorService(
            settings,
            coordinator_id=coordinator_id,
            names=names,
            control=control,
            info=info,
            fetch=discord.fetch,
            stream=stream,
        )
        server = _serve_on(link, names, control, service)
        try:
            await link.open(timeout_s=settings.connect_timeout_s)
            async with asyncio.TaskGroup() as group:
                services += [
                    group.create_task(link.keep(), name="link"),
                    group.create_task(server.serve(), name="requests"),
                    group.create_task(service.watch(), name="watch"),
                    group.create_task(service.keep_known(), name="known checkpoints"),
                    group.create_task(service.keep_budget(), name="identify budget"),
                ]
        finally:
            await link.close()


def _serve_on(link: Link, names: Names, control: ControlChannel, service: CoordinatorService) -> RpcServer:
    async def ask_ourselves(_: object) -> None:
        # If we are the active consumer, we begin to lead by this, without waiting for a worker's request.
        await control.send(names.coordinator, messages.StateRequest())
        _log.info("connected: whoever gets the requests leads", extra={"action": "connected"})

    on_coordinator_queue(link, names, lambda exists: service.on_connected(is_new_fleet=not exists))
    server = RpcServer(link, declare=lambda channel: declare_coordinator_queue(channel, names), handle=service.handle)
    link.on_connect(ask_ourselves)
    return server


async def _until(stop: asyncio.Event, settings: CoordinatorSettings) -> None:
    services: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_coordinate(settings, services), name="coordinator")
        await stop.wait()
        await end_tasks([work, *services])


def _run(settings: CoordinatorSettings) -> None:
    """Grant shard leases and identify permits to the gateway workers of a bot; any number may run, one leads."""
    run_process("gw-coordinator", settings, lambda stop: _until(stop, settings))


def main() -> None:
    """The command."""
    run_command(command(CoordinatorSettings, _run), name="gw-coordinator")
