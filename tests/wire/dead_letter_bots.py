"""A bot before and after its mend: the first raises on "odd" messages, the second writes all down."""

from __future__ import annotations

import hikari

from consumers import Bot, current_dispatch
from tests.wire.consume_bots import record


def broken(bot: Bot) -> None:
    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        if event.content == "odd":
            raise ValueError("cannot handle odd messages")
        record("message", content=event.content)


def mended(bot: Bot) -> None:
    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        dispatch = current_dispatch()
        assert dispatch is not None
        record("message", content=event.content, seq=dispatch.seq, received_at=dispatch.received_at)
