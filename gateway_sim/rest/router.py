"""Finds the route of a request among those that the simulator knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway_sim.rest.call import Call, Reply
from gateway_sim.rest.errors import DiscordError, http_error

Handler = Callable[[Call], Reply]

_PREFIX = re.compile(r"^(?:/api)?(?:/v(\d+))?(?=/)")
_SERVED_VERSIONS = frozenset({None, "9", "10"})
_PARAMETER = re.compile(r"\{(\w+)\}")
_MAJOR = ("channel_id", "guild_id", "webhook_id", "interaction_id")


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path template such as `/guilds/{guild_id}`.

    `auth` false: no bot token is asked for. `limited` false: no rate limit and no rate-limit headers.
    """

    method: str
    template: str
    handler: Handler
    auth: bool = True
    limited: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """A route with the parameters of one path."""

    route: Route
    params: dict[str, str]

    @property
    def name(self) -> str:
        """Method and template: what rate limits go by."""
        return f"{self.route.method} {self.route.template}"

    @property
    def major(self) -> str:
        """The values of the major parameters, which have rate limits of their own."""
        values = [self.params[name] for name in _MAJOR if name in self.params]
        return "/".join([*values, self.params.get("token", "")])


class Router:
    """All routes; of two that fit, the one that was given first wins (so `@me` goes before `{user_id}`)."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(_compile(route.template), route) for route in routes]

    def match(self, method: str, path: str) -> Match:
        """The route of a path without prefix; DiscordError 404 or 405 if there is none."""
        other_method = False
        for pattern, route in self._routes:
            if (found := pattern.fullmatch(path)) is None:
                continue
            if route.method == method:
                return Match(route, found.groupdict())
            other_method = True
        raise http_error(405, "Method Not Allowed") if other_method else http_error(404, "Not Found")


def strip_prefix(path: str) -> str:
    """The path after `/api/v10`, `/v10`, `/api` or nothing; DiscordError for a version that is not served."""
    found = _PREFIX.match(path)
    if found is None:
        return path
    if found[1] not in _SERVED_VERSIONS:
        raise DiscordError(400, 50041, "Invalid API version provided")
    return path[found.end() :]


def _compile(template: str) -> re.Pattern[str]:
    return re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", template))
