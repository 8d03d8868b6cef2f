"""The smallest bot: `gw-run --entrypoint smallest_bot:setup --entrypoint-dir examples`."""

import hikari


def setup(bot: hikari.GatewayBotAware) -> None:
    async def answer(event: hikari.MessageCreateEvent) -> None:
        # Without the privileged intent MESSAGE_CONTENT, Discord shows the content of direct messages and mentions.
        if event.is_human and event.content and event.content.endswith("ping"):
            await event.message.respond("Pong!")

    bot.event_manager.subscribe(hikari.MessageCreateEvent, answer)
