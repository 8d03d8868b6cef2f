"""Calls to the coordinator that leads: typed requests, typed replies, typed errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from eventbus import messages
from eventbus.errors import BrokerLostError, RemoteError, RpcTimeoutError, UnroutableError

if TYPE_CHECKING:
    from eventbus.amqp.rpc import RpcClient
    from eventbus.names import Names

R = TypeVar("R", bound=messages.Message)

CALL_TIMEOUT_S = 5.0
RETRY_INTERVAL_S = 0.5


class CoordinatorClient:
    """The control plane, from any process.

    Each call raises RemoteError (a typed refusal), RpcTimeoutError, UnroutableError (no coordinator runs) or
    BrokerLostError.
    """

    def __init__(self, rpc: RpcClient, names: Names) -> None:
        self._rpc = rpc
        self._names = names

    async def call(self, request: messages.Message, reply_type: type[R], *, timeout_s: float = CALL_TIMEOUT_S) -> R:
        """Send `request` and wait for the reply, which must be a `reply_type`."""
        body = await self._rpc.call(
            exchange="", routing_key=self._names.coordinator, body=messages.encode(request), timeout_s=timeout_s
        )
        try:
            reply = messages.decode(messages.coordinator_reply, body)
        except messages.MalformedMessageError as error:
            raise RemoteError(messages.ErrorCode.INTERNAL, f"the coordinator's answer is malformed: {error}") from error
        if isinstance(reply, messages.Failure):
            raise RemoteError(reply.code, reply.message, reply.retry_after_s)
        if not isinstance(reply, reply_type):
            raise RemoteError(messages.ErrorCode.INTERNAL, f"the coordinator answered {reply.kind!r} unexpectedly")
        return reply

    async def call_until(self, request: messages.Message, reply_type: type[R], *, timeout_s: float) -> R:
        """As `call`, trying again for `timeout_s` while no coordinator answers or it is not ready yet."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                return await self.call(request, reply_type)
            except RemoteError as error:
                if error.code != messages.ErrorCode.NOT_READY or _is_past(deadline):
                    raise
            except (UnroutableError, RpcTimeoutError, BrokerLostError) as error:
                if _is_past(deadline):
                    raise RpcTimeoutError(
                        f"no coordinator answered on {self._names.coordinator!r} within {timeout_s:g} s:"
                        " start gw-coordinator with the same AMQP_URL and namespace"
                    ) from error
            await asyncio.sleep(RETRY_INTERVAL_S)

    async def config(self, *, timeout_s: float) -> messages.BotConfig:
        """The bot's configuration; waits `timeout_s` for a coordinator."""
        reply = await self.call_until(messages.ConfigRequest(), messages.ConfigReply, timeout_s=timeout_s)
        return reply.config

    async def state(self) -> messages.FleetState:
        """What the fleet is doing."""
        return await self.call(messages.StateRequest(), messages.FleetState)


def _is_past(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline
