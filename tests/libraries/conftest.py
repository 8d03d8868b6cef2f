"""The libraries' fleet, started once, and one pool after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.libraries import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("arc", "crescent", "lightbulb", "miru", "tanjun")
SIZES = {3: (), 1: pytest.mark.long}
"""A pool of one process is the easier case: only `make test-all` runs it."""


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
    params=[
        pytest.param((library, size), marks=marks, id=f"{library}-{size}")
        for library in LIBRARIES
        for size, marks in SIZES.items()
    ],
)
def pool(request: pytest.FixtureRequest, pools: Pools) -> rig.Pool:
    """The pool of a library in a size: 3 first, so that several start at once, then 1."""
    return pools.of(*request.param)
