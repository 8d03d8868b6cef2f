"""What a worker declares, binds and asks over its publishing connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamqp import commands, frame, header
from pamqp.body import ContentBody

from eventbus.amqp.publish_frames import DECLARE_CHANNEL

if TYPE_CHECKING:
    from pamqp.common import FieldTable

    from eventbus.amqp.publish_connection import PublishConnection

PROOF_SILENCE_S = 5.0
_NOT_FOUND = "NOT_FOUND"


class PublishTopology:
    """Of one `connection`; every method raises BrokerLostError."""

    def __init__(self, connection: PublishConnection) -> None:
        self._connection = connection

    async def declare_event_exchange(self, exchange: str) -> str | None:
        """Declare a durable topic exchange: None, or why RabbitMQ refuses that."""
        declare = commands.Exchange.Declare(exchange=exchange, exchange_type="topic", durable=True)
        return await self._connection.attempt(declare, commands.Exchange.DeclareOk)

    async def has_exchange(self, exchange: str) -> bool:
        """Whether there is an exchange by that name, of whatever kind."""
        look = commands.Exchange.Declare(exchange=exchange, passive=True)
        refusal = await self._connection.attempt(look, commands.Exchange.DeclareOk)
        return refusal is None or _NOT_FOUND not in refusal

    async def declare_exchange(self, exchange: str, kind: str) -> None:
        """Declare a durable exchange of the control plane."""
        declare = commands.Exchange.Declare(exchange=exchange, exchange_type=kind, durable=True)
        await self._connection.ask(declare, commands.Exchange.DeclareOk)

    async def declare_proof_queue(self, queue: str) -> None:
        """Declare the exclusive queue that vanishes with this connection; pings to it pile up to one.

        Raises BrokerLostError while a former connection of the same owner still holds it.
        """
        declare = commands.Queue.Declare(queue=queue, exclusive=True, arguments={"x-max-length": 1})
        await self._connection.ask(declare, commands.Queue.DeclareOk)

    async def prove(self, queue: str) -> None:
        """Have the broker say that the proof queue is there; if it is not, or the broker is silent, all ends here."""
        look = commands.Queue.Declare(queue=queue, passive=True)
        await self._connection.ask(look, commands.Queue.DeclareOk, silence_s=PROOF_SILENCE_S)

    async def is_bound(self, exchange: str, routing_key: str, proof_queue: str) -> bool:
        """Whether a ping by that exchange, which must be there, and key reaches a queue; proves `proof_queue` too."""
        count = self._connection.returned_count
        self._publish(exchange, routing_key, b"", mandatory=True)
        await self.prove(proof_queue)  # on the same channel: what is returned comes before the answer
        return self._connection.returned_count == count

    async def declare_stream(self, queue: str, arguments: FieldTable) -> None:
        """Declare a durable stream."""
        declare = commands.Queue.Declare(queue=queue, durable=True, arguments=arguments)
        await self._connection.ask(declare, commands.Queue.DeclareOk)

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue; a binding that is there already is no error."""
        bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        await self._connection.ask(bind, commands.Queue.BindOk)

    async def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Take a binding away; one that is not there is no error."""
        unbind = commands.Queue.Unbind(queue=queue, exchange=exchange, routing_key=routing_key)
        await self._connection.ask(unbind, commands.Queue.UnbindOk)

    def announce(self, exchange: str, routing_key: str, body: bytes) -> None:
        """Publish a short control message, unconfirmed and apart from the dispatches; the exchange must be there."""
        self._publish(exchange, routing_key, body, mandatory=False)

    def _publish(self, exchange: str, routing_key: str, body: bytes, *, mandatory: bool) -> None:
        publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        properties = commands.Basic.Properties(content_type="application/json", delivery_mode=1)
        self._connection.write(
            frame.marshal(publish, DECLARE_CHANNEL)
            + frame.marshal(header.ContentHeader(body_size=len(body), properties=properties), DECLARE_CHANNEL)
            + (frame.marshal(ContentBody(body), DECLARE_CHANNEL) if body else b"")
        )
