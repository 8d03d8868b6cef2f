"""Where one lease's dispatches go: rendered for the publisher, and known by how far they are confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.amqp.publish_frames import BULK_CHANNEL, URGENT_CHANNEL, PublishTemplate
from eventbus.names import INTERACTION_CREATE
from gateway_workers.outbox import ConfirmedSeq

if TYPE_CHECKING:
    from gateway_workers.publisher import DispatchPublisher


class Outlet:
    """Made by `DispatchPublisher.outlet`; `mark` is how far the session that runs now is confirmed."""

    def __init__(
        self, publisher: DispatchPublisher, *, shard: int, shard_count: int, fencing_token: int, seq: int
    ) -> None:
        self._publisher = publisher
        self._shard = shard
        self._headers = {
            "shard": shard,
            "shard_count": shard_count,
            "fencing_token": fencing_token,
            "resumed_from": seq,
        }
        self._templates: dict[str, PublishTemplate] = {}
        self._former_marks: list[ConfirmedSeq] = []
        self.mark = ConfirmedSeq(seq)

    @property
    def marks(self) -> tuple[ConfirmedSeq, ...]:
        """That of the session that runs now, and those of sessions before it that were still under way."""
        return (*self._former_marks, self.mark)

    @property
    def is_drained(self) -> bool:
        """Whether all that was published is confirmed."""
        return all(mark.is_drained for mark in self.marks)

    def new_session(self) -> None:
        """A new Discord session begins: its seq counts from 0, and nothing of it is confirmed."""
        self._former_marks = [mark for mark in self.marks if not mark.is_drained]
        self.mark = ConfirmedSeq(0)
        self._headers["resumed_from"] = 0
        self._templates.clear()

    async def prepare(self, event_type: str) -> None:
        """Declare the exchange of `event_type` if need be. Raises EventTypeRefusedError."""
        await self._publisher.declare(event_type)
        if event_type not in self._templates:
            self._templates[event_type] = PublishTemplate(
                exchange=self._publisher.names.event(event_type),
                routing_key=str(self._shard),
                event_type=event_type,
                headers=self._headers,
                frame_max=self._publisher.frame_max,
                channel=URGENT_CHANNEL if event_type == INTERACTION_CREATE else BULK_CHANNEL,
            )

    def knows(self, event_type: str) -> bool:
        """Whether `prepare` was done for `event_type`."""
        return event_type in self._templates and event_type in self._publisher.topology.declared

    def publish(
        self, event_type: str, frame: bytes, *, seq: int, session_id: str, replayed: bool, received_at: float
    ) -> None:
        """Append a dispatch; `prepare(event_type)` must have been done."""
        if len(frame) > self._publisher.max_body_bytes:
            self._publisher.refuse(self.mark.on(BULK_CHANNEL), seq, event_type, len(frame))
            return
        template = self._templates[event_type]
        publish = template.render(frame, f"{session_id}:{seq}".encode(), replayed=replayed, received_at=received_at)
        self._publisher.add(self.mark.on(template.channel), seq, publish)
