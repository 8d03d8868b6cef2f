"""A bot with hikari-arc."""

from __future__ import annotations

from typing import Any

import arc
import hikari

from tests.libraries.bots import contract


def setup(bot: hikari.GatewayBotAware) -> None:
    client = client_with_commands(bot)
    client.add_startup_hook(ready)
    client.include(panel)

    @client.listen()
    async def on_component(event: hikari.InteractionCreateEvent) -> None:
        if isinstance(event.interaction, hikari.ComponentInteraction):
            await contract.answer_component(event.interaction)


def client_with_commands(bot: hikari.GatewayBotAware) -> arc.GatewayClient:
    """All commands but the panel, and the modal that one of them opens."""
    client = arc.GatewayClient(bot)
    client.set_error_handler(refuse)
    for command in (greet, secret, once, slow, feedback, inspect_user, quote):
        client.include(command)
    tools = client.include_slash_group("tools", "Tools")
    tools.include(echo)
    tools.include_subgroup("math", "Mathematics").include(add)

    @client.listen()
    async def on_modal(event: hikari.InteractionCreateEvent) -> None:
        if isinstance(event.interaction, hikari.ModalInteraction):
            await contract.answer_modal(event.interaction)

    return client


async def ready(_: arc.GatewayClient) -> None:
    contract.startup_hook_ran("arc")


async def refuse(context: arc.GatewayContext, error: Exception) -> None:
    if isinstance(error, arc.InvokerMissingPermissionsError):
        await context.respond(contract.REFUSAL)
    elif isinstance(error, arc.UnderCooldownError):
        await context.respond(contract.TOO_SOON)
    else:
        raise error


async def names(data: arc.AutocompleteData[Any, str]) -> list[str]:
    return contract.matching(data.focused_value or "")


@arc.slash_command("greet", "Greet somebody")
async def greet(
    context: arc.GatewayContext,
    name: arc.Option[str, arc.StrParams("Whom", autocomplete_with=names)],
    times: arc.Option[int, arc.IntParams("How often", min=1, max=3)] = 1,
) -> None:
    await context.respond(" ".join([f"Hello {name}!"] * times))


@arc.slash_subcommand("echo", "Say it again")
async def echo(context: arc.GatewayContext, text: arc.Option[str, arc.StrParams("What")]) -> None:
    await context.respond(text)


@arc.slash_subcommand("add", "Add two numbers")
async def add(
    context: arc.GatewayContext,
    a: arc.Option[int, arc.IntParams("The one")],
    b: arc.Option[int, arc.IntParams("The other")],
) -> None:
    await context.respond(str(a + b))


@arc.with_hook(arc.has_permissions(contract.NEEDED))
@arc.slash_command("secret", "For those who manage")
async def secret(context: arc.GatewayContext) -> None:
    await context.respond("the secret")


@arc.with_hook(arc.utils.user_limiter(contract.COOLDOWN_S, 1))
@arc.slash_command("once", "Once in a while")
async def once(context: arc.GatewayContext) -> None:
    await context.respond("done")


@arc.slash_command("slow", "Takes its time")
async def slow(context: arc.GatewayContext) -> None:
    await context.defer()
    await contract.take_time()
    await context.respond("here it is")


@arc.slash_command("panel", "Show a panel")
async def panel(context: arc.GatewayContext) -> None:
    await context.respond("a panel", components=contract.panel(context.client.rest))


@arc.slash_command("feedback", "Tell us")
async def feedback(context: arc.GatewayContext) -> None:
    row = contract.feedback_row(context.client.rest)
    await context.respond_with_modal("Feedback", "feedback", components=[row])


@arc.user_command("Inspect")
async def inspect_user(context: arc.GatewayContext, user: hikari.User) -> None:
    await context.respond(f"user {user.id}")


@arc.message_command("Quote")
async def quote(context: arc.GatewayContext, message: hikari.Message) -> None:
    await context.respond(f"> {message.content}")
