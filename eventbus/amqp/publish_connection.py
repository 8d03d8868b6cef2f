"""A worker's publishing connection: raw frames out, confirms in, proof of life by an exclusive queue.

Our own client, because a general one spends 145 µs of CPU on a publish (docs/performance.md). Two
channels publish in confirm mode, one declares and binds. When it is gone, its owner starts from what is unconfirmed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pamqp import commands

from eventbus.amqp.publish_frames import BULK_CHANNEL, DECLARE_CHANNEL, URGENT_CHANNEL
from eventbus.amqp.publish_topology import PublishTopology
from eventbus.amqp.raw_connection import METHOD_FRAME, RawConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamqp import base

    from eventbus.amqp.broker import Broker

_CONFIRM = struct.Struct(">BHIHHQB")
_CONFIRM_SIZE = 13
_PUBLISHING = (BULK_CHANNEL, URGENT_CHANNEL)
_BASIC_ACK = (60, 80)
_BASIC_NACK = (60, 120)


class PublishConnection(RawConnection):
    """One connection, from `open()` until `closed` is done (its result is the reason).

    `on_confirm(channel, delivery_tag, multiple, ok)` is called for every confirm. `is_writable` is False while the
    broker or the socket takes no more; `on_writable()` is called when that ends.
    """

    heartbeat_s = 5
    declare_channel = DECLARE_CHANNEL

    def __init__(
        self, broker: Broker, *, on_confirm: Callable[[int, int, bool, bool], None], on_writable: Callable[[], None]
    ) -> None:
        super().__init__(broker)
        self._on_confirm = on_confirm
        self._on_writable = on_writable
        self._paused = False
        self.returned_count = 0
        self.topology = PublishTopology(self)

    @classmethod
    async def open(
        cls,
        broker: Broker,
        *,
        name: str,
        on_confirm: Callable[[int, int, bool, bool], None],
        on_writable: Callable[[], None],
    ) -> PublishConnection:
        """Connect, log in, open the channels. Raises BrokerUnreachableError or BrokerRefusedError."""
        return await cls(broker, on_confirm=on_confirm, on_writable=on_writable).login(name)

    async def _open_channels(self) -> None:
        for channel in (*_PUBLISHING, DECLARE_CHANNEL):
            await self.open_channel(channel)
        for channel in _PUBLISHING:
            await self.ask(commands.Confirm.Select(), commands.Confirm.SelectOk, channel=channel)

    @property
    def is_writable(self) -> bool:
        """Whether publishes should be written now."""
        return not (self._paused or self.is_blocked or self.closed.done())

    def publish(self, chunks: Sequence[bytes]) -> None:
        """Write rendered publishes, in order, in one go; their delivery tags count up from 1 on each channel."""
        if self._transport is not None and not self.closed.done():
            self._transport.writelines(chunks)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        if self.is_writable:
            self._on_writable()

    def _on_unblocked(self) -> None:
        self._on_writable()

    def _is_news(self, content: base.Frame, channel: int, /) -> bool:  # noqa: ARG002
        is_return = isinstance(content, commands.Basic.Return)
        self.returned_count += is_return
        return is_return

    def _is_hot(self, frame_type: int, channel: int, start: int, size: int, /) -> bool:
        if size != _CONFIRM_SIZE or channel not in _PUBLISHING or frame_type != METHOD_FRAME:
            return False
        _, _, _, class_id, method_id, tag, bits = _CONFIRM.unpack_from(self._buffer, start)
        if (class_id, method_id) == _BASIC_ACK:
            self._on_confirm(channel, tag, bool(bits & 1), True)
        elif (class_id, method_id) == _BASIC_NACK:
            self._on_confirm(channel, tag, bool(bits & 1), False)
        else:
            return False
        return True
