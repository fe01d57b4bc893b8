"""Rounds: each measures all subjects back to back, so that their ratios can be trusted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import attrs

from benchmarks.peers import settle

S = TypeVar("S")
T = TypeVar("T")


@attrs.frozen
class Series(Generic[T]):
    """What the rounds gave: as many results for each subject, and who failed with what."""

    results: dict[str, list[T]]
    failed: dict[str, str]


def interleave(
    subjects: Mapping[str, S],
    measure: Callable[[S], T],
    repeats: int,
    *,
    warm: bool = True,
    pause: Callable[[], None] = settle,
) -> Series[T]:
    """Measure all subjects, round by round, every other round in reverse order.

    `warm`: a first round is thrown away. Who raises is left out of what follows, and of the
    results.
    """
    results: dict[str, list[T]] = {name: [] for name in subjects}
    failed: dict[str, str] = {}
    for number in range(-1 if warm else 0, repeats):
        order = list(subjects) if number % 2 else list(reversed([*subjects]))
        for name in order:
            if name in failed:
                continue
            try:
                result = measure(subjects[name])
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"[:500]
                print(f"  {name} failed: {failed[name]}", file=sys.stderr)  # noqa: T201
                del results[name]
                continue
            if number >= 0:
                results[name].append(result)
            pause()
    return Series(results, failed)
