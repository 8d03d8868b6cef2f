"""Installed libraries that ask for another hikari than the one that is there."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import TYPE_CHECKING

import hikari
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OURS = "hikari-relay"


@functools.cache
def unmet_pins_here() -> tuple[str, ...]:
    """A sentence for each installed distribution whose pins exclude the hikari that is imported."""
    return tuple(unmet_pins(metadata.distributions(), hikari.__version__))


def unmet_pins(distributions: Iterable[metadata.Distribution], hikari_version: str) -> Iterator[str]:
    """A sentence for each of `distributions` whose pins exclude `hikari_version`: what it is and what to do."""
    seen = set[str]()
    for distribution in distributions:
        name = canonicalize_name(distribution.metadata["Name"] or "")
        if name in (OURS, *seen):
            continue
        seen.add(name)  # the first one on sys.path is the one that is imported
        for wanted in _unmet(distribution.requires or (), hikari_version):
            yield (
                f"{name} {distribution.version} asks for {wanted}, and hikari {hikari_version} is installed:"
                f" install a version of {name} that takes it, or that hikari (docs/libraries.md has a table)"
            )


def _unmet(requirements: Iterable[str], hikari_version: str) -> Iterator[str]:
    for text in requirements:
        if not text.lower().startswith("hikari"):
            continue  # reading each takes longer than all else
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # of another kind than ours to judge
        is_asked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        is_met = requirement.specifier.contains(hikari_version, prereleases=True)
        if canonicalize_name(requirement.name) == "hikari" and is_asked and not is_met:
            yield f"{requirement.name}{requirement.specifier}"
