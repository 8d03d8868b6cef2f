"""What a run's own figures must not exceed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.chaos.verdict import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Bound:
    """`figure` must be there and lie between `least` and `most`, both included."""

    figure: str
    least: float | None = None
    most: float | None = None

    def broken_by(self, figures: Mapping[str, Any]) -> str | None:
        """A sentence, or None if the bound holds."""
        value = figures.get(self.figure)
        if value is None:
            return f"{self.figure} was not measured"
        if self.least is not None and value < self.least:
            return f"{self.figure} is {value:g}, less than {self.least:g}"
        if self.most is not None and value > self.most:
            return f"{self.figure} is {value:g}, more than {self.most:g}"
        return None


def broken_bounds(bounds: Sequence[Bound], figures: Mapping[str, Any]) -> list[str]:
    """A sentence for each bound that does not hold."""
    return [sentence for bound in bounds if (sentence := bound.broken_by(figures)) is not None]


def spread(values: Iterable[float], name: str, unit: str, *, digits: int = 3) -> dict[str, float | None]:
    """`name_p50_unit`, `name_p99_unit` and `name_max_unit`; None without any values."""
    known = sorted(values)
    shares = (("p50", 0.50), ("p99", 0.99), ("max", 1.0))
    found = {f"{name}_{label}_{unit}": percentile(known, share) for label, share in shares}
    return {label: None if value is None else round(value, digits) for label, value in found.items()}
