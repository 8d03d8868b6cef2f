"""The errors that all parts share; each says what happened and what to do, and knows its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class RelayError(Exception):
    """A failure that ends a command with one sentence and `exit_code`."""

    exit_code = EXIT_FAILURE


class ConfigurationError(RelayError):
    """Settings or arguments are wrong; `problems` holds one sentence for each."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class BrokerUnreachableError(RelayError):
    """Nothing that speaks AMQP answered at the broker's address."""


class BrokerRefusedError(ConfigurationError):
    """The broker answered and refused the login or the virtual host."""


class BrokerLostError(RelayError):
    """The connection to the broker went away while something was under way: its outcome is unknown."""


class RpcTimeoutError(RelayError):
    """No reply came in time: the request may or may not have been carried out."""


class UnroutableError(RelayError):
    """The broker has no queue for the message: nobody is there to take it."""


class QueueMissingError(RelayError):
    """There is no such queue."""


class QueueBusyError(RelayError):
    """Another process has a queue for itself now."""


class StreamGapError(RelayError):
    """What a stream gives next is not what must come next: it was cut or deleted meanwhile."""

    def __init__(self, stream: str, expected: int, found: int) -> None:
        super().__init__(f"the stream {stream!r} should go on at offset {expected} and goes on at {found}")


class RemoteError(RelayError):
    """The other side answered with a typed error (`eventbus.messages.Failure`)."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
