"""A fleet from a script of one's own: the processes of `gw-run`, or consumers alone, started and supervised.

`run_subprocesses`, `spawn_subprocesses` and `run_server` have the shape that hikari-orchestrator gave them. POSIX only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, Required, Self, Unpack

from pydantic import SecretStr

from consumers.bot import Options
from consumers.errors import FleetEndedError, only_one_of
from consumers.import_path import import_path
from consumers.script_logs import set_up_logs
from consumers.settings import ConsumerSettings, GroupSettings
from consumers.supervisor import Supervisor
from consumers.tied_program import TiedProgram
from eventbus.errors import ConfigurationError
from eventbus.process import exit_on_errors, run_main
from eventbus.settings import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import hikari

    from consumers.bot import Bot


class ServerOptions(Options, total=False):
    """What coordinator and gateway workers are asked for; beside it, the settings of a `Bot`."""

    shard_count: int | None
    intents: hikari.Intents | int | None
    worker_count: int


class SubprocessOptions(ServerOptions, total=False):
    """The consumers' side.

    `callback` sets each process's bot up: a function at the top level of a module, or its path, `module:function`.
    Without `amqp_url`, and without AMQP_URL in the environment, a private RabbitMQ node is started. `with_server=False`
    starts consumers only, of a fleet that runs elsewhere.
    """

    callback: Required[Callable[[Bot], Any] | str]
    amqp_url: str | None
    subprocess_count: int
    with_server: bool


class Life(Protocol):
    """What `Subprocesses` keeps running."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of its direct children."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until it ends by itself, or until `stop` and its drain. Raises RelayError."""


class Subprocesses:
    """Processes that `spawn_subprocesses` started. `async with` stops them at its end."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(life.run(self._stop), name="subprocesses")

    @property
    def pids(self) -> tuple[int, ...]:
        """Those of the children: of `gw-run`, which has all others, or of the consumers if there is no server."""
        return self._life.pids

    async def wait(self) -> None:
        """Until all have ended. Raises the RelayError that ended them, if one did."""
        await asyncio.wait({self._running})
        error = self._running.exception()
        if error is not None:
            raise only_one_of(error)

    async def stop(self) -> None:
        """Drain all, and return when they are gone. Raises as `wait`."""
        self._stop.set()
        await self.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


def run_subprocesses(token: str, /, **options: Unpack[SubprocessOptions]) -> None:
    """Start a whole fleet, and supervise it until a signal drains it.

    Ends the process with sentences on standard error if something goes wrong.
    """
    _refuse_inside_a_consumer("run_subprocesses")
    with exit_on_errors("run_subprocesses"):
        settings, life = _fleet(token, options)
        set_up_logs(settings.log_level, settings)
        run_main("run_subprocesses", life.run)


async def spawn_subprocesses(token: str, /, **options: Unpack[SubprocessOptions]) -> Subprocesses:
    """Begin to start a whole fleet, in a running loop; it is supervised until `stop()`. Raises ConfigurationError."""
    _refuse_inside_a_consumer("spawn_subprocesses")
    return Subprocesses(_fleet(token, options)[1])


def run_server(token: str, amqp_url: str | None = None, /, **options: Unpack[ServerOptions]) -> None:
    """Run what consumers elsewhere need, until a signal: `gw-run` with gw-coordinator and gw-worker, no consumers.

    The server itself is RabbitMQ: give consumers the same `amqp_url`. Ends the process with sentences on standard
    error if something goes wrong.
    """
    _refuse_inside_a_consumer("run_server")
    with exit_on_errors("run_server"):
        settings, server = _settings(token, amqp_url, options)
        set_up_logs(settings.log_level, settings)
        run_main("run_server", _gw_run(settings, server | {"process-count": 0}).run)


def _fleet(token: str, options: SubprocessOptions) -> tuple[GroupSettings, Life]:
    rest: Any = dict(options)
    entrypoint, folder = import_path(rest.pop("callback"))
    count = rest.pop("subprocess_count", None) or os.cpu_count() or 1
    with_server = rest.pop("with_server", True)
    settings, server = _settings(token, rest.pop("amqp_url", None), rest)
    if with_server:
        what = {"entrypoint": entrypoint, "entrypoint-dir": str(folder), "process-count": count}
        return settings, _gw_run(settings, {**server, **what})
    if server:
        raise ConfigurationError([f"{name}: the fleet that runs already has it: leave it out" for name in server])
    return settings, _Consumers(settings, count, entrypoint=entrypoint, entrypoint_dir=str(folder))


def _settings(token: str, amqp_url: str | None, options: Any) -> tuple[GroupSettings, dict[str, object]]:  # noqa: ANN401
    """The settings of our bots, and the options of gw-run for the server."""
    rest = dict(options)
    names = {"shard_count": "shard-count", "intents": "intents", "worker_count": "worker-count"}
    given = {flag: rest.pop(name, None) for name, flag in names.items()}
    amqp_url = amqp_url or os.environ.get("AMQP_URL") or None
    settings = build(GroupSettings, {"token": token, "amqp_url": amqp_url, **rest})
    return settings, {flag: int(value) for flag, value in given.items() if value is not None}


def _gw_run(settings: GroupSettings, options: dict[str, object]) -> TiedProgram:
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return TiedProgram("gw-run", arguments, {**os.environ, **_environment(settings)})


def _environment(settings: GroupSettings) -> dict[str, str]:
    """What was given, as environment; the rest is for the processes to find, as the commands do."""
    environment = {}
    for name in settings.model_fields_set:
        extra: Any = type(settings).model_fields[name].json_schema_extra
        value = getattr(settings, name)
        environment[extra["env"][0]] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return environment


class _Consumers:
    """Consumers under a supervisor in this process."""

    def __init__(self, settings: GroupSettings, count: int, *, entrypoint: str, entrypoint_dir: str) -> None:
        if "amqp_url" not in settings.model_fields_set:
            raise ConfigurationError("amqp_url (AMQP_URL) is missing: give the RabbitMQ URL of the fleet that runs")
        given = {name: getattr(settings, name) for name in {*settings.model_fields_set, "drain_timeout_s"}}
        own = {"entrypoint": entrypoint, "entrypoint_dir": entrypoint_dir, "processes": count}
        full = build(ConsumerSettings, {**given, **own})
        environment = {**os.environ, **_environment(full.model_copy(update={"processes": 1}))}
        self._supervisor = Supervisor(count, environment, drain_timeout_s=settings.drain_timeout_s)

    @property
    def pids(self) -> tuple[int, ...]:
        return self._supervisor.pids

    async def run(self, stop: asyncio.Event) -> None:
        await self._supervisor.run(stop)
        if self._supervisor.exit_code:
            raise FleetEndedError("a consumer process", self._supervisor.exit_code)


def _refuse_inside_a_consumer(name: str) -> None:
    """A consumer that imports the script must not start a fleet in its turn."""
    spec = sys.modules["__main__"].__spec__
    if "consumers.cli" in sys.modules or (spec is not None and spec.name == "consumers.cli"):
        raise ConfigurationError(
            f"{name}() was called while a consumer process imports the script: put it below if __name__ == '__main__'"
        )
