"""`gw-sim`: a stand-in for Discord on this machine, which judges its clients."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from aiohttp import web

from gateway_sim.actions import Actions
from gateway_sim.connection import Connection, HostMode
from gateway_sim.control import ControlApi
from gateway_sim.fault_injector import FaultInjector
from gateway_sim.gateway import TICK_S, Gateway
from gateway_sim.gateway_state import GatewayState
from gateway_sim.identify_gate import IdentifyGate
from gateway_sim.interaction_book import ANSWER_WITHIN_S
from gateway_sim.listener import Listener
from gateway_sim.rest import RestApi, RestJournal
from gateway_sim.script import Script, load_script, run_script
from gateway_sim.send_cli import send_app
from gateway_sim.settings import DEFAULT_TOKEN, SimSettings, application_id_of
from gateway_sim.timed_selector import TimedSelector
from gateway_sim.traffic_plan import TrafficPlan, parse_rate
from gateway_sim.traffic_pump import TrafficPump
from gateway_sim.verdict import verdict
from gateway_sim.world import World

_GC_THRESHOLDS = (50_000, 20, 50)
_SHUTDOWN_S = 2.0

app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)
app.add_typer(send_app, name="send")


class Simulator:
    """All parts, wired together."""

    def __init__(self, settings: SimSettings, selector: TimedSelector) -> None:
        self.settings = settings
        remaining = settings.identify_total if settings.identify_remaining is None else settings.identify_remaining
        world = World(
            seed=settings.seed,
            guild_count=settings.guilds,
            large_guilds=settings.large_guilds,
            bot_token=settings.token,
            application_id=application_id_of(settings.token),
            answer_within_s=settings.answer_within_s,
        )
        gate = IdentifyGate(
            max_concurrency=settings.max_concurrency,
            total=settings.identify_total,
            remaining=remaining,
            window_s=settings.identify_window_s,
            now=time.monotonic(),
        )
        self.state = GatewayState(settings, world, gate, selector.uncertainty_s)
        self.pump = TrafficPump(self.state)
        self.gateway = Gateway(self.state, self.pump.wake)
        self.gateway_host = Listener(settings.host, settings.gateway_port, lambda mode: self._connection(mode, False))
        self.resume_host = Listener(settings.host, settings.resume_port, lambda mode: self._connection(mode, True))
        self.journal = RestJournal()
        injector = FaultInjector(self.state, self.gateway, self.gateway_host, self.resume_host)
        self.actions = Actions(self.state, self.pump, injector)

    def _connection(self, mode: HostMode, on_resume_host: bool) -> Connection:
        # A replay may wait in front of live dispatches: twice the depth is more than any client can catch up with.
        backlog = 2 * self.settings.replay_depth
        return Connection(self.gateway, on_resume_host=on_resume_host, mode=mode, max_backlog=backlog)

    def rest_app(self) -> web.Application:
        """Return Discord's REST API."""
        return RestApi(
            self.state.world,
            gateway_url=lambda: self.gateway_host.url,
            session_start_limit=lambda: self.state.gate.session_start_limit(time.monotonic()),
            recommended_shards=lambda: self.settings.shards,
            journal=self.journal,
            on_dispatch=self.actions.publish,
        ).app()

    def control_app(self) -> web.Application:
        """Return the control API."""
        return ControlApi(self.state, self.actions, self.pump, self.journal).app()

    def verdict(self) -> dict[str, Any]:
        """Return the verdict as it stands."""
        return verdict(self.state, dict(self.journal.unknown_routes))


