"""The broker of a benchmark: the one of AMQP_URL, or a private node."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.broker_node import BrokerNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """Where it is; its process id, if it is ours."""

    url: str
    pid: int | None = None


@contextlib.asynccontextmanager
async def open_broker() -> AsyncIterator[RunningBroker]:
    """Have it run meanwhile."""
    given = os.environ.get("AMQP_URL")
    if given:
        yield RunningBroker(given)
        return
    with tempfile.TemporaryDirectory() as directory:
        async with BrokerNode(Path(directory)) as node:
            yield RunningBroker(node.url, node.pid)
