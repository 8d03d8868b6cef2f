"""An event loop without I/O whose clock is the world's: time passes only when the world says so."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lease_protocol.process import Process


class _NoSockets:
    """The selector of a loop that has no file descriptors."""

    def select(self, timeout: float | None) -> list[Any]:  # noqa: ARG002 - the selector's signature
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """One process's loop; `turn()` runs what is due now, once."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self._ahead_at = 0.0
        self._selector = _NoSockets()
        self._clock_resolution = 1e-9
        self.set_exception_handler(lambda _loop, context: process.world.on_loop_error(process, context))

    def time(self) -> float:
        return max(self.process.world.now, self._ahead_at)

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def turn(self) -> None:
        self.stop()
        self.run_forever()

    def bury(self) -> None:
        """The process is dead: end its tasks without a trace, on a clock of its own."""
        for _ in range(1000):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            if self.next_at is None or self.next_at > self.time() or self._ahead_at == 0.0:
                for task in tasks:
                    task.cancel()
            self._ahead_at = max(self.time(), self.next_at or 0.0)
            self.turn()
        self.close()

    @property
    def next_at(self) -> float | None:
        """When something is due; None if nothing ever is."""
        if self._ready:
            return self.time()
        while self._scheduled and self._scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        return self._scheduled[0].when() if self._scheduled else None

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_options: Any
    ) -> tuple[Any, Any]:
        """Connect to the world's broker, which is all there is."""
        del host, port
        return await self.process.connect_publishing(protocol_factory)
