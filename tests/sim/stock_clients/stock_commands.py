"""A stock hikari bot with commands by hikari-arc or hikari-crescent, and listeners for a button and a modal."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import arc
import crescent
import hikari


def tell(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class TellProblems(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.levelname.lower(), text=self.format(record))


def use_arc(bot: hikari.GatewayBot) -> None:
    client = arc.GatewayClient(bot)

    @client.include
    @arc.slash_command("greet", "Says hello.")
    async def greet(ctx: arc.GatewayContext, name: arc.Option[str, arc.StrParams("Whom")]) -> None:
        await ctx.respond(f"hello {name}")
        tell("handled", what="slash")


def use_crescent(bot: hikari.GatewayBot) -> None:
    client = crescent.Client(bot)

    @client.include
    @crescent.command(name="greet", description="Says hello.")
    class Greet:
        name = crescent.option(str, "Whom")

        async def callback(self, ctx: crescent.Context) -> None:
            await ctx.respond(f"hello {self.name}")
            tell("handled", what="slash")


async def run(library: str, token: str, rest_url: str) -> None:
    bot = hikari.GatewayBot(token, rest_url=rest_url, logs=None, banner=None, suppress_optimization_warning=True)
    {"arc": use_arc, "crescent": use_crescent}[library](bot)

    @bot.listen()
    async def on_button(event: hikari.ComponentInteractionCreateEvent) -> None:
        row = event.app.rest.build_modal_action_row().add_text_input("text", "Say something")
        await event.interaction.create_modal_response("Talk", "talk", component=row)
        tell("handled", what="button")

    @bot.listen()
    async def on_modal(event: hikari.ModalInteractionCreateEvent) -> None:
        await event.interaction.create_initial_response(hikari.ResponseType.DEFERRED_MESSAGE_CREATE)
        await event.interaction.edit_initial_response(f"you said {event.interaction.components[0][0].value}")
        tell("handled", what="modal_submit")

    await bot.start(check_for_updates=False)
    tell("started")
    await asyncio.to_thread(sys.stdin.readline)
    await bot.close()


logging.getLogger().addHandler(TellProblems(logging.WARNING))
asyncio.run(run(*sys.argv[1:4]))
