"""The coordinator's errors: refused requests, which become typed replies, and failures of its start."""

from __future__ import annotations

from eventbus.errors import ConfigurationError, RelayError
from eventbus.messages import ErrorCode


class RefusedRequestError(RelayError):
    """A request that is answered with a `Failure`; `code` is for programs, the message says what to do."""

    code = ErrorCode.BAD_REQUEST

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MalformedRangeError(RefusedRequestError):
    """A worker asked for shards in words that are no shard range."""


class ShardOutOfRangeError(RefusedRequestError):
    """A worker asked for a shard that the bot does not have."""

    code = ErrorCode.OUT_OF_RANGE


class UnknownWorkerError(RefusedRequestError):
    """A worker that is not registered here: it registers again with all that it holds."""

    code = ErrorCode.UNKNOWN_WORKER


class StaleLeaseError(RefusedRequestError):
    """A lease that is not, or no longer, the worker's."""

    code = ErrorCode.STALE_LEASE


class NotReadyError(RefusedRequestError):
    """The coordinator has just begun to lead and is still learning who holds what."""

    code = ErrorCode.NOT_READY


class TokenRefusedError(ConfigurationError):
    """Discord's REST API does not know the bot token."""


class DiscordUnreachableError(RelayError):
    """Discord's REST API gave no usable answer; it asked for at least `retry_after_s` of peace."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
