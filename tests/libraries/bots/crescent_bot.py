"""A bot with hikari-crescent."""

from __future__ import annotations

import datetime

import crescent
import hikari
from crescent.ext import cooldowns

from tests.libraries.bots import contract

plugin = crescent.Plugin[hikari.GatewayBotAware, None]()
tools = crescent.Group("tools", "Tools")
maths = tools.sub_group("math", "Mathematics")


def setup(bot: hikari.GatewayBotAware) -> None:
    crescent.Client(bot).plugins.load(__name__)


@plugin.include
@crescent.event
async def ready(_: hikari.StartedEvent) -> None:
    contract.startup_hook_ran("crescent")


@plugin.include
@crescent.event
async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
    await contract.answer_component_or_modal(event.interaction)


async def names(_: crescent.AutocompleteContext, option: hikari.AutocompleteInteractionOption) -> list[tuple[str, str]]:
    return [(name, name) for name in contract.matching(str(option.value))]


async def may(context: crescent.Context) -> crescent.HookResult | None:
    if context.member is not None and contract.NEEDED in context.member.permissions:
        return None
    await context.respond(contract.REFUSAL)
    return crescent.HookResult(exit=True)


async def on_cooldown(context: crescent.Context, _: datetime.timedelta) -> None:
    await context.respond(contract.TOO_SOON)


@plugin.include
@crescent.command(name="greet", description="Greet somebody")
class Greet:
    name = crescent.option(str, "Whom", autocomplete=names)
    times = crescent.option(int, "How often", default=1, min_value=1, max_value=3)

    async def callback(self, context: crescent.Context) -> None:
        await context.respond(" ".join([f"Hello {self.name}!"] * self.times))


@plugin.include
@tools.child
@crescent.command(name="echo", description="Say it again")
class Echo:
    text = crescent.option(str, "What")

    async def callback(self, context: crescent.Context) -> None:
        await context.respond(self.text)


@plugin.include
@maths.child
@crescent.command(name="add", description="Add two numbers")
class Add:
    a = crescent.option(int, "The one")
    b = crescent.option(int, "The other")

    async def callback(self, context: crescent.Context) -> None:
        await context.respond(str(self.a + self.b))


@plugin.include
@crescent.hook(may)
@crescent.command(name="secret", description="For those who manage")
async def secret(context: crescent.Context) -> None:
    await context.respond("the secret")


@plugin.include
@crescent.hook(cooldowns.cooldown(1, datetime.timedelta(seconds=contract.COOLDOWN_S), callback=on_cooldown))
@crescent.command(name="once", description="Once in a while")
async def once(context: crescent.Context) -> None:
    await context.respond("done")


@plugin.include
@crescent.command(name="slow", description="Takes its time")
async def slow(context: crescent.Context) -> None:
    await context.defer()
    await contract.take_time()
    await context.respond("here it is")


@plugin.include
@crescent.command(name="panel", description="Show a panel")
async def panel(context: crescent.Context) -> None:
    await context.respond("a panel", components=contract.panel(plugin.app.rest))


@plugin.include
@crescent.command(name="feedback", description="Tell us")
async def feedback(context: crescent.Context) -> None:
    await context.respond_with_modal("Feedback", "feedback", components=[contract.feedback_row(plugin.app.rest)])


@plugin.include
@crescent.user_command(name="Inspect")
async def inspect_user(context: crescent.Context, user: hikari.User) -> None:
    await context.respond(f"user {user.id}")


@plugin.include
@crescent.message_command(name="Quote")
async def quote(context: crescent.Context, message: hikari.Message) -> None:
    await context.respond(f"> {message.content}")
