"""One host of the gateway: a listening port that can also refuse, hang, or answer 503."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from gateway_sim.connection import HostMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway_sim.connection import Connection

_BACKLOG = 512


class Listener:
    """Listens on `host`; the port stays the same when it refuses for a while."""

    def __init__(self, host: str, port: int, connect: Callable[[HostMode], Connection]) -> None:
        self._host = host
        self._port = port
        self._connect = connect
        self._mode = HostMode.OK
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The ws:// URL."""
        return f"ws://{self._host}:{self._port}"

    @property
    def mode(self) -> HostMode:
        """How it behaves now."""
        return self._mode

    async def set_mode(self, mode: HostMode) -> None:
        """Change the behaviour towards new connections; those that are open stay."""
        self._mode = mode
        if mode is HostMode.REFUSE:
            self.close()
        elif self._server is None:
            await self.start()

    async def start(self) -> None:
        """Begin to listen; OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        bound = socket.create_server((self._host, self._port), backlog=_BACKLOG)
        self._port = bound.getsockname()[1]
        self._server = await loop.create_server(lambda: self._connect(self._mode), sock=bound)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
