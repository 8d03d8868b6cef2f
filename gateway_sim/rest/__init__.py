"""Discord's REST API, as far as bots and their command libraries use it."""

from gateway_sim.rest.api import RestApi
from gateway_sim.rest.journal import RestJournal

__all__ = ["RestApi", "RestJournal"]
