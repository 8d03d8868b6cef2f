"""The stream: draws a mix of templates once, then hands out one fresh dispatch per call."""

from __future__ import annotations

import random
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING

from gateway_sim.dispatch import Dispatch
from gateway_sim.interaction_book import OpenInteraction, token_of
from gateway_sim.traffic.kinds import KINDS, MIXES
from gateway_sim.traffic.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway_sim.world import World

_ORDER = 4096  # dispatches after which the sequence of kinds and templates begins again (with fresh ids)
_TEMPLATES = 192  # per kind; one per guild if there are more guilds, up to the bound below; none that is never used
_MOST_TEMPLATES = 1024
_MOST_BYTES = 8 << 20  # of one kind's templates: large guilds are rendered a few times only


class Traffic:
    """An endless, seeded stream of dispatches for the given guilds.

    `mix` is a name out of MIXES or {kind: weight} (the kinds are the keys of KINDS); `guild_ids` are those of the
    shard. The same world, guilds, mix and seed give the same stream, apart from ids and moments, which are fresh.
    ValueError says what to change when the mix or the guilds make no stream.
    """

    def __init__(
        self, world: World, guild_ids: Sequence[int], *, mix: str | Mapping[str, float] = "mixed", seed: int = 0
    ) -> None:
        weights = _weights(mix)
        if not guild_ids:
            msg = "traffic needs at least one guild: give the shard's guild ids"
            raise ValueError(msg)
        rng = random.Random(f"{world.seed}:{seed}:{guild_ids[0]}")
        kinds = rng.choices(list(weights), list(weights.values()), k=_ORDER)
        turns = {kind: cycle(_pool(world, guild_ids, kind, rng, uses)) for kind, uses in Counter(kinds).items()}
        self._templates = cycle([next(turns[kind]) for kind in kinds])
        self._world = world
        self._next_id = world.next_id
        self._clock = world.clock
        self._book = world.interactions
        self._moment_at = -1.0
        self._timestamp = self._unix_time = b""

    def next(self) -> Dispatch:
        """The next dispatch, unlike every one before."""
        template = next(self._templates)
        now = self._clock()
        if now - self._moment_at >= 0.001 or now < self._moment_at:
            self._set_moment(now)
        fresh = self._next_id()
        data = template.render((fresh.encode(), self._timestamp, self._unix_time))
        if template.interaction is not None:
            kind, channel_id = template.interaction
            self._book.issue(OpenInteraction(fresh, token_of(fresh), kind, template.guild_id, channel_id, now))
        return Dispatch(template.type, template.guild_id, template.entity_id or fresh, data, template.intents)

    def _set_moment(self, now: float) -> None:
        self._moment_at = now
        self._timestamp = self._world.now_iso().encode()
        self._unix_time = b"%d" % now


def _weights(mix: str | Mapping[str, float]) -> dict[str, float]:
    if isinstance(mix, str):
        if mix not in MIXES:
            msg = f"there is no mix {mix!r}: use {', '.join(MIXES)} or weights by kind"
            raise ValueError(msg)
        return dict(MIXES[mix])
    if unknown := mix.keys() - KINDS.keys():
        msg = f"there is no kind of traffic {', '.join(sorted(unknown))}: use {', '.join(KINDS)}"
        raise ValueError(msg)
    weights = {kind: float(weight) for kind, weight in mix.items() if weight != 0}
    if not weights or min(weights.values()) < 0:
        msg = "a mix needs at least one kind with a weight above 0, and none below 0"
        raise ValueError(msg)
    return weights


def _pool(world: World, guild_ids: Sequence[int], kind: str, rng: random.Random, uses: int) -> list[Template]:
    """Templates over all the guilds (or as many as the bounds allow), in random order."""
    count = min(max(_TEMPLATES, len(guild_ids)), _MOST_TEMPLATES, uses)
    guilds = rng.sample(guild_ids, min(count, len(guild_ids)))
    pool: list[Template] = []
    size = 0
    for n in range(count):
        template = Template(KINDS[kind](world, guilds[n % len(guilds)], rng))
        pool.append(template)
        size += sum(map(len, template.parts))
        if size > _MOST_BYTES and n + 1 >= len(guilds):
            break
    return pool
