"""`gw-ctl`: ask the fleet what it is doing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson
import typer
from rich.console import Console
from rich.table import Table

from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.names import Names
from eventbus.process import end_if_stopped, run_process, unless_stopped
from eventbus.settings import command, run_command, setting
from ops.ctl_dead import dead_app
from ops.ctl_fleet import add_fleet_commands
from ops.ctl_settings import CtlSettings

if TYPE_CHECKING:
    import asyncio

    from eventbus.messages import FleetState


class StateSettings(CtlSettings):
    """Where to ask and how to print."""

    json_output: bool = setting(False, help="print JSON", flags=["--json"], env=["GW_JSON"])


def _state(settings: StateSettings) -> None:
    """Show the shards, who holds them, and the identify budget. Exit code 1 if no coordinator answers."""

    async def work(stop: asyncio.Event) -> None:
        await unless_stopped(stop, _show_state(settings))
        end_if_stopped(stop)

    run_process("gw-ctl", settings, work)


async def _show_state(settings: StateSettings) -> None:
    link = Link(Broker.from_settings(settings), name="gw-ctl")
    coordinator = CoordinatorClient(RpcClient(link), Names(settings.namespace))
    await link.open(timeout_s=settings.connect_timeout_s)
    try:
        await coordinator.config(timeout_s=settings.connect_timeout_s)
        state = await coordinator.state()
    finally:
        await link.close()
    if settings.json_output:
        sys.stdout.buffer.write(orjson.dumps(state.model_dump(mode="json")) + b"\n")
    else:
        _print_tables(state)


def _print_tables(state: FleetState) -> None:
    console = Console()
    console.print(
        f"coordinator {state.coordinator_id}; identifies left today: {state.identifies_remaining} of"
        f" {state.identifies_total}"
    )
    shards = Table("shard", "state", "worker", "fencing token", "seq", "latency")
    for shard in state.shards:
        latency = f"{shard.latency_s * 1000:.0f} ms" if shard.latency_s is not None else "-"
        shards.add_row(
            str(shard.shard),
            shard.state,
            shard.worker_id or "-",
            str(shard.fencing_token),
            str(shard.seq or "-"),
            latency,
        )
    workers = Table("worker", "asked for", "capacity", "holds", "draining", "renewed")
    for worker in state.workers:
        workers.add_row(
            worker.worker_id,
            worker.shards,
            str(worker.capacity or "-"),
            str(len(worker.held)),
            "yes" if worker.draining else "no",
            f"{worker.renewed_s:.1f} s ago",
        )
    console.print(shards, workers)


def main() -> None:
    """The command."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

    @app.callback()
    def root() -> None:
        """Ask the fleet what it is doing."""

    app.command("state")(command(StateSettings, _state))
    app.add_typer(dead_app(), name="dead")
    add_fleet_commands(app)
    run_command(app, name="gw-ctl")
