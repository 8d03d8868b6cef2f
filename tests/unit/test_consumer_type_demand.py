"""Which types a process wants copies of, over time."""

from __future__ import annotations

from consumers.type_demand import TypeDemand


def test_a_type_stays_wanted_for_a_while_after_the_last_who_needs_it() -> None:
    demand = TypeDemand(linger_s=30)
    demand.add(["A", "B"])
    demand.add(["A"])
    demand.remove(["A", "B"], now=100)
    assert demand.is_needed("A")
    assert not demand.is_needed("B")
    assert demand.next_end() == 130
    assert demand.wanted(now=129) == {"A", "B"}
    assert demand.wanted(now=130) == {"A"}
    assert demand.next_end() is None


def test_who_needs_it_again_ends_its_end() -> None:
    demand = TypeDemand(linger_s=30)
    demand.add(["A"])
    demand.remove(["A"], now=0)
    demand.add(["A"])
    assert demand.next_end() is None
    assert demand.wanted(now=1000) == {"A"}
    demand.remove(["A"], now=1000)
    assert demand.next_end() == 1030


def test_what_was_never_needed_is_not_wanted() -> None:
    assert not TypeDemand().is_needed("A")
    assert TypeDemand().wanted(now=0) == frozenset()
