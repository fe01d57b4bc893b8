"""How soon a worker that ended is replaced; no I/O."""

from __future__ import annotations

FIRST = 0.1
LONGEST = 5.0
# Who served so long did not fail at its start.
PROVEN = 5.0


class Respawn:
    """At once after a life of 5 s or more, then 100 ms, doubling to 5 s."""

    def __init__(self) -> None:
        self._next = 0.0

    def delay(self, lived: float) -> float:
        """Return the seconds to wait after a life of `lived` seconds."""
        if lived >= PROVEN:
            self._next = 0.0
        delay = self._next
        self._next = min(LONGEST, max(FIRST, 2 * self._next))
        return delay
