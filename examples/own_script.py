"""A bot in a script of one's own: `python examples/own_script.py`, with AMQP_URL and DISCORD_TOKEN set.

The fleet runs elsewhere: `gw-run --process-count 0`, or coordinator and workers by themselves.
"""

import os

import hikari

import consumers

bot = consumers.Bot(os.environ["AMQP_URL"], os.environ["DISCORD_TOKEN"], group="main")


@bot.listen()
async def on_message(event: hikari.MessageCreateEvent) -> None:
    if event.is_human and event.content and event.content.endswith("ping"):
        await event.message.respond("Pong!")


if __name__ == "__main__":
    bot.run(activity=hikari.Activity(name="ping"))
