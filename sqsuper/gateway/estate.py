"""What a worker that ended leaves of one tenant's slots; no I/O."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

# Between two looks. A thread outlives its connection by a moment, and a moment passes until all
# that the worker sent has come: nothing is given on before the second.
LOOK_INTERVAL = 0.04


class Estate:
    """Slots of requests that their instance, a command engine, may still be at work on.

    `orphans`: the worker's connections that the instance has open, as seen when it had ended
    (None: that cannot be seen). Each may have a slot, until it is gone, or, as for a request
    whose client went away, until the time is `until`.
    """

    __slots__ = ("_before", "_left", "_looks", "_slots", "port", "tenant", "until")

    def __init__(
        self, tenant: str, port: int, slots: int, orphans: AbstractSet[int] | None, until: float
    ) -> None:
        self.tenant = tenant
        self.port = port
        self.until = until
        self._slots = slots
        self._left = self._before = orphans or frozenset()
        self._looks = 0

    @property
    def slots(self) -> int:
        """How many slots nobody else may have yet."""
        return self._slots

    @property
    def at_work(self) -> int:
        """How many requests the instance is still at work on, as of the last look."""
        return min(self._slots, len(self._left))

    def look(self, orphans: AbstractSet[int] | None, now: float) -> int:
        """Look again, after `LOOK_INTERVAL`; return how many slots are free by that.

        Others' connections may be among `orphans`.
        """
        self._looks += 1
        # Those that are gone by now were there a moment ago, and their threads may still be.
        self._before, self._left = self._left, self._left & (orphans or frozenset())
        if self._looks < 2:
            return 0
        kept = 0 if now >= self.until else min(self._slots, len(self._before))
        free = self._slots - kept
        self._slots = kept
        return free
