"""Whose TLS handshake goes on, and when.

A handshake is the one thing in a gateway that costs much of the processor: clients wait for
each step of it in one line, so that those which are connected already stay fast in a flood.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from sqsuper.gateway.nested import Nest

# A turn's steps: no more are begun once they took so long, or were so many.
STEP_SECONDS = 0.0002
STEPS = 4
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

    def __init__(
        self, nest: Nest, reactor: Any, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._nest = nest
        self._reactor = reactor
        self._clock = clock
        self._waiting: deque[Shaking] = deque()
        self._scheduled = False
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
        if not self._scheduled:
            self._scheduled = True
            self._nest.soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
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
        if waiting and not self._scheduled:
            # Not in this turn of the loop: whoever is connected comes first.
            self._scheduled = True
            self._reactor.callLater(0, self._run)

    def _tell(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Tell of a client that asks for a name that is no ASCII: nobody. `ssl` refuses it by
        itself, and its lines on standard error could not be limited.
        """
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            self._told(unraisable)
