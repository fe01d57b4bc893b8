"""Renews the board, and tells who looks: once a second while anybody does, rarely otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sqsuper.admin.page.board import Board
from sqsuper.admin.page.traffic import STEP
from sqsuper.slices import Slices

TICK = 1.0
SHARE = 0.02
"""Of one core, at most, while somebody looks: with thousands of tenants rounds come less often."""
IDLE_SHARE = 0.005


class Live:
    """Owns the rounds. `watched()`: whether anybody looks; `ended()`: called after each."""

    _log = Logger()

    def __init__(
        self,
        board: Board,
        reactor: Any,
        *,
        watched: Callable[[], bool],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.board = board
        self._reactor = reactor
        self._slices = Slices(reactor)
        self._watched = watched
        self._ended = ended
        self._waiting: list[Deferred[None]] = []
        self._ticking: Any = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._running: list[Deferred[None]] | None = None
        self._ended_at = float("-inf")
        self._cost = 0.0

    def start(self) -> None:
        """Begin."""
        self._ticking.start(TICK)

    def stop(self) -> None:
        """End; who waits is told."""
        if self._ticking.running:
            self._ticking.stop()
        self.board.close()
        self._tell()

    def tick(self) -> Deferred[None]:
        """Return what fires within a second, and at once when there is something new."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    async def fresh(self) -> None:
        """Come back when the board is no older than a second, and knows all tenants there are."""
        for _ in range(2):  # one that began before the last change is not enough
            if self._is_fresh():
                return
            if self._running is None:
                self._begin()
            if self._running is not None:
                done: Deferred[None] = Deferred()
                self._running.append(done)
                await done

    def _is_fresh(self) -> bool:
        due = self._ended_at + max(TICK, self._cost / SHARE)
        return self._reactor.seconds() < due and not self.board.is_outdated()

    def _tick(self) -> None:
        period, share = (TICK, SHARE) if self._watched() else (STEP, IDLE_SHARE)
        # Ticks come a little early or late: this must not cost every other one its round.
        due = self._ended_at + max(period, self._cost / share) - TICK / 2
        if self._running is None and self._reactor.seconds() >= due:
            self._begin()
        if self._running is None:
            self._tell()

    def _begin(self) -> None:
        self._running = []
        Deferred.fromCoroutine(self._round()).addErrback(self._broken)

    async def _round(self) -> None:
        try:
            self._cost = await self._slices.run(_timed(self.board.renew()))
        finally:
            self._ended_at = self._reactor.seconds()
            running, self._running = self._running or [], None
            self._tell()
            self._ended()
            for done in running:
                done.callback(None)

    def _broken(self, failure: Any) -> None:
        self._log.failure("the status page's figures were not renewed", failure)

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)


def _timed(steps: Generator[None, None, None]) -> Generator[None, None, float]:
    """Do `steps`; return how many seconds they took, pauses aside."""
    clock = time.perf_counter
    spent = 0.0
    while True:
        began = clock()
        try:
            next(steps)
        except StopIteration:
            return spent + clock() - began
        spent += clock() - began
        yield
