"""What an instance's figures mean for its limits; no I/O.

A warning is given once, and again only after the figure was well below its mark: memory that
swings around a limit is told once.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from sqsuper.config.model import Limits
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import JSON
from sqsuper.supervisor.growth import forecast

# Of a limit: from here on the cheap figures, which count too much, do not do.
NEAR = 0.8
# Of a mark: below this a warning may be given again.
REARM = 0.9
# Of the quota.
QUOTA_WARNING = 0.9
# Seconds between two warnings of growth.
GROWTH_REPEAT = 6 * 3600.0

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@attrs.frozen
class Finding:
    """Something an operator should know: `cause` a word, `text` one line.

    `fatal`: for what the instance is to be ended; None for a warning.
    """

    cause: str
    text: str
    fatal: Cause | None = None
    facts: dict[str, JSON] = attrs.field(factory=dict)


def size(octets: float) -> str:
    """Return a size for people: `2.1 GiB`."""
    value, unit = float(octets), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{round(value, 1 if value >= 10 else 2):g} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a rough time for people: `5 h`."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{round(seconds / 3600)} h"


def near(limits: Limits, memory_at_most: int) -> bool:
    """Whether so much memory, at most, asks for a closer look."""
    marks = [mark for mark in (limits.memory_soft, limits.memory_hard) if mark is not None]
    return bool(marks) and memory_at_most >= NEAR * min(marks)


class Watermarks:
    """What one tenant's instance was warned of already."""

    __slots__ = ("_grew_at", "_quota", "_soft")

    def __init__(self) -> None:
        self._soft = False
        self._quota = False
        self._grew_at: float | None = None

    def threads(self, limits: Limits, threads: int) -> Finding | None:
        """Judge a number of threads, those of descendants included."""
        if limits.threads is None or threads <= limits.threads:
            return None
        text = f"{threads} threads over threads {limits.threads}"
        facts: dict[str, JSON] = {"threads": threads, "limit": limits.threads}
        return Finding(Cause.THREADS.value, text, Cause.THREADS, facts)

    def memory(self, limits: Limits, memory: int) -> Finding | None:
        """Judge memory: the proportional share, in bytes, of all that belongs to it."""
        hard, soft = limits.memory_hard, limits.memory_soft
        if hard is not None and memory > hard:
            text = f"memory {size(memory)} over memory_hard {size(hard)}"
            facts: dict[str, JSON] = {"memory": memory, "limit": hard}
            return Finding(Cause.MEMORY.value, text, Cause.MEMORY, facts)
        if soft is None or memory < REARM * soft:
            self._soft = False
        elif memory > soft and not self._soft:
            self._soft = True
            text = f"memory {size(memory)} over memory_soft {size(soft)}"
            return Finding("memory_soft", text, facts={"memory": memory, "limit": soft})
        return None

    def growth(
        self, limits: Limits, now: float, at: Sequence[float], memory: Sequence[int]
    ) -> Finding | None:
        """Judge what memory was over time, oldest first."""
        hard = limits.memory_hard
        if hard is None or (self._grew_at is not None and now - self._grew_at < GROWTH_REPEAT):
            return None
        found = forecast(at, memory, hard)
        if found is None:
            return None
        self._grew_at = now
        text = (
            f"memory grows by {size(found.rate * 3600)} an hour and reaches memory_hard"
            f" {size(hard)} in about {duration(found.seconds)}"
        )
        facts: dict[str, JSON] = {"rate": found.rate, "seconds": found.seconds, "limit": hard}
        return Finding("memory growth", text, facts=facts)

    def quota(self, quota: int | None, storage: int) -> Finding | None:
        """Judge the bytes that count for a quota."""
        if quota is None or storage < REARM * QUOTA_WARNING * quota:
            self._quota = False
        elif storage >= QUOTA_WARNING * quota and not self._quota:
            self._quota = True
            text = f"data {size(storage)} of quota_mb {size(quota)}"
            return Finding("quota", text, facts={"storage": storage, "limit": quota})
        return None
