"""A bot with hikari-lightbulb 3: its modals and menus live in the process that showed them."""

from __future__ import annotations

from typing import Any

import hikari
import lightbulb
from lightbulb.prefab import checks, cooldowns

from tests.libraries.bots import contract

loader = lightbulb.Loader()
tools = lightbulb.Group("tools", "Tools")
maths = tools.subgroup("math", "Mathematics")


async def setup(bot: hikari.GatewayBotAware) -> None:
    client = lightbulb.client_from_app(bot)
    client.error_handler(refuse)
    await loader.add_to_client(client)
    client.register(tools)
    bot.event_manager.subscribe(hikari.StartedEvent, client.start)


@loader.task(lightbulb.uniformtrigger(hours=24, wait_first=False), max_invocations=1)
async def ready() -> None:
    contract.startup_hook_ran("lightbulb")


@loader.listener(hikari.InteractionCreateEvent)
async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
    await contract.answer_component_or_modal(event.interaction)


async def refuse(error: lightbulb.exceptions.ExecutionPipelineFailedException) -> bool:
    for cause in error.causes:
        if isinstance(cause, checks.MissingRequiredPermission):
            await error.context.respond(contract.REFUSAL)
            return True
        if isinstance(cause, cooldowns.OnCooldown):
            await error.context.respond(contract.TOO_SOON)
            return True
    return False


async def names(context: lightbulb.AutocompleteContext[str]) -> None:
    await context.respond(contract.matching(str(context.focused.value)))


@loader.command
class Greet(lightbulb.SlashCommand, name="greet", description="Greet somebody"):
    who = lightbulb.string("name", "Whom", autocomplete=names)
    times = lightbulb.integer("times", "How often", default=1, min_value=1, max_value=3)

    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.respond(" ".join([f"Hello {self.who}!"] * self.times))


@tools.register
class Echo(lightbulb.SlashCommand, name="echo", description="Say it again"):
    text = lightbulb.string("text", "What")

    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.respond(self.text)


@maths.register
class Add(lightbulb.SlashCommand, name="add", description="Add two numbers"):
    a = lightbulb.integer("a", "The one")
    b = lightbulb.integer("b", "The other")

    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.respond(str(self.a + self.b))


@loader.command
class Secret(
    lightbulb.SlashCommand,
    name="secret",
    description="For those who manage",
    hooks=[checks.has_permissions(contract.NEEDED)],
):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context, bot: hikari.GatewayBot) -> None:
        await context.respond("the secret" if bot.is_alive else "no bot")


@loader.command
class Once(
    lightbulb.SlashCommand,
    name="once",
    description="Once in a while",
    hooks=[cooldowns.fixed_window(contract.COOLDOWN_S, 1, "user")],
):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.respond("done")


@loader.command
class Slow(lightbulb.SlashCommand, name="slow", description="Takes its time"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.defer()
        await contract.take_time()
        await context.respond("here it is")


@loader.command
class Panel(lightbulb.SlashCommand, name="panel", description="Show a panel"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.respond("a panel", components=contract.panel(context.client.rest))


@loader.command
class Feedback(lightbulb.SlashCommand, name="feedback", description="Tell us"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        row = contract.feedback_row(context.client.rest)
        await context.respond_with_modal("Feedback", "feedback", components=[row])


class BoundMenu(lightbulb.components.Menu):
    def __init__(self) -> None:
        self.add_interactive_button(hikari.ButtonStyle.PRIMARY, self.on_press, label="Vote")

    async def on_press(self, context: lightbulb.components.MenuContext) -> None:
        await context.respond("voted")
        context.stop_interacting()


@loader.command
class Poll(lightbulb.SlashCommand, name="poll", description="Show a menu that this process answers"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        menu = BoundMenu()
        await context.respond("a poll", components=menu)
        await menu.attach(context.client, timeout=60)


class BoundModal(lightbulb.components.Modal):
    def __init__(self) -> None:
        self.text = self.add_short_text_input("Text")

    async def on_submit(self, context: lightbulb.components.ModalContext) -> None:
        await context.respond(f"bound thanks: {context.value_for(self.text)}")


@loader.command
class Form(lightbulb.SlashCommand, name="form", description="Show a modal that this process answers"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        modal = BoundModal()
        custom_id = f"form:{context.interaction.id}"
        await context.respond_with_modal("Form", custom_id, components=modal)
        await modal.attach(context.client, custom_id, timeout=60)


@loader.command
class Inspect(lightbulb.UserCommand, name="Inspect"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        await context.respond(f"user {self.target.id}")


@loader.command
class Quote(lightbulb.MessageCommand, name="Quote"):
    @lightbulb.invoke
    async def invoke(self, context: lightbulb.Context) -> None:
        message: Any = self.target
        await context.respond(f"> {message.content}")
