"""Long work in the reactor's thread, cut into slices between which everybody else is served."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from twisted.internet.task import deferLater

T = TypeVar("T")

# Of one slice, in seconds: far below what a request may wait.
SLICE = 0.002


class Slices:
    """Runs generators that offer a pause at each `yield`."""

    def __init__(
        self,
        reactor: Any,
        length: float = SLICE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`length` and `clock`: seconds; a slice ends at the first pause after so much."""
        self._reactor = reactor
        self._length = length
        self._clock = clock

    async def run(self, steps: Generator[None, None, T]) -> T:
        """Run `steps` to their end and return what they return; what they raise is raised."""
        end = self._clock() + self._length
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
            if self._clock() >= end:
                await deferLater(self._reactor, 0, lambda: None)
                end = self._clock() + self._length
