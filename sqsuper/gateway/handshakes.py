"""Whose TLS handshake goes on, and when.

A handshake is the one thing in a gateway that costs much of the processor: clients wait for
each step of it in one line, so that those which are connected already stay fast in a flood:
every turn of the loop serves them first.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from sqsuper.gateway.nest import Nest

# A turn's steps: no more are begun once they took so long, or were so many.
STEP_SECONDS = 0.0002
STEPS = 4
MAX_FAREWELLS = 64

log = Logger()


class Shaking(Protocol):
    """A connection whose handshake is under way."""

    def step_handshake(self) -> None:
        """Take one step of it."""

    def wait_in_line(self) -> None:
        """Be told of nothing until that: the step does not come in this turn."""

    def abort(self) -> None:
        """End it."""


class Handshakes:
    """Whose handshake takes its next step, and when. One for all TLS wires of a nest."""

    def __init__(self, nest: Nest, clock: Callable[[], float] = time.perf_counter) -> None:
        self._nest = nest
        self._clock = clock
        self._waiting: deque[Shaking] = deque()
        self._came: deque[Shaking] = deque()  # in this turn
        self._working = False
        self._told = sys.unraisablehook
        self.done = 0
        self.failed = 0
        # Connections whose handshake goes on only so that they can be told why they are closed.
        self.farewells = 0

    def room(self) -> bool:
        """Whether one more may be among the farewells: they are not counted elsewhere."""
        return self.farewells < MAX_FAREWELLS

    def line_up(self, wire: Shaking) -> None:
        """Let `wire` take one step (`step_handshake`) when it is its turn."""
        self._came.append(wire)
        if not self._working:
            self._working = True
            self._nest.between_turns(self._run)

    def _run(self) -> bool:
        """Take a turn's steps; whether any are left."""
        waiting, came = self._waiting, self._came
        until = self._clock() + STEP_SECONDS
        self._told = sys.unraisablehook
        sys.unraisablehook = self._tell
        try:
            for _ in range(min(STEPS, len(waiting) + len(came))):
                wire = waiting.popleft() if waiting else came.popleft()
                try:
                    wire.step_handshake()
                except Exception:
                    log.failure("a TLS handshake")
                    wire.abort()
                if self._clock() >= until:
                    break
        finally:
            sys.unraisablehook = self._told
        while came:
            wire = came.popleft()
            wire.wait_in_line()
            waiting.append(wire)
        self._working = bool(waiting)
        return self._working

    def _tell(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Tell of a client that asks for a name that is no ASCII: nobody. `ssl` refuses it by
        itself, and its lines on standard error could not be limited.
        """
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            self._told(unraisable)