async def _serve(stack: AsyncExitStack, app_: web.Application, host: str, port: int) -> str:
    runner = web.AppRunner(app_, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    bound = socket.create_server((host, port), backlog=512)
    await web.SockSite(runner, bound).start()
    return f"http://{host}:{bound.getsockname()[1]}"


def _keep_while_it_runs(stack: AsyncExitStack, file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n", encoding="utf-8")
    stack.callback(file.unlink, missing_ok=True)


async def _tick(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        gateway.tick()


async def _play(script: Script, sim: Simulator) -> None:
    try:
        await run_script(script, sim.state, sim.actions)
    except ValueError as error:
        _complain(f"the script stopped: {error}")


async def _wait_for_the_end(duration_s: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with suppress(TimeoutError):
        async with asyncio.timeout(duration_s):
            await stop.wait()


async def _run(sim: Simulator, script: Script | None, duration_s: float | None, control_file: Path | None) -> None:
    settings = sim.settings
    if settings.rate != 0:
        sim.pump.set_plan(TrafficPlan(settings.rate, settings.mix, None, None, settings.seed))
    async with AsyncExitStack() as stack:
        for host in (sim.gateway_host, sim.resume_host):
            await host.start()
            stack.callback(host.close)
        sim.state.resume_url = sim.resume_host.url
        rest_url = await _serve(stack, sim.rest_app(), settings.host, settings.rest_port)
        control_url = await _serve(stack, sim.control_app(), settings.host, settings.control_port)
        if control_file is not None:
            _keep_while_it_runs(stack, control_file, control_url)
        tasks = [asyncio.create_task(sim.pump.run(), name="traffic pump")]
        tasks.append(asyncio.create_task(_tick(sim.gateway), name="deadlines"))
        if script is not None:
            tasks.append(asyncio.create_task(_play(script, sim), name="script"))
        _print_line(
            {
                "ready": True,
                "rest_url": f"{rest_url}/api/v10",
                "gateway_url": sim.gateway_host.url,
                "resume_url": sim.resume_host.url,
                "control_url": control_url,
            }
        )
        await _watch(tasks, duration_s)
        for connection in list(sim.state.connections):
            connection.close(1001, "the simulator stops")


async def _watch(tasks: list[asyncio.Task[None]], duration_s: float | None) -> None:
    """Wait for the end; a task that fails ends the simulator with its error."""
    end = asyncio.create_task(_wait_for_the_end(duration_s), name="end")
    forever = [task for task in tasks if task.get_name() != "script"]
    done, _ = await asyncio.wait([end, *forever], return_when=asyncio.FIRST_COMPLETED)
    for task in (end, *tasks):
        task.cancel()
    await asyncio.gather(end, *tasks, return_exceptions=True)
    for task in done:
        task.result()


@app.callback(invoke_without_command=True)
def simulate(  # noqa: PLR0913 - one parameter per command line option
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    rest_port: Annotated[int, typer.Option(help="Port of the REST API; 0 is any free one.")] = 0,
    gateway_port: Annotated[int, typer.Option(help="Port of the gateway.")] = 0,
    resume_port: Annotated[int, typer.Option(help="Port of the gateway's resume host.")] = 0,
    control_port: Annotated[int, typer.Option(help="Port of the control API.")] = 0,
    shards: Annotated[int, typer.Option(help="Recommended shard count.")] = 1,
    max_concurrency: Annotated[int, typer.Option(help="Identify buckets.")] = 1,
    identify_total: Annotated[int, typer.Option(help="Identifies per day.")] = 1000,
    identify_remaining: Annotated[int | None, typer.Option(help="Identifies left today; default: all.")] = None,
    identify_window_s: Annotated[float, typer.Option(help="Window of an identify bucket, in seconds.")] = 5.0,
    answer_within_s: Annotated[
        float, typer.Option(help="How long an interaction can be answered at first, in seconds.")
    ] = ANSWER_WITHIN_S,
    guilds: Annotated[int, typer.Option(help="Number of guilds.")] = 100,
    large_guilds: Annotated[int, typer.Option(help="How many of them are large (500 KB).")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the world and of the traffic.")] = 0,
    token: Annotated[str, typer.Option(help="The bot token that is accepted.", envvar="GW_SIM_TOKEN")] = DEFAULT_TOKEN,
    rate: Annotated[str, typer.Option(help="Dispatches per second and shard, or max.")] = "0",
    mix: Annotated[str, typer.Option(help="mixed, messages, presences or guilds.")] = "mixed",
    heartbeat_interval_ms: Annotated[int, typer.Option(help="Heartbeat interval of Hello.")] = 41_250,
    session_timeout_s: Annotated[
        float | None, typer.Option(help="Silence before 4009; default: as soon as a heartbeat is missed.")
    ] = None,
    replay_depth: Annotated[int, typer.Option(help="Dispatches a session can replay.")] = 20_000,
    replay_age_s: Annotated[float, typer.Option(help="How long a session can be resumed, in seconds.")] = 180.0,
    disallowed_intents: Annotated[int, typer.Option(help="Intent bits that are refused with 4014.")] = 0,
    required_multiple: Annotated[int, typer.Option(help="The shard count must be a multiple of it.")] = 1,
    max_guilds_per_shard: Annotated[int, typer.Option(help="Beyond it, sharding is required (4011).")] = 2500,
    script: Annotated[Path | None, typer.Option(help="Timed faults and traffic, JSON.")] = None,
    verdict_file: Annotated[Path | None, typer.Option("--verdict", help="Write the verdict here, too.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Stop by itself after so many seconds.")] = None,
    ledger_file: Annotated[Path | None, typer.Option("--ledger", help="Write the ledger here at the end.")] = None,
    control_file: Annotated[
        Path | None, typer.Option(help="Keep the control URL here while it runs; send looks in .run/simulator.url.")
    ] = None,
) -> None:
    """Simulate Discord's gateway and REST, judge the clients, and print a verdict at the end.

    Exit code 0: no violations; 1: violations, or the ports are taken; 2: wrong options.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        settings = SimSettings(
            host=host,
            rest_port=rest_port,
            gateway_port=gateway_port,
            resume_port=resume_port,
            control_port=control_port,
            shards=shards,
            max_concurrency=max_concurrency,
            identify_total=identify_total,
            identify_remaining=identify_remaining,
            identify_window_s=identify_window_s,
            answer_within_s=answer_within_s,
            guilds=guilds,
            large_guilds=large_guilds,
            seed=seed,
            token=token,
            rate=parse_rate(rate),
            mix=mix,
            heartbeat_interval_ms=heartbeat_interval_ms,
            session_timeout_s=session_timeout_s,
            replay_depth=replay_depth,
            replay_age_s=replay_age_s,
            disallowed_intents=disallowed_intents,
            required_multiple=required_multiple,
            max_guilds_per_shard=max_guilds_per_shard,
        )
        loaded = None if script is None else load_script(script)
    except ValueError as error:
        _complain(str(error))
        raise typer.Exit(2) from None
    # Millions of ledger rows and replay entries are no garbage: the default thresholds would scan them over and over.
    gc.set_threshold(*_GC_THRESHOLDS)
    selector = TimedSelector()
    sim = Simulator(settings, selector)
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            runner.run(_run(sim, loaded, duration_s, control_file))
    except ValueError as error:
        _complain(str(error))
        raise typer.Exit(2) from None
    except OSError as error:
        what = "write" if isinstance(error.filename, str | Path) else "listen"
        _complain(f"cannot {what}: {error}; choose other {'files' if what == 'write' else 'ports'}")
        raise typer.Exit(1) from None
    raise typer.Exit(_conclude(sim, verdict_file, ledger_file))


def _conclude(sim: Simulator, verdict_file: Path | None, ledger_file: Path | None) -> int:
    result = sim.verdict()
    _print_line(result)
    if verdict_file is not None:
        verdict_file.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    if ledger_file is not None:
        with ledger_file.open("wb") as file:
            file.writelines(sim.state.ledger.lines())
    return 1 if result["violation_count"] else 0


def _print_line(body: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(body).decode() + "\n")
    sys.stdout.flush()


def _complain(message: str) -> None:
    sys.stderr.write(f"gw-sim: {message}\n")


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
