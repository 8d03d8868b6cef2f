"""The border to aio-pika: everything becomes one error, but our own cancellation stays what it is."""

from __future__ import annotations

import asyncio

import pytest

from eventbus.amqp.border import broker_border
from eventbus.errors import BrokerLostError, UnroutableError


@pytest.mark.parametrize("error", [Exception(), RuntimeError("closed"), OSError("reset"), TimeoutError()])
async def test_whatever_the_client_raises_becomes_a_lost_broker_that_says_what_failed(error: Exception) -> None:
    with pytest.raises(BrokerLostError, match="the bind"):
        async with broker_border("the bind"):
            raise error


async def test_our_own_errors_pass() -> None:
    with pytest.raises(UnroutableError):
        async with broker_border("the publish"):
            raise UnroutableError("nobody")


async def test_a_cancellation_that_nobody_asked_for_becomes_a_lost_broker() -> None:
    pending = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(pending.cancel)

    with pytest.raises(BrokerLostError, match="the call"):
        async with broker_border("the call"):
            await pending


async def test_a_cancellation_of_our_own_stays_one() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with broker_border("the call"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_takes_too_long_is_a_lost_broker() -> None:
    with pytest.raises(BrokerLostError, match="the call"):
        async with broker_border("the call", timeout_s=0.01):
            await asyncio.Event().wait()
