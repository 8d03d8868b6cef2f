"""A whole fleet from a script of one's own: `python examples/own_fleet.py`, with DISCORD_TOKEN set.

It starts what `gw-run` starts, a private RabbitMQ node included if AMQP_URL is not set; Ctrl-C drains it.
"""

import os

import hikari

import consumers


def setup(bot: consumers.Bot) -> None:
    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        if event.is_human and event.content and event.content.endswith("ping"):
            await event.message.respond("Pong!")


if __name__ == "__main__":  # each consumer process imports this module
    consumers.run_subprocesses(os.environ["DISCORD_TOKEN"], callback=setup, subprocess_count=2)
