"""Requests that wait for one tenant's instance, and how long each may."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sqsuper.instances import Unavailable, Upstream

Outcome = Callable[[Upstream | Unavailable], None]

# Sums of floating-point seconds miss a limit by less than this.
_ROUNDING = 1e-6


class Waiting:
    """One waiting request (`sqsuper.instances.Wait`)."""

    __slots__ = ("_waits", "began", "outcome")

    def __init__(self, waits: Waits, outcome: Outcome, began: dict[bool, float]) -> None:
        self._waits = waits
        self.outcome = outcome
        self.began = began

    def cancel(self) -> None:
        """See `Wait`."""
        self._waits.discard(self)


class Waits:
    """The requests in order of arrival.

    Two clocks run, one while the instance is starting and one while it is not (backoff, a stop
    under way, doubts about its health): each request may spend so much of either. So a start
    that begins late has its whole time, and no request waits longer than both together.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        patience: Callable[[bool], float],
        late: Callable[[], Unavailable],
    ) -> None:
        """`patience(starting)` gives the seconds of that clock; `late` the answer past it."""
        self._reactor = reactor
        self._patience = patience
        self._late = late
        self._waiting: dict[Waiting, None] = {}
        self._timer: IDelayedCall | None = None
        self._starting = False
        self._clocks = {True: 0.0, False: 0.0}
        self._read_at = reactor.seconds()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, outcome: Outcome) -> Waiting:
        """Let one more wait."""
        self._read_clocks()
        waiting = Waiting(self, outcome, self._clocks.copy())
        self._waiting[waiting] = None
        if self._timer is None:
            self._set_timer()
        return waiting

    def starting(self, starting: bool) -> None:
        """Learn whether the instance is starting now."""
        if starting != self._starting:
            self._read_clocks()
            self._starting = starting
            self._set_timer()

    def discard(self, waiting: Waiting) -> None:
        """Forget one; nothing happens if it has its outcome."""
        self._waiting.pop(waiting, None)
        if not self._waiting:
            self._set_timer()

    def deliver(self, result: Upstream | Unavailable) -> None:
        """Give all of them `result`; who comes meanwhile waits anew."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._set_timer()
        for one in waiting:
            self._tell(one, result)

    def _read_clocks(self) -> None:
        now = self._reactor.seconds()
        self._clocks[self._starting] += now - self._read_at
        self._read_at = now

    def _left(self, waiting: Waiting) -> float:
        spent = self._clocks[self._starting] - waiting.began[self._starting]
        return self._patience(self._starting) - spent

    def _set_timer(self) -> None:
        """For the first: all have the same time, and who came first has spent the most."""
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()
        for first in self._waiting:
            self._read_clocks()
            self._timer = self._reactor.callLater(max(0.0, self._left(first)), self._expire)
            break

    def _expire(self) -> None:
        self._timer = None
        self._read_clocks()
        late = []
        for waiting in self._waiting:
            if self._left(waiting) > _ROUNDING:
                break
            late.append(waiting)
        for waiting in late:
            del self._waiting[waiting]
        self._set_timer()
        for waiting in late:
            self._tell(waiting, self._late())

    def _tell(self, waiting: Waiting, result: Upstream | Unavailable) -> None:
        try:
            waiting.outcome(result)
        except Exception:  # noqa: BLE001, RUF100 - a defect of one request must not stop the others
            self._log.failure("a waiting request failed on its outcome")
