"""One timer for everything that is looked at again and again."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

# What falls due within so many seconds is looked at together: to wake up, with cold caches,
# costs more than a look.
GRID = 0.25
PART = 0.05
AFTER_A_DEFECT = 5.0

Look = Callable[[float], "float | None"]


class Entry:
    """Something that is looked at; `cancel` ends that. Idempotent."""

    __slots__ = ("look",)

    def __init__(self, look: Look) -> None:
        self.look: Look | None = look

    def cancel(self) -> None:
        """Look at it no more."""
        self.look = None


class Sweep:
    """Calls each `look(now)` when it is due, or up to `grid` seconds later, never before.

    A look returns when it is due again, or None for never. Times are the reactor's seconds.
    While nothing is to be looked at there is no timer. `grid` is `GRID` at most, and a small part
    of the shortest `interval` that was asked for.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._heap: list[tuple[float, int, Entry]] = []
        self._numbers = itertools.count()
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self._last = float("-inf")
        self._running = False
        self._afterwards: list[Callable[[], None]] = []
        self.grid = GRID
        self.late = 0.0
        """How much later than wanted the looks of this moment come: so long we were held up."""

    def add(self, due: float, look: Look) -> Entry:
        """Look at it from `due` on."""
        entry = Entry(look)
        heapq.heappush(self._heap, (due, next(self._numbers), entry))
        self._set_timer()
        return entry

    def refine(self, interval: float) -> None:
        """Look often enough for what is due each `interval` seconds."""
        self.grid = min(self.grid, interval * PART)

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call once all that is looked at now was looked at; at once, if that is nothing."""
        if self._running:
            self._afterwards.append(call)
        else:
            call()

    def stop(self) -> None:
        """Look at nothing more, but at what is added from now on."""
        self._heap = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._running or not self._heap:
            return
        at = max(self._heap[0][0], self._last + self.grid)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        now = self._reactor.seconds()
        self._timer = self._reactor.callLater(max(0.0, at - now), self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        self._last = now
        self.late = max(0.0, now - self._timer_at)
        self._running = True
        heap = self._heap
        due = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        for entry in due:
            again = self._look(entry, now)
            if again is not None and entry.look is not None:
                heapq.heappush(heap, (again, next(self._numbers), entry))
        self._running = False
        calls, self._afterwards = self._afterwards, []
        for call in calls:
            self._guarded(call)
        self._set_timer()

    def _look(self, entry: Entry, now: float) -> float | None:
        if entry.look is None:
            return None
        try:
            return entry.look(now)
        except Exception:
            # One tenant's defect must not end the looks at all others.
            self._log.failure("a look at an instance failed")
            return now + AFTER_A_DEFECT

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self._log.failure("what follows a look at an instance failed")
