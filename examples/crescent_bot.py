"""A bot with hikari-crescent: a slash command that shows a button, and a button that opens a modal.

`gw-run --entrypoint crescent_bot:setup --entrypoint-dir examples`. Custom ids carry all that a component needs, so that
any process of the group can answer it.
"""

import crescent
import hikari

plugin = crescent.Plugin[hikari.GatewayBotAware, None]()


@plugin.include
@crescent.command(name="greet", description="Greet somebody")
class Greet:
    name = crescent.option(str, "Whom to greet", default="world")

    async def callback(self, context: crescent.Context) -> None:
        row = plugin.app.rest.build_message_action_row()
        row.add_interactive_button(hikari.ButtonStyle.PRIMARY, f"rename:{self.name}", label="Somebody else")
        await context.respond(f"Hello {self.name}!", component=row)


@plugin.include
@crescent.event
async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
    interaction = event.interaction
    if isinstance(interaction, hikari.ComponentInteraction) and interaction.custom_id.startswith("rename:"):
        field = plugin.app.rest.build_modal_action_row()
        field.add_text_input("name", "Name", value=interaction.custom_id.removeprefix("rename:"))
        await interaction.create_modal_response("Greet somebody else", "greeted", component=field)
    elif isinstance(interaction, hikari.ModalInteraction) and interaction.custom_id == "greeted":
        name = interaction.components[0].components[0].value
        await interaction.create_initial_response(hikari.ResponseType.MESSAGE_CREATE, f"Hello {name}!")


def setup(bot: hikari.GatewayBotAware) -> None:
    client = crescent.Client(bot)
    client.plugins.load(__name__)
