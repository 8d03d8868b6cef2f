"""Consumers: stateless processes that run the user's hikari handlers."""

from consumers.bot import Bot
from consumers.dispatch import Dispatch, current_dispatch

__all__ = ["Bot", "Dispatch", "current_dispatch"]
