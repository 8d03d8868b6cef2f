"""A bot with hikari-tanjun, which has prefix commands, too."""

import alluka
import hikari
import tanjun

from tests.libraries.bots import contract

component = tanjun.Component()


def setup(bot: hikari.GatewayBotAware) -> None:
    client = tanjun.Client.from_gateway_bot(bot).add_prefix("!")
    client.add_client_callback(tanjun.ClientCallbackNames.STARTING, sync)
    client.add_client_callback(tanjun.ClientCallbackNames.STARTED, ready)
    manager = tanjun.InMemoryCooldownManager()
    manager.set_bucket("once", tanjun.BucketResource.USER, 1, contract.COOLDOWN_S).add_to_client(client)
    client.add_component(component.load_from_scope(include_globals=True))


async def sync(client: alluka.Injected[tanjun.Client]) -> None:
    """tanjun's own sync asks command builders for `is_dm_enabled`, which hikari has no more."""
    commands = [*client.iter_slash_commands(global_only=True), *client.iter_menu_commands(global_only=True)]
    application = await client.rest.fetch_application()
    await client.rest.set_application_commands(application, [command.build() for command in commands])


async def ready() -> None:
    contract.startup_hook_ran("tanjun")


@component.with_listener()
async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
    await contract.answer_component_or_modal(event.interaction)


async def names(context: tanjun.abc.AutocompleteContext, value: str) -> None:
    await context.set_choices({name: name for name in contract.matching(value)})


@tanjun.with_int_slash_option("times", "How often", default=1, min_value=1, max_value=3)
@tanjun.with_str_slash_option("name", "Whom", autocomplete=names)
@tanjun.as_slash_command("greet", "Greet somebody")
async def greet(context: tanjun.abc.SlashContext, name: str, times: int) -> None:
    await context.respond(" ".join([f"Hello {name}!"] * times))


tools = component.with_slash_command(tanjun.slash_command_group("tools", "Tools"))
maths = tools.make_sub_group("math", "Mathematics")


@tanjun.with_str_slash_option("text", "What")
@tools.as_sub_command("echo", "Say it again")
async def echo(context: tanjun.abc.SlashContext, text: str) -> None:
    await context.respond(text)


@tanjun.with_int_slash_option("b", "The other")
@tanjun.with_int_slash_option("a", "The one")
@maths.as_sub_command("add", "Add two numbers")
async def add(context: tanjun.abc.SlashContext, a: int, b: int) -> None:
    await context.respond(str(a + b))


@tanjun.with_author_permission_check(contract.NEEDED, error_message=contract.REFUSAL)
@tanjun.as_slash_command("secret", "For those who manage")
async def secret(context: tanjun.abc.SlashContext) -> None:
    await context.respond("the secret")


@tanjun.with_cooldown("once", error_message=contract.TOO_SOON, owners_exempt=False)
@tanjun.as_slash_command("once", "Once in a while")
async def once(context: tanjun.abc.SlashContext) -> None:
    await context.respond("done")


@tanjun.as_slash_command("slow", "Takes its time")
async def slow(context: tanjun.abc.SlashContext) -> None:
    await context.defer()
    await contract.take_time()
    await context.respond("here it is")


@tanjun.as_slash_command("panel", "Show a panel")
async def panel(context: tanjun.abc.SlashContext) -> None:
    await context.respond("a panel", components=contract.panel(context.rest))


@tanjun.as_slash_command("feedback", "Tell us")
async def feedback(context: tanjun.abc.SlashContext) -> None:
    row = contract.feedback_row(context.rest)
    await context.create_modal_response("Feedback", "feedback", component=row)


@tanjun.as_user_menu("Inspect")
async def inspect_user(context: tanjun.abc.MenuContext, user: hikari.User) -> None:
    await context.respond(f"user {user.id}")


@tanjun.as_message_menu("Quote")
async def quote(context: tanjun.abc.MenuContext, message: hikari.Message) -> None:
    await context.respond(f"> {message.content}")


@tanjun.with_greedy_argument("text")
@tanjun.as_message_command("say")
async def say(context: tanjun.abc.MessageContext, text: str) -> None:
    await context.respond(text)
