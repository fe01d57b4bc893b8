"""What is measured of a process, and who measures it."""

from __future__ import annotations

from typing import Protocol

import attrs


@attrs.frozen
class Figures:
    """What is cheap to know: `cpu` in seconds since its start, sizes in bytes.

    `resident` counts what is shared with others in full; `shared` is what is certain to be
    shared of it.
    """

    cpu: float
    threads: int
    resident: int
    shared: int


@attrs.frozen
class Detail:
    """What is costly to know, in bytes; None where it cannot be known.

    `memory`: its proportional share of what it uses, swapped out or not (its unique part where
    shares are not told). `unique`: what would be free without it. `read` and `written`: from and
    to disks, since its start.
    """

    memory: int
    unique: int
    descriptors: int | None
    read: int | None
    written: int | None

    def plus(self, other: Detail) -> Detail:
        """Return the sum."""
        return Detail(
            self.memory + other.memory,
            self.unique + other.unique,
            _sum(self.descriptors, other.descriptors),
            _sum(self.read, other.read),
            _sum(self.written, other.written),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Gauge(Protocol):
    """Measures one process again and again, in one thread."""

    def figures(self) -> Figures | None:
        """Return its figures, `shared` perhaps as when it was first asked; None without it."""

    def close(self) -> None:
        """Measure it no more. Idempotent."""


class Sampler(Protocol):
    """Measures processes. Callable in any thread."""

    def gauge(self, pid: int) -> Gauge:
        """Return what measures a process at the least cost; to be closed."""

    def figures(self, pid: int) -> Figures | None:
        """Return the figures of a process; None without one."""

    def detail(self, pid: int) -> Detail | None:
        """Return its detail; None without one, or when we may not know."""
