"""Sends gateway commands to whoever holds the shard, and turns the answer into nothing or a typed error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from consumers.errors import (
    CommandError,
    CommandRejectedError,
    CommandTimeoutError,
    CommandTooLargeError,
    NoHolderError,
)
from consumers.payloads import MAX_PAYLOAD_BYTES, payload_size
from eventbus import messages
from eventbus.errors import BrokerLostError, RpcTimeoutError, UnroutableError

if TYPE_CHECKING:
    from eventbus.amqp.rpc import RpcClient
    from eventbus.names import Names

COMMAND_TIMEOUT_S = 10.0


class GatewayCommands:
    """Gateway commands from this process."""

    def __init__(self, rpc: RpcClient, names: Names) -> None:
        self._rpc = rpc
        self._names = names

    async def send(self, shard: int, op: Literal[3, 4, 8, 43], d: dict[str, Any]) -> None:
        """Return when the payload was written to Discord's socket; raises CommandError otherwise."""
        size = payload_size(op, d)
        if size > MAX_PAYLOAD_BYTES:
            raise CommandTooLargeError(shard, size)
        body = messages.encode(messages.GatewayCommand(shard=shard, op=op, d=d))
        try:
            answer = await self._rpc.call(
                exchange=self._names.shard, routing_key=str(shard), body=body, timeout_s=COMMAND_TIMEOUT_S
            )
        except UnroutableError:
            raise NoHolderError(shard) from None
        except (RpcTimeoutError, BrokerLostError) as error:
            raise CommandTimeoutError(
                shard, f"nobody knows whether shard {shard} took the command ({error}): check before sending it again"
            ) from error
        _check(shard, answer)


def _check(shard: int, answer: bytes) -> None:
    try:
        reply = messages.decode(messages.command_reply, answer)
    except messages.MalformedMessageError as error:
        raise CommandError(shard, f"the holder of shard {shard} gave an answer that cannot be read: {error}") from error
    if isinstance(reply, messages.CommandSent):
        return
    if reply.code == messages.ErrorCode.NO_HOLDER:
        raise NoHolderError(shard)
    if reply.code == messages.ErrorCode.TIMED_OUT:
        raise CommandTimeoutError(shard, f"shard {shard}: {reply.message}")
    raise CommandRejectedError(shard, reply.code, reply.message, reply.retry_after_s)
