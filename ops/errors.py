"""The errors of ops: each says what happened and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.errors import EXIT_INTERRUPTED, ConfigurationError, RelayError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class BrokerUnavailableError(RelayError):
    """There is no private broker to be had."""


class BrokerMissingError(BrokerUnavailableError):
    """RabbitMQ is not installed; `program` is what was looked for."""

    def __init__(self, program: str) -> None:
        super().__init__(
            f"{program} was not found: install RabbitMQ (Debian: sudo apt-get install rabbitmq-server), "
            "or set AMQP_URL to a broker that runs already."
        )
        self.program = program


class BrokerStartError(BrokerUnavailableError):
    """The node ended or stayed silent while starting; `log_directory` holds what it said."""

    def __init__(self, problem: str, log_directory: Path) -> None:
        super().__init__(f"RabbitMQ {problem}: see the logs in {log_directory}.")
        self.log_directory = log_directory


class BrokerDirectoryError(ConfigurationError):
    """The node's folder cannot be used: another process runs a node in it, or it is damaged."""


class BrokerCommandError(RelayError):
    """rabbitmqctl failed or took too long."""


class ChildRefusedError(ConfigurationError):
    """A child ended with a configuration problem; `lines` are its last words."""

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        super().__init__([line for line in lines if line] or [f"{name} refused its configuration"])
        self.name = name


class ChildFailedError(RelayError):
    """A child kept failing."""

    def __init__(self, name: str, code: int, lines: Sequence[str]) -> None:
        said = f"; it said: {lines[-1]}" if lines else ""
        super().__init__(f"{name} failed again and again (exit code {code}){said}")
        self.name = name
        self.code = code


class SimulatorFailedError(RelayError):
    """gw-sim did not come up."""

    def __init__(self, said: str) -> None:
        super().__init__(f"gw-sim did not start: {said or 'it said nothing'}")


class CommandMissingError(RelayError):
    """One of our own commands is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the command {name} was not found: install hikari-relay into this Python environment")


class DrainUnfinishedError(RelayError):
    """A worker still holds shards: nobody else takes them (`is_stuck`), or it took too long."""

    def __init__(self, worker_id: str, shards: str, *, is_stuck: bool) -> None:
        why = "no other worker takes them (see ranges, capacities and draining in `gw-ctl state`)"
        super().__init__(
            f"worker {worker_id} still holds shards {shards}: {why if is_stuck else 'they did not move in time'}."
            f" It gets nothing new; start a worker that takes them, or `gw-ctl undrain {worker_id}`"
        )


class RebalanceUnfinishedError(RelayError):
    """The shards were not spread evenly in time."""

    def __init__(self, shards: str) -> None:
        super().__init__(f"shards {shards} did not move in time: see `gw-ctl state`, and try again")


class FleetCommandStoppedError(RelayError):
    """The command was interrupted; what it asked for goes on."""

    exit_code = EXIT_INTERRUPTED

    def __init__(self) -> None:
        super().__init__("stopped waiting: what was asked for goes on; see `gw-ctl state`")


class ConsumersLateError(RelayError):
    """The consumers did not begin to consume in time."""

    def __init__(self, count: int, timeout_s: float) -> None:
        super().__init__(f"{count} consumers were not ready within {timeout_s:g} s: see what they said")
