"""The arithmetic of benchmarks: percentiles, ratios within rounds, goals. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the least value that `share` of all do not pass.

    `share` is in 0 < share <= 1. Raises ValueError without values.
    """
    if not values or not 0 < share <= 1:
        raise ValueError(f"{share} of {len(values)} values")
    return sorted(values)[math.ceil(share * len(values)) - 1]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios, round by round: each was measured beside the other.

    Raises ValueError when one has more rounds than the other, or there is none.
    """
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    if not ratios:
        raise ValueError("no rounds")
    return statistics.median(ratios)


@attrs.frozen
class Goal:
    """What a figure is to reach. `better`: which way; `unit` stands behind numbers."""

    bound: float
    better: str = attrs.field(default="more", validator=attrs.validators.in_(("more", "less")))
    stretch: float | None = None
    strict: bool = False
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether `value` reaches the bound itself (`strict`: passes it)."""
        return self._reaches(value, self.bound)

    def stretched(self, value: float) -> bool:
        """Whether there is a stretch goal and `value` reaches it."""
        return self.stretch is not None and self._reaches(value, self.stretch)

    def _reaches(self, value: float, bound: float) -> bool:
        if value == bound:
            return not self.strict
        return value > bound if self.better == "more" else value < bound

    def __str__(self) -> str:
        words = {
            ("more", False): "at least ",
            ("more", True): "over ",
            ("less", False): "at most ",
            ("less", True): "under ",
        }
        text = f"{words[self.better, self.strict]}{self.bound:g}{self.unit}"
        return text if self.stretch is None else f"{text} (stretch {self.stretch:g})"


def at_least(bound: float, stretch: float | None = None, unit: str = "") -> Goal:
    """Return the goal of so much or more."""
    return Goal(bound, stretch=stretch, unit=unit)


def at_most(bound: float, unit: str = "") -> Goal:
    """Return the goal of so much or less."""
    return Goal(bound, "less", unit=unit)


def under(bound: float, unit: str = "") -> Goal:
    """Return the goal of less than so much."""
    return Goal(bound, "less", strict=True, unit=unit)
