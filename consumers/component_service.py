"""Components and modals in a group of several processes: who owns them, and what is forwarded to this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.forwarded import Forwarded
from consumers.owners import Owners

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from consumers.frame import Frame
    from consumers.limits import TypeLimits
    from consumers.outcome import Outcome
    from consumers.owner_rest import OwnerRestClient
    from eventbus.amqp.deliveries import Delivery
    from eventbus.amqp.link import Link
    from eventbus.names import Names

    Serve = Callable[[str, Callable[[], Coroutine[Any, Any, None]]], None]


class ComponentService:
    """`owners` is what the way of a delivery asks; `handle_by` comes before `link` is opened, `open` after that."""

    def __init__(self, rest: OwnerRestClient, link: Link, names: Names, group: str) -> None:
        self._rest = rest
        self._forwarded: Forwarded | None = None
        self.owners = Owners(link, names, group, take=self._take)

    def handle_by(self, handle: Callable[[Frame], Awaitable[Outcome | None]], limits: TypeLimits) -> None:
        """Have `handle` handle what others forward, within `limits`."""
        self._forwarded = Forwarded(handle, self.owners.reply, limits=limits)

    def _take(self, delivery: Delivery) -> None:
        if self._forwarded is not None:
            self._forwarded.take(delivery)

    async def open(self, serve: Serve) -> None:
        """Claim what is sent from now on, and learn what others own."""
        serve("owners told", self.owners.tell)
        serve("owners watched", self.owners.watch)
        self._rest.claims = self.owners.claims
        await self.owners.learn()

    async def finish_begun(self) -> None:
        """Wait until what runs now has ended; what is forwarded meanwhile may be what a handler waits for."""
        if self._forwarded is not None:
            await self._forwarded.finish_begun()

    async def drain(self) -> None:
        """Decline what is forwarded from now on, and wait until what runs has ended."""
        if self._forwarded is not None:
            await self._forwarded.drain()

    async def cancel(self) -> int:
        """Cancel what still runs; how many that were."""
        return await self._forwarded.cancel() if self._forwarded is not None else 0

    def close(self) -> None:
        """Claim no more."""
        self._rest.claims = None
