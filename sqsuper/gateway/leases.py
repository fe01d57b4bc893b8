"""A worker's slots of each tenant: leased from the supervisor's process, used here.

See `shares` for the rules. A worker asks when a request has to wait, and while others wait
says when it needs fewer; between that no request costs a message.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from sqsuper.gateway.upstream import Pool

# Of what is said about one tenant; the first word after some silence is said at once.
INTERVAL = 0.005


@attrs.frozen
class Report:
    """What a worker says of one tenant's slots: see `Shares.report`."""

    tenant: str
    serial: int
    cap: int
    demand: int
    waiting: int


class Lease:
    """The slots that one pool may use.

    `wanted` and `released` are what the pool tells (`upstream.Slots`). `say` sends a report;
    `later(seconds, call)` calls once.
    """

    def __init__(
        self,
        tenant: str,
        say: Callable[[Report], None],
        seconds: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.tenant = tenant
        self.pool: Pool | None = None
        self._say = say
        self._seconds = seconds
        self._later = later
        self._slots = 0
        self._cap = 0
        self._queue: int | None = None  # before anything was ordered
        self._serial = 0
        self._contended = False
        self._said: Report | None = None
        self._said_at = float("-inf")
        self._pending = False

    @property
    def cap(self) -> int:
        """How many slots may be in use: more than were ordered only by what has to end first."""
        return self._cap

    def serve(self, pool: Pool) -> None:
        """See `upstream.Slots.serve`. A tenant that comes back has the slots that it left."""
        self.pool = pool
        self._resize()

    def ordered(self, serial: int, slots: int, queue: int, contended: bool) -> None:
        """Take an order."""
        asked = serial != self._serial or slots < self._cap or (contended and not self._contended)
        self._serial, self._slots, self._contended = serial, slots, contended
        self._queue = queue
        self._settle()
        if asked:
            self._speak()
        self._resize()

    def wanted(self) -> None:
        """A request waits for a slot, or for an instance that it will use a slot of."""
        self._speak_soon()

    def released(self) -> None:
        """A slot was given back, or a request waits no longer."""
        if self._cap > self._slots:
            before = self._cap
            self._settle()
            if self._cap < before:
                self._resize()
                self._speak()
        elif self._contended or (self._said is not None and self._said.waiting):
            self._speak_soon()

    def _resize(self) -> None:
        """Let the pool have what was ordered, if anything was."""
        assert self.pool is not None
        if self._queue is not None:
            self.pool.resize(self._cap, self._queue)

    def _settle(self) -> None:
        assert self.pool is not None
        self._cap = max(self._slots, min(self._cap, self.pool.inflight))

    def _speak_soon(self) -> None:
        if self._pending:
            return
        self._pending = True
        # What runs now may bring more.
        self._later(max(0.0, self._said_at + INTERVAL - self._seconds()), self._speak_now)

    def _speak_now(self) -> None:
        self._pending = False
        report = self._report()
        if report == self._said:
            return
        fewer_wait = self._said is not None and report.waiting < self._said.waiting
        if self._contended or fewer_wait or report.demand > self._slots:
            self._send(report)

    def _speak(self) -> None:
        self._send(self._report())

    def _send(self, report: Report) -> None:
        self._said = report
        self._said_at = self._seconds()
        self._say(report)

    def _report(self) -> Report:
        pool = self.pool
        assert pool is not None
        waiting = pool.waiting
        return Report(self.tenant, self._serial, self._cap, pool.inflight + waiting, waiting)
