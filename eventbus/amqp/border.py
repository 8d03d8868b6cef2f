"""The border to aio-pika: whatever it raises becomes one of our errors, and nothing takes for ever."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from eventbus.errors import BrokerLostError, RelayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALL_TIMEOUT_S = 15.0


@asynccontextmanager
async def broker_border(what: str, *, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[None]:
    """Do something on the broker; raises BrokerLostError, which names `what`, if it fails or takes `timeout_s`.

    aiormq ends what is pending on a lost connection with its own errors, with a bare Exception, or with a
    CancelledError that nobody asked for: that one would end a task in silence.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except RelayError:
        raise
    except asyncio.CancelledError as error:
        if task is None or task.cancelling() > cancelled_before:
            raise
        raise BrokerLostError(f"{what}: the connection to RabbitMQ ended") from error
    except Exception as error:
        raise BrokerLostError(f"{what}: {error!r}") from error
