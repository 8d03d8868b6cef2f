"""Sends gateway commands to whoever holds the shard, and turns the answer into nothing or a typed error.

What fails because the shard is between two holders is tried again until a deadline. Where nobody knows whether a
command was sent, it is repeated too: op 3 and 4 set a state, and op 8, 31 and 43 ask, so Discord may only answer twice.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from consumers.errors import (
    CommandError,
    CommandRateLimitedError,
    CommandRejectedError,
    CommandTimeoutError,
    CommandTooLargeError,
    InvalidCommandError,
    NoHolderError,
    ShardNotConnectedError,
)
from eventbus import gateway_payloads, messages
from eventbus.errors import BrokerLostError, RpcTimeoutError, UnroutableError
from eventbus.messages import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.amqp.presence_stream import PresenceWriter
    from eventbus.amqp.rpc import RpcClient
    from eventbus.gateway_payloads import CommandOp
    from eventbus.names import Names

ATTEMPT_TIMEOUT_S = 4.0
FIRST_WAIT_S = 0.1
MAX_WAIT_S = 1.0
MAX_ON_THE_WAY = 64
"""Of one process: more would only wait at the holders, and be repeated before they are answered."""
_PASSING: tuple[type[CommandError], ...] = (NoHolderError, ShardNotConnectedError, CommandTimeoutError)


class _UnsentError(CommandTimeoutError):
    """The time was over before it was sent."""


class GatewayCommands:
    """Gateway commands from this process; each raises CommandError, not much later than after `timeout_s`."""

    def __init__(self, rpc: RpcClient, names: Names, presences: PresenceWriter, *, timeout_s: float) -> None:
        self._rpc = rpc
        self._names = names
        self._presences = presences
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(MAX_ON_THE_WAY)

    async def send(self, shard: int, op: CommandOp, d: dict[str, Any], *, shard_count: int, intents: int) -> None:
        """Return when the payload was written to Discord's socket."""
        size = len(_encoded(shard, op, d))
        if size > gateway_payloads.MAX_PAYLOAD_BYTES:
            raise CommandTooLargeError(shard, size)
        try:
            gateway_payloads.check_command(op, d, shard=shard, shard_count=shard_count, intents=intents)
        except gateway_payloads.InvalidPayloadError as error:
            raise InvalidCommandError(shard, str(error)) from None
        command = messages.GatewayCommand(shard=shard, op=op, d=d)
        await self._until_deadline(lambda timeout_s: self._ask(shard, command, timeout_s))

    async def store_presence(self, fields: dict[str, Any], shard: int | None, *, is_first: bool = False) -> str:
        """Have the fleet remember some fields of a presence, of a shard or of all (None); the id of the record.

        The shards show it without being asked, as soon as they can.
        """
        try:
            gateway_payloads.check_presence_fields(fields)
        except gateway_payloads.InvalidPayloadError as error:
            raise InvalidCommandError(shard, str(error)) from None
        shards = None if shard is None else (shard,)
        record = messages.PresenceRecord(shards=shards, d=fields, is_first=is_first)
        stored: list[str] = []

        async def store(timeout_s: float) -> None:
            try:
                async with asyncio.timeout(timeout_s):
                    stored.append(await self._presences.append(record))
            except (BrokerLostError, TimeoutError) as error:
                raise CommandTimeoutError(shard, f"nobody knows whether the presence is stored ({error})") from error

        await self._until_deadline(store)
        return stored[-1]

    async def show_presence(self, shard: int, record_id: str, *, waits: bool = True) -> None:
        """Return when Discord was told the presence of that record, or a newer one; `waits` until it is connected."""
        request = messages.ApplyPresence(shard=shard, record_id=record_id)
        passing = _PASSING if waits else (CommandTimeoutError,)
        await self._until_deadline(lambda timeout_s: self._ask(shard, request, timeout_s), passing)

    async def _until_deadline(
        self, attempt: Callable[[float], Awaitable[None]], passing: tuple[type[CommandError], ...] = _PASSING
    ) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        wait_s, unknown = FIRST_WAIT_S, None
        while True:
            try:
                return await attempt(max(min(ATTEMPT_TIMEOUT_S, deadline - loop.time()), FIRST_WAIT_S))
            except passing as error:
                if isinstance(error, CommandTimeoutError) and not isinstance(error, _UnsentError):
                    unknown = error
                if loop.time() + wait_s >= deadline:
                    raise unknown or error from None  # a command that was perhaps sent once is not called unsent
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait_s = min(wait_s * 2, MAX_WAIT_S)

    async def _ask(self, shard: int, request: messages.Message, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(give_up_at):
                await self._places.acquire()
        except TimeoutError as error:
            text = f"not sent in time: this process has {MAX_ON_THE_WAY} commands on the way, send fewer at once"
            raise _UnsentError(shard, f"shard {shard}: {text}") from error
        try:
            await self._ask_now(shard, request, max(give_up_at - loop.time(), FIRST_WAIT_S))
        finally:
            self._places.release()

    async def _ask_now(self, shard: int, request: messages.Message, timeout_s: float) -> None:
        try:
            answer = await self._rpc.call(
                exchange=self._names.shard, routing_key=str(shard), body=messages.encode(request), timeout_s=timeout_s
            )
        except UnroutableError:
            raise NoHolderError(shard) from None
        except (RpcTimeoutError, BrokerLostError) as error:
            raise CommandTimeoutError(
                shard, f"nobody knows whether shard {shard} took the command ({error}): check before sending it again"
            ) from error
        _check(shard, answer)


def _encoded(shard: int, op: int, d: dict[str, Any]) -> bytes:
    try:
        return gateway_payloads.encode_payload(op, d)
    except gateway_payloads.InvalidPayloadError as error:
        raise InvalidCommandError(shard, str(error)) from None


def _check(shard: int, answer: bytes) -> None:
    try:
        reply = messages.decode(messages.command_reply, answer)
    except messages.MalformedMessageError as error:
        raise CommandError(shard, f"the holder of shard {shard} gave an answer that cannot be read: {error}") from error
    if isinstance(reply, messages.CommandSent):
        return
    if reply.code == ErrorCode.NO_HOLDER:
        raise NoHolderError(shard)
    if reply.code == ErrorCode.TIMED_OUT:
        raise CommandTimeoutError(shard, f"shard {shard}: {reply.message}")
    if reply.code == ErrorCode.BAD_REQUEST:
        raise InvalidCommandError(shard, reply.message)
    kind = _REJECTIONS.get(reply.code, CommandRejectedError)
    raise kind(shard, reply.code, reply.message, reply.retry_after_s)


_REJECTIONS: dict[ErrorCode, type[CommandRejectedError]] = {
    ErrorCode.NOT_READY: ShardNotConnectedError,
    ErrorCode.RATE_LIMITED: CommandRateLimitedError,
}
