"""`gw-ctl drain`, `undrain` and `rebalance`: shards move from worker to worker while the bot runs."""

from __future__ import annotations

import asyncio
import inspect
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventbus import messages
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.errors import ConfigurationError, RemoteError
from eventbus.messages import DrainProgress, ErrorCode, Moves
from eventbus.names import Names, is_name
from eventbus.process import run_process, unless_stopped
from eventbus.settings import build, command, setting
from eventbus.shard_ranges import format_shards
from ops.ctl_settings import CtlSettings
from ops.errors import DrainUnfinishedError, FleetCommandStoppedError, RebalanceUnfinishedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

POLL_S = 0.25
STUCK_S = 3.0
"""So long all that is left must be stuck before the command gives up: a worker may be just coming."""
GONE_S = 10.0
"""So long a coordinator that took over may not know the worker yet."""


class MovingSettings(CtlSettings):
    """Where to ask and how long to wait."""

    timeout_s: float = setting(
        120.0,
        help="seconds to wait until the shards have moved",
        flags=["--timeout"],
        env=["GW_MOVE_TIMEOUT"],
        gt=0,
        le=86_400,
    )


def drain(settings: MovingSettings, worker_id: str) -> None:
    """Take a worker out: its shards move to others, it gets none. Exit code 0 only when it holds nothing."""
    run_process("gw-ctl", settings, lambda stop: _unless_stopped(stop, _drain(settings, worker_id)))


def undrain(settings: CtlSettings, worker_id: str) -> None:
    """Let a drained worker take shards again."""
    run_process("gw-ctl", settings, lambda stop: _unless_stopped(stop, _undrain(settings, worker_id)))


def rebalance(settings: MovingSettings) -> None:
    """Spread the shards evenly over the workers now. Exit code 0 only when that is done."""
    run_process("gw-ctl", settings, lambda stop: _unless_stopped(stop, _rebalance(settings)))


def add_fleet_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("drain")(_of_worker(MovingSettings, drain))
    app.command("undrain")(_of_worker(CtlSettings, undrain))
    app.command("rebalance")(command(MovingSettings, rebalance))


def _of_worker(model: type[Any], run: Callable[[Any, str], None]) -> Callable[..., None]:
    """A command as `eventbus.settings.command` makes it, with a worker id as its argument."""

    def entry(worker_id: str, **values: Any) -> None:  # noqa: ANN401 - typer gives texts
        if not is_name(worker_id):
            raise ConfigurationError(f"{worker_id!r} is not a worker id: `gw-ctl state` shows them")
        run(build(model, values), worker_id)

    options = inspect.signature(command(model, lambda _: None)).parameters.values()
    annotation = Annotated[str, typer.Argument(help="the worker, as `gw-ctl state` shows it", show_default=False)]
    argument = inspect.Parameter("worker_id", inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    entry.__signature__ = inspect.Signature([argument, *options])  # type: ignore[attr-defined]  # what typer reads
    entry.__annotations__ = {"worker_id": annotation} | {one.name: one.annotation for one in options}
    entry.__doc__ = run.__doc__
    entry.settings = model  # type: ignore[attr-defined]  # what `run_command` reads `.env` for
    return entry


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, bool]) -> None:
    """Do `work`; raises FleetCommandStoppedError if `stop` comes before its end."""
    if await unless_stopped(stop, work) is None:
        raise FleetCommandStoppedError


@asynccontextmanager
async def _coordinator(settings: CtlSettings) -> AsyncIterator[CoordinatorClient]:
    link = Link(Broker.from_settings(settings), name="gw-ctl")
    client = CoordinatorClient(RpcClient(link), Names(settings.namespace))
    await link.open(timeout_s=settings.connect_timeout_s)
    keeping = asyncio.create_task(link.keep(), name="link")
    try:
        yield client
    finally:
        keeping.cancel()
        await link.close()


async def _drain(settings: MovingSettings, worker_id: str) -> bool:
    async with _coordinator(settings) as coordinator:
        request = messages.Drain(worker_id=worker_id)
        first = await coordinator.call_until(request, DrainProgress, timeout_s=settings.connect_timeout_s)
        watch = _DrainWatch(worker_id, first, timeout_s=settings.timeout_s)
        while not watch.is_done():
            await asyncio.sleep(POLL_S)
            watch.on_progress(await _progress(coordinator, request, settings))
        return True


async def _progress(
    coordinator: CoordinatorClient, request: messages.Drain, settings: CtlSettings
) -> DrainProgress | None:
    """How far it is; None if the coordinator does not know the worker."""
    try:
        return await coordinator.call_until(request, DrainProgress, timeout_s=settings.connect_timeout_s)
    except RemoteError as error:
        if error.code != ErrorCode.UNKNOWN_WORKER:
            raise
        return None


class _DrainWatch:
    """Says how a drain goes on and when it is over."""

    def __init__(self, worker_id: str, first: DrainProgress, *, timeout_s: float) -> None:
        self._worker_id = worker_id
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._timeout_s = timeout_s
        self._count = len(first.held)
        self._shown: tuple[int, ...] | None = None
        self._all_stuck_since: float | None = None
        self._unknown_since: float | None = None
        self._progress = first
        self.on_progress(first)

    def on_progress(self, progress: DrainProgress | None) -> None:
        now = self._loop.time()
        if progress is None:
            self._unknown_since = self._unknown_since or now
            return
        self._unknown_since, self._progress = None, progress
        is_all_stuck = bool(progress.held) and progress.stuck == progress.held
        self._all_stuck_since = (self._all_stuck_since or now) if is_all_stuck else None
        if progress.held and progress.held != self._shown:
            _say(
                f"worker {self._worker_id}: {len(progress.held)} of {self._count} shards left ({_text(progress.held)})"
            )
            self._shown = progress.held

    def is_done(self) -> bool:
        """Whether the worker holds nothing. Raises DrainUnfinishedError if waiting is of no use, or was too long."""
        now, worker_id = self._loop.time(), self._worker_id
        if self._unknown_since is not None:
            if now - self._unknown_since >= GONE_S:
                _say(f"worker {worker_id} is gone: it holds nothing")
                return True
            return False
        if not self._progress.held:
            _say(f"worker {worker_id} holds nothing: {self._count} shards moved in {now - self._began_at:.1f} s")
            return True
        if self._all_stuck_since is not None and now - self._all_stuck_since >= STUCK_S:
            raise DrainUnfinishedError(worker_id, _text(self._progress.held), is_stuck=True)
        if now - self._began_at >= self._timeout_s:
            raise DrainUnfinishedError(worker_id, _text(self._progress.held), is_stuck=False)
        return False


async def _undrain(settings: CtlSettings, worker_id: str) -> bool:
    async with _coordinator(settings) as coordinator:
        request = messages.Undrain(worker_id=worker_id)
        await coordinator.call_until(request, messages.Done, timeout_s=settings.connect_timeout_s)
    _say(f"worker {worker_id} takes shards again")
    return True


async def _rebalance(settings: MovingSettings) -> bool:
    loop = asyncio.get_running_loop()
    async with _coordinator(settings) as coordinator:
        began_at, shown = loop.time(), set[tuple[int, str]]()
        while True:
            reply = await coordinator.call_until(messages.Rebalance(), Moves, timeout_s=settings.connect_timeout_s)
            for move in reply.moves:
                if (move.shard, move.receiver) not in shown:
                    _say(f"shard {move.shard}: {move.giver} -> {move.receiver}")
                    shown.add((move.shard, move.receiver))
            if not reply.moves:
                break
            if loop.time() - began_at >= settings.timeout_s:
                raise RebalanceUnfinishedError(_text(tuple(move.shard for move in reply.moves)))
            await asyncio.sleep(POLL_S)
        spread = f"{len(shown)} shards moved in {loop.time() - began_at:.1f} s" if shown else "nothing to move"
        _say(f"the shards are spread as evenly as ranges and capacities allow: {spread}")
    return True


def _text(shards: tuple[int, ...]) -> str:
    return format_shards(shards)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
