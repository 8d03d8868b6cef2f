"""A bot with hikari-arc: a slash command that shows a button, and a button that opens a modal.

`gw-run --entrypoint arc_bot:setup --entrypoint-dir examples`. Custom ids carry all that a component needs, so that any
process of the group can answer it.
"""

from __future__ import annotations

import arc
import hikari


def setup(bot: hikari.GatewayBotAware) -> None:
    client = arc.GatewayClient(bot)

    @client.include
    @arc.slash_command("greet", "Greet somebody")
    async def greet(
        context: arc.GatewayContext, name: arc.Option[str, arc.StrParams("Whom to greet")] = "world"
    ) -> None:
        row = bot.rest.build_message_action_row()
        row.add_interactive_button(hikari.ButtonStyle.PRIMARY, f"rename:{name}", label="Somebody else")
        await context.respond(f"Hello {name}!", component=row)

    @client.listen()
    async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
        interaction = event.interaction
        if isinstance(interaction, hikari.ComponentInteraction) and interaction.custom_id.startswith("rename:"):
            field = bot.rest.build_modal_action_row()
            field.add_text_input("name", "Name", value=interaction.custom_id.removeprefix("rename:"))
            await interaction.create_modal_response("Greet somebody else", "greeted", component=field)
        elif isinstance(interaction, hikari.ModalInteraction) and interaction.custom_id == "greeted":
            name = interaction.components[0].components[0].value
            await interaction.create_initial_response(hikari.ResponseType.MESSAGE_CREATE, f"Hello {name}!")
