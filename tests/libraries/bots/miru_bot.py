"""A bot with hikari-miru: a persistent view that any process answers; a view and a modal bound to their process.

miru has no commands: its bot has arc's.
"""

from __future__ import annotations

import arc
import hikari
import miru

from tests.libraries.bots import arc_bot, contract


def setup(bot: hikari.GatewayBotAware) -> None:
    client = arc_bot.client_with_commands(bot)
    views = miru.Client.from_arc(client)

    @client.add_startup_hook
    async def ready(_: arc.GatewayClient) -> None:
        views.start_view(Panel(), bind_to=None)
        contract.startup_hook_ran("miru")

    @client.include
    @arc.slash_command("panel", "Show a panel")
    async def panel(context: arc.GatewayContext) -> None:
        await context.respond("a panel", components=Panel())

    @client.include
    @arc.slash_command("poll", "Show a view that this process answers")
    async def poll(context: arc.GatewayContext) -> None:
        view = Poll()
        response = await context.respond("a poll", components=view)
        views.start_view(view, bind_to=await response.retrieve_message())

    @client.include
    @arc.slash_command("form", "Show a modal that this process answers")
    async def form(context: arc.GatewayContext) -> None:
        modal = Form("Form", timeout=60)
        await context.respond_with_builder(modal.build_response(views))
        views.start_modal(modal)


class Panel(miru.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)

    @miru.button("Press", custom_id="panel:press")
    async def press(self, context: miru.ViewContext, _: miru.Button) -> None:
        await context.respond("pressed")

    @miru.text_select(
        custom_id="panel:colour", options=[miru.SelectOption("red", "red"), miru.SelectOption("blue", "blue")]
    )
    async def colour(self, context: miru.ViewContext, menu: miru.TextSelect) -> None:
        await context.respond(f"chose {menu.values[0]}")


class Poll(miru.View):
    @miru.button("Vote")
    async def vote(self, context: miru.ViewContext, _: miru.Button) -> None:
        await context.respond("voted")
        self.stop()


class Form(miru.Modal):
    text = miru.TextInput(label="Text")

    async def callback(self, context: miru.ModalContext) -> None:
        await context.respond(f"bound thanks: {self.text.value}")
