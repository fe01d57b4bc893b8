"""Questions to all workers at once, answered when each of them has; no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from twisted.internet.defer import Deferred


class Quorum:
    """What was asked, and whose answers are missing."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._missing: dict[int, tuple[set[int], Deferred[None]]] = {}

    def ask(self, workers: Iterable[int]) -> tuple[int, Deferred[None]]:
        """Return the number of a new question to `workers`, and what fires once all answered."""
        number = next(self._numbers)
        done: Deferred[None] = Deferred()
        asked = set(workers)
        if asked:
            self._missing[number] = (asked, done)
        else:
            done.callback(None)
        return number, done

    def answered(self, worker: int, number: int) -> None:
        """Take an answer."""
        found = self._missing.get(number)
        if found is not None:
            asked, done = found
            asked.discard(worker)
            if not asked:
                del self._missing[number]
                done.callback(None)

    def gone(self, worker: int) -> None:
        """Wait for no more answers of a worker that has ended."""
        for number in list(self._missing):
            self.answered(worker, number)
