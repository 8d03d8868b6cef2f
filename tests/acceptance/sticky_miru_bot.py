"""A bot with a miru view and modal that live in the process which showed them, and nowhere else."""

from __future__ import annotations

import hikari
import miru


class Question(miru.Modal, title="Question"):
    name = miru.TextInput(label="Name", custom_id="name")

    async def callback(self, context: miru.ModalContext) -> None:
        await context.respond(f"Hello {self.name.value}!")


class Panel(miru.View):
    @miru.button(label="count", custom_id="count")
    async def count(self, context: miru.ViewContext, _: miru.Button) -> None:
        self.clicks = getattr(self, "clicks", 0) + 1
        await context.respond(f"{self.clicks}")

    @miru.button(label="ask", custom_id="ask")
    async def ask(self, context: miru.ViewContext, _: miru.Button) -> None:
        await context.respond_with_modal(Question(custom_id="question"))


def setup(bot: hikari.GatewayBotAware) -> None:
    client = miru.Client(bot)

    @bot.event_manager.listen()
    async def on_command(event: hikari.InteractionCreateEvent) -> None:
        if isinstance(event.interaction, hikari.CommandInteraction):
            view = Panel()
            response = await event.interaction.create_initial_response(
                hikari.ResponseType.MESSAGE_CREATE, "panel", components=view
            )
            client.start_view(view, bind_to=response.resource.message if response.resource else None)
