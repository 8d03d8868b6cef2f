"""What a process says is its own: messages with components that it sent or edited, and modals that it opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hikari

from consumers.owner_keys import modal_key, user_and_message
from eventbus.names import INTERACTION_CREATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from consumers.frame import Frame
    from consumers.owner_keys import Key

NOTED_COUNT = 10_000


class Claims:
    """`claim(keys)` is called for each; the interactions that are handled here are noted, to know user and message."""

    def __init__(self, claim: Callable[[Iterable[Key]], None]) -> None:
        self._claim = claim
        self._noted: dict[int, tuple[int | None, int | None]] = {}

    def note(self, frame: Frame) -> None:
        """A dispatch is about to be handled here."""
        if frame.dispatch.type != INTERACTION_CREATE:
            return
        interaction = frame.payload
        number = interaction.get("id") if isinstance(interaction, dict) else None
        if isinstance(number, str) and number.isascii() and number.isdecimal():
            self._noted[int(number)] = user_and_message(interaction)
            if len(self._noted) > NOTED_COUNT:
                del self._noted[next(iter(self._noted))]

    def sent(self, message_id: int) -> None:
        """A message with components was sent, or got new ones."""
        self._claim((int(message_id),))

    def answering(self, interaction: hikari.SnowflakeishOr[hikari.PartialInteraction], response_type: int) -> None:
        """A response with components is about to be sent: the message that comes of it names the interaction.

        An update changes the message that the interaction was made on, which names another one.
        """
        _, message_id = self._noted.get(int(interaction), (None, None))
        is_update = response_type == hikari.ResponseType.MESSAGE_UPDATE
        key = message_id if is_update else int(interaction)
        if key is not None:
            self._claim((key,))

    def opening_modal(self, interaction: hikari.SnowflakeishOr[hikari.PartialInteraction], custom_id: str) -> None:
        """A modal is about to be opened. Nothing is known of an interaction that was handled elsewhere."""
        user_id, _ = self._noted.get(int(interaction), (None, None))
        user = getattr(interaction, "user", None)
        if user is not None:
            user_id = int(user.id)
        if user_id is not None:
            self._claim((modal_key(custom_id, user_id),))
