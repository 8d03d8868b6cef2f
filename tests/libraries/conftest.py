"""The libraries' fleet, started once, and one pool after the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.libraries import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("arc", "crescent", "lightbulb", "miru", "tanjun")
SIZES = (3, 1) if os.environ.get("LIBRARY_POOLS") == "all" else (3,)
"""A pool of one process is the easier case: `LIBRARY_POOLS=all make test ARGS=tests/libraries` runs it, too."""


class Pools:
    """Keeps the pool of the library that is tested."""

    def __init__(self, world: rig.World) -> None:
        self._world = world
        self.current: rig.Pool | None = None

    def of(self, library: str, size: int) -> rig.Pool:
        if self.current is None or self.current.library != library:
            self.close()
            self.current = rig.Pool(self._world, library)
        self.current.shrink(size)
        if missing := size - len(self.current.processes):
            self.current.add(missing)
        return self.current

    def close(self) -> None:
        if self.current is not None:
            self.current.shrink(0)


@pytest.fixture(scope="session")
def pools(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    with rig.world(broker_url, tmp_path_factory.mktemp("libraries")) as running:
        made = Pools(running)
        yield made
        made.close()


@pytest.fixture(
    scope="session",
    params=[(library, size) for library in LIBRARIES for size in SIZES],
    ids=lambda one: f"{one[0]}-{one[1]}",
)
def pool(request: pytest.FixtureRequest, pools: Pools) -> rig.Pool:
    """The pool of a library in a size: 3 first, so that several start at once, then 1."""
    return pools.of(*request.param)
