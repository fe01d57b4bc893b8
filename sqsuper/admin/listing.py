"""Which tenants have metrics of their own, and what the others come to together; no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import add

MAX_TENANTS = 2000
"""Up to so many tenants each has series of its own; of more, so many of those that are used."""

QUIET = 3600.0
"""Who was not used for so many seconds may lose its own series to who is."""


class Listing:
    """The tenants that are listed, out of more than `most`: those that were used.

    Who is listed stays, for a series that comes and goes costs Prometheus more than one that
    is idle; its place is taken by who is used only once it is quiet.
    """

    def __init__(self, most: int = MAX_TENANTS) -> None:
        self._most = most
        self._listed: set[str] = set()

    def choose(self, active: Mapping[str, float | None], now: float) -> frozenset[str]:
        """Return the names of those that are listed now.

        `active`: of every tenant, when it was used last (as `now`, seconds), None: never.
        """
        if len(active) <= self._most:
            self._listed = {name for name, at in active.items() if at is not None}
            return frozenset(active)
        listed = self._listed = {n for n in self._listed if active.get(n) is not None}
        room = self._most - len(listed)
        quiet = [n for n in listed if now - (active[n] or 0.0) >= QUIET]
        if room or quiet:
            at = {n: when for n, when in active.items() if when is not None}
            leaving = deque(sorted(quiet, key=at.__getitem__))
            coming = (n for n in at if n not in listed)
            for name in sorted(coming, key=at.__getitem__, reverse=True):
                if len(listed) >= self._most:
                    if not leaving or at[leaving[0]] >= at[name]:
                        break
                    listed.remove(leaving.popleft())
                listed.add(name)
        return frozenset(listed)


class Others:
    """The sums of counters over tenants that are not listed.

    They never fall, whoever comes to be listed or is gone: what a tenant counts is added while
    it is not listed.
    """

    def __init__(self, width: int) -> None:
        self._sums: list[float] = [0.0] * width
        self._seen: dict[str, Sequence[float]] = {}

    def take(
        self, counters: Iterable[tuple[str, Sequence[float]]], listed: frozenset[str]
    ) -> Iterator[None]:
        """Take what every tenant's counters are now, one after another."""
        seen: dict[str, Sequence[float]] = {}
        for name, values in counters:
            if any(values):
                seen[name] = values
                if name not in listed:
                    before = self._seen.get(name)
                    more = values if before is None else map(_more, values, before)
                    self._sums[:] = map(add, self._sums, more)
            yield
        self._seen = seen

    @property
    def sums(self) -> Sequence[float]:
        """The sums, in the order of the counters."""
        return tuple(self._sums)


def _more(new: float, old: float) -> float:
    # Less than before: it was removed, and added again.
    return new - old if new >= old else new
