"""Long work in small pieces, between the events of a loop.

A job is a generator: it yields None between its pieces, each of about a millisecond at most, or
a Gate to be continued when that opens; it returns its result.
"""

from __future__ import annotations

import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar

    from sqsuper.sockets import Loop

    Result = TypeVar("Result")
    Job = Generator["Gate | None", None, Result]

# How long the pieces of one turn may take together, before events have their turn.
TURN_SECONDS = 0.001


class Gate:
    """Something that jobs wait for. It opens once for all who wait, and is then shut again."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def wait(self, call: Callable[[], None]) -> None:
        """Call `call` when the gate opens next."""
        self._calls.append(call)

    def open(self) -> None:
        """Let everybody through who waits now."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()


class Turns:
    """Does the pieces of any number of jobs, in turn.

    `report`: called with an exception that a piece raised; the others go on.
    """

    __slots__ = ("_clock", "_loop", "_report", "_scheduled", "_steps")

    def __init__(
        self,
        loop: Loop,
        report: Callable[[BaseException], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loop = loop
        self._report = report
        self._clock = clock
        self._steps: deque[Callable[[], bool]] = deque()
        self._scheduled = False

    def add(self, step: Callable[[], bool]) -> None:
        """Call `step` in one of the next turns, and again while it returns True."""
        self._steps.append(step)
        if not self._scheduled:
            self._scheduled = True
            self._loop.after(0.0, self._run)

    def run(self, job: Job[None]) -> None:
        """Do a whole job."""

        def step() -> bool:
            try:
                gate = next(job)
            except StopIteration:
                return False
            if gate is None:
                return True
            gate.wait(lambda: self.add(step))
            return False

        self.add(step)

    def _run(self) -> None:
        self._scheduled = False
        steps = self._steps
        end = self._clock() + TURN_SECONDS
        while steps:
            step = steps.popleft()
            try:
                if step():
                    steps.append(step)
            except Exception as error:
                self._report(error)
            if self._clock() >= end:
                break
        if steps and not self._scheduled:
            self._scheduled = True
            self._loop.after(0.0, self._run)
