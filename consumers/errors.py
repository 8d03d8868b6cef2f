"""Errors of the consumer side; each says what happened and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hikari

from eventbus.errors import EXIT_FAILURE, RelayError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_PAYLOAD_BYTES = 4096


class MalformedDispatchError(RelayError):
    """A delivery is not what docs/wire.md says, or hikari cannot read its payload: it becomes a dead letter."""


class CacheSlowError(RelayError):
    """The cache was not complete within `timeout_s` after the start."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the cache was not loaded within {timeout_s:g} s: choose fewer parts with --cache, or add a core"
        )


class HandlerTimeoutError(RelayError):
    """A handler ran longer than --handler-timeout and was cancelled; listeners of ExceptionEvent get it."""

    def __init__(self, handler: str, ran_s: float) -> None:
        super().__init__(f"{handler} was cancelled after {ran_s:.1f} s: shorten it, or raise --handler-timeout")
        self.handler = handler
        self.ran_s = ran_s


class CancelledByNobodyError(RelayError):
    """A handler ended in CancelledError though nobody cancelled it: what it awaited was cancelled."""


class DiscordUnreachableError(RelayError):
    """Discord's REST API gave no usable answer at the start."""


class ConsumersKeepEndingError(RelayError):
    """A consumer process ended again and again: its supervisor gives up."""


class FleetEndedError(RelayError):
    """A process that a script started ended with `exit_code`; what was wrong stands in its own messages."""

    def __init__(self, program: str, exit_code: int) -> None:
        how = f"exit code {exit_code}" if exit_code >= 0 else f"signal {-exit_code}"
        super().__init__(f"{program} ended with {how}: see its messages above")
        self.exit_code = exit_code if exit_code > 0 else EXIT_FAILURE


class CommandError(RelayError):
    """A gateway command for `shard` (None: all) was not carried out, or nobody knows whether it was."""

    def __init__(self, shard: int | None, message: str) -> None:
        super().__init__(message)
        self.shard = shard


class NoHolderError(CommandError, hikari.ComponentStateConflictError):
    """No worker holds the shard now: the command was not sent. Try again when it is connected."""

    def __init__(self, shard: int) -> None:
        super().__init__(shard, f"no worker holds shard {shard} now: try again when it is connected")
        self.reason = str(self.args[0])


class CommandRejectedError(CommandError):
    """The holder refused the command: `code` is for programs; `retry_after_s` says when it may be accepted."""

    def __init__(self, shard: int, code: str, message: str, retry_after_s: float | None) -> None:
        wait = "" if retry_after_s is None else f"; try again in {retry_after_s:.1f} s"
        super().__init__(shard, f"shard {shard} refused the command: {message}{wait}")
        self.code = code
        self.retry_after_s = retry_after_s


class CommandRateLimitedError(CommandRejectedError):
    """Discord's limit is used up (120 sends in 60 s, or all members of a guild in 30 s): it was not sent."""


class ShardNotConnectedError(CommandRejectedError, hikari.ComponentStateConflictError):
    """The shard has a holder that is not connected to Discord now: the command was not sent."""

    def __init__(self, shard: int, code: str, message: str, retry_after_s: float | None) -> None:
        super().__init__(shard, code, message, retry_after_s)
        self.reason = str(self.args[0])


class InvalidCommandError(CommandError, ValueError):
    """Discord would refuse the command, and the message says why: it was not sent."""

    def __init__(self, shard: int | None, message: str) -> None:
        super().__init__(shard, f"Discord would refuse the command: {message}")


class CommandTimeoutError(CommandError, TimeoutError):
    """No answer came in time: the command may or may not have been sent."""


class CommandTooLargeError(CommandError, ValueError):
    """The payload is larger than Discord takes: it was not sent."""

    def __init__(self, shard: int, size: int) -> None:
        super().__init__(
            shard,
            f"the payload for shard {shard} has {size} bytes, Discord takes {_MAX_PAYLOAD_BYTES}: ask for less at once",
        )
        self.size = size


class MembersTimeoutError(CommandError, TimeoutError):
    """Not all members that were asked for came in time; `count` chunks of `expected_count` (None: unknown) did."""

    def __init__(self, shard: int, guild_id: int, count: int, expected_count: int | None) -> None:
        of_all = "" if expected_count is None else f" of {expected_count}"
        super().__init__(
            shard, f"{count}{of_all} chunks of guild {guild_id}'s members came in time: ask for less, or wait longer"
        )
        self.count = count
        self.expected_count = expected_count


class SomeShardsFailedError(RelayError):
    """A command for several shards failed on some: `failures` has the error of each, by shard id."""

    def __init__(self, failures: Mapping[int, RelayError], shard_count: int) -> None:
        self.failures = dict(failures)
        first = next(iter(failures.values()))
        super().__init__(f"{len(failures)} of {shard_count} shards did not take the command; the first: {first}")


def only_one_of(error: BaseException) -> BaseException:
    """The one error in a group of one; else `error`."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
