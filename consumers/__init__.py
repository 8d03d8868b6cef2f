"""Consumers: stateless processes that run the user's hikari handlers."""

from consumers.bot import Bot
from consumers.dispatch import Dispatch, current_dispatch
from consumers.subprocesses import Subprocesses, run_server, run_subprocesses, spawn_subprocesses

__all__ = [
    "Bot",
    "Dispatch",
    "Subprocesses",
    "current_dispatch",
    "run_server",
    "run_subprocesses",
    "spawn_subprocesses",
]
