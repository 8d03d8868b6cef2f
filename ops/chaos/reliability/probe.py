"""A worker without a Discord connection: it takes a lease that is kept free for it, and so shows that grants go on."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Self

from eventbus import messages
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.errors import BrokerLostError, RelayError, RemoteError, RpcTimeoutError, UnroutableError
from eventbus.names import Names

if TYPE_CHECKING:
    from types import TracebackType

ASK_INTERVAL_S = 0.05
ASK_TIMEOUT_S = 0.5
CONNECT_TIMEOUT_S = 30.0
_NOT_YET = (RemoteError, RpcTimeoutError, UnroutableError, BrokerLostError)


class Probe:
    """`async with`; it registers for `shard`, which no worker runs, over the same RPC queue as every worker."""

    def __init__(self, amqp_url: str, namespace: str, shard: int) -> None:
        self._broker = Broker(amqp_url)
        self._names = Names(namespace)
        self._shard = shard
        self._worker_id = f"probe-{secrets.token_hex(3)}"
        self._link = Link(self._broker, name=self._worker_id)
        self._coordinator = CoordinatorClient(RpcClient(self._link), self._names)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        # The coordinator buries a worker without this queue.
        proof = await PublishConnection.open(
            self._broker, name=f"{self._worker_id} publishing", on_confirm=_ignore, on_writable=lambda: None
        )
        self._stack.push_async_callback(proof.close)
        await proof.topology.declare_proof_queue(self._names.worker(self._worker_id))
        await self._link.open(timeout_s=CONNECT_TIMEOUT_S)
        self._stack.push_async_callback(self._link.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def lease(self, *, timeout_s: float) -> tuple[messages.Lease, float]:
        """Ask until the lease is granted; the lease, and when it came (seconds since the epoch).

        Raises RelayError if that takes longer than `timeout_s`.
        """
        request = messages.Register(worker_id=self._worker_id, shards=str(self._shard), capacity=1)
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            try:
                reply = await self._coordinator.call(request, messages.Leases, timeout_s=ASK_TIMEOUT_S)
            except _NOT_YET:
                reply = None
            if reply is not None and reply.leases:
                return reply.leases[0], time.time()
            await asyncio.sleep(ASK_INTERVAL_S)
        raise RelayError(f"the probe got no lease within {timeout_s:g} s: see the log")

    async def give_back(self, lease: messages.Lease) -> None:
        """Release the lease and leave. Raises RelayError."""
        release = messages.Release(
            worker_id=self._worker_id, shard=lease.shard, fencing_token=lease.fencing_token, session=None
        )
        await self._coordinator.call(messages.Leave(worker_id=self._worker_id), messages.Done)
        await self._coordinator.call(release, messages.Done)

    async def fencing_tokens(self) -> dict[int, int]:
        """The fencing token of each shard that somebody holds, as the leader knows it. Raises RelayError."""
        state = await self._coordinator.state()
        return {one.shard: one.fencing_token for one in state.shards if one.worker_id is not None}


def _ignore(*_: int) -> None:
    return None
