"""What the bots of all libraries share: the words of their answers, and the parts that hikari itself makes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import hikari

NAMES = ("Ada", "Alan", "Grace")
NEEDED = hikari.Permissions.MANAGE_GUILD
REFUSAL = "you may not"
TOO_SOON = "too soon"
COOLDOWN_S = 600
SLOW_S = 1.0

_log = logging.getLogger("bot")


def matching(text: str) -> list[str]:
    return [name for name in NAMES if name.lower().startswith(text.lower())]


def startup_hook_ran(library: str) -> None:
    _log.info("a startup hook ran", extra={"action": "startup_hook", "library": library})


def panel(rest: hikari.api.RESTClient) -> list[Any]:
    """A button and a select menu whose custom ids say all, so that any process of the group can answer them."""
    buttons = rest.build_message_action_row().add_interactive_button(
        hikari.ButtonStyle.PRIMARY, "panel:press", label="Press"
    )
    menus = rest.build_message_action_row()
    menus.add_text_menu("panel:colour").add_option("red", "red").add_option("blue", "blue")
    return [buttons, menus]


def feedback_row(rest: hikari.api.RESTClient) -> Any:
    return rest.build_modal_action_row().add_text_input("text", "Text")


async def take_time() -> None:
    await asyncio.sleep(SLOW_S)


async def answer_component_or_modal(interaction: object) -> None:
    """Answers what has a custom id of ours; leaves everything else to the library."""
    if isinstance(interaction, hikari.ComponentInteraction):
        await answer_component(interaction)
    elif isinstance(interaction, hikari.ModalInteraction):
        await answer_modal(interaction)


async def answer_component(interaction: hikari.ComponentInteraction) -> None:
    if interaction.custom_id == "panel:press":
        await interaction.create_initial_response(hikari.ResponseType.MESSAGE_CREATE, "pressed")
    elif interaction.custom_id == "panel:colour":
        said = f"chose {interaction.values[0]}"
        await interaction.create_initial_response(hikari.ResponseType.MESSAGE_CREATE, said)


async def answer_modal(interaction: hikari.ModalInteraction) -> None:
    if interaction.custom_id == "feedback":
        said = f"thanks: {interaction.components[0].components[0].value}"
        await interaction.create_initial_response(hikari.ResponseType.MESSAGE_CREATE, said)
