"""The presence that a bot is started with."""

from __future__ import annotations

import hikari
import pytest

from consumers.errors import InvalidCommandError
from consumers.first_presence import FirstPresence
from consumers.start_request import StartRequest


def test_one_that_discord_would_refuse_is_refused_before_anything_starts() -> None:
    presence = StartRequest(activity=hikari.Activity(name="x" * 129)).presence
    assert presence is not None

    with pytest.raises(InvalidCommandError, match="name"):
        FirstPresence(presence)


def test_others_are_taken() -> None:
    presence = StartRequest(activity=hikari.Activity(name="chess"), status=hikari.Status.IDLE).presence
    assert presence is not None

    FirstPresence(presence)
