"""Requests that wait for one tenant's instance."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sqsuper.instances import Unavailable, Upstream

Outcome = Callable[[Upstream | Unavailable], None]


class Waiting:
    """One waiting request (`sqsuper.instances.Wait`)."""

    __slots__ = ("_waits", "deadline", "outcome")

    def __init__(self, waits: Waits, outcome: Outcome, deadline: float) -> None:
        self._waits = waits
        self.outcome = outcome
        self.deadline = deadline

    def cancel(self) -> None:
        """See `Wait`."""
        self._waits.discard(self)


class Waits:
    """The requests in order of arrival; all wait equally long, so one timer serves them."""

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, patience: float, late: Callable[[], Unavailable]
    ) -> None:
        """`late` gives the answer for a request that waited `patience` seconds."""
        self._reactor = reactor
        self._patience = patience
        self._late = late
        self._waiting: dict[Waiting, None] = {}
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, outcome: Outcome) -> Waiting:
        """Let one more wait."""
        waiting = Waiting(self, outcome, self._reactor.seconds() + self._patience)
        self._waiting[waiting] = None
        if self._timer is None:
            self._timer = self._reactor.callLater(self._patience, self._expire)
        return waiting

    def discard(self, waiting: Waiting) -> None:
        """Forget one; nothing happens if it has its outcome."""
        self._waiting.pop(waiting, None)
        self._quiet()

    def deliver(self, result: Upstream | Unavailable) -> None:
        """Give all of them `result`; who comes meanwhile waits anew."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._quiet()
        for one in waiting:
            self._tell(one, result)

    def _expire(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        late = []
        for waiting in self._waiting:
            if waiting.deadline > now:
                self._timer = self._reactor.callLater(waiting.deadline - now, self._expire)
                break
            late.append(waiting)
        for waiting in late:
            del self._waiting[waiting]
        for waiting in late:
            self._tell(waiting, self._late())

    def _quiet(self) -> None:
        if not self._waiting and self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _tell(self, waiting: Waiting, result: Upstream | Unavailable) -> None:
        try:
            waiting.outcome(result)
        except Exception:  # noqa: BLE001, RUF100 - a defect of one request must not stop the others
            self._log.failure("a waiting request failed on its outcome")
