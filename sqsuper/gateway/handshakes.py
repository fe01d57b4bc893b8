"""Whose TLS handshake goes on, and when.

A handshake is the one thing in a gateway that costs much of the processor: clients wait for
each step of it in one line, so that those which are connected already stay fast in a flood:
every turn of the loop serves them first, and a turn that had something of theirs is mostly
followed by the next turn, not by steps.
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
STEP_SECONDS = 0.0008
STEPS = 4
# Turns without steps, one after the other, for what is there of others. No more: the line moves
# whatever they do.
PASSES = 2
MAX_FAREWELLS = 64

log = Logger()


class Shaking(Protocol):
    """A connection whose handshake is under way."""

    def step_handshake(self) -> None:
        """Take one step of it."""

    def abort(self) -> None:
        """End it."""


class Handshakes:
    """Whose handshake takes its next step, and when. One for all TLS wires of a nest."""

    def __init__(self, nest: Nest, clock: Callable[[], float] = time.perf_counter) -> None:
        self._nest = nest
        self._clock = clock
        self._waiting: deque[Shaking] = deque()
        self._working = False
        self._came = 0  # of a turn's events: those that were for this line
        self._passed = 0
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
        self._waiting.append(wire)
        self._came += 1
        if not self._working:
            self._working = True
            self._nest.between_turns(self._run)

    def _run(self, events: int) -> bool:
        """Take the steps that a turn of so many events leaves time for; whether any are left."""
        others, self._came = events > self._came, 0
        if others and self._passed < PASSES:
            self._passed += 1
            return True
        self._passed = 0
        waiting = self._waiting
        until = self._clock() + STEP_SECONDS
        self._told = sys.unraisablehook
        sys.unraisablehook = self._tell
        try:
            for _ in range(min(STEPS, len(waiting))):
                wire = waiting.popleft()
                try:
                    wire.step_handshake()
                except Exception:
                    log.failure("a TLS handshake")
                    wire.abort()
                if self._clock() >= until:
                    break
        finally:
            sys.unraisablehook = self._told
        self._working = bool(waiting)
        return self._working

    def _tell(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Tell of a client that asks for a name that is no ASCII: nobody. `ssl` refuses it by
        itself, and its lines on standard error could not be limited.
        """
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            self._told(unraisable)
