"""Consumers: stateless processes that run the user's hikari handlers."""
