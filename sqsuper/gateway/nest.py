"""The nest: an epoll loop of our own inside the reactor.

An epoll descriptor is itself readable when one of its descriptors is ready: the reactor is
given that one, and what Twisted costs is then paid once for many events.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sqsuper.sockets.capabilities import HERE
from sqsuper.sockets.loop import Loop, Timer

if TYPE_CHECKING:
    from sqsuper.gateway.nested import NestedWire

# How long, and for how many turns, we go on before the reactor has its own: where there is much
# to do the next turn has work already, and a turn of the reactor costs as much as a request.
SLICE_SECONDS = 0.002
_TURNS = 64

log = Logger()


def possible(reactor: Any) -> bool:
    """Whether there is epoll, and a reactor that takes its descriptor."""
    return HERE.epoll and hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor)


class ReactorLoop(Loop):
    """A loop whose timers are the reactor's."""

    def __init__(self, reactor: Any, report: Callable[[BaseException], None]) -> None:
        super().__init__(epoll=True, clock=reactor.seconds, report=report)
        self._reactor = reactor

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """See `Loop.after`."""
        timer = Timer(self._reactor.seconds() + seconds, call)
        self._reactor.callLater(seconds, timer.fire)
        return timer


@implementer(IReadDescriptor)
class Nest:
    """The loop, and what its wires share. To be made when the reactor's process is the final
    one (after daemonising), since a descriptor of epoll must not cross a fork.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.loop = ReactorLoop(reactor, _report)
        self.wires: set[NestedWire] = set()
        self._turning = False
        self._closed = False
        self._soon: list[Callable[[], None]] = []
        self._discarded: list[NestedWire] = []
        self._starved: list[Callable[[], None]] = []
        self._work: Callable[[int], bool] | None = None
        reactor.addReader(self)

    def soon(self, call: Callable[[], None]) -> None:
        """Call `call` when what runs now has returned, in this turn or as the reactor's next."""
        if self._turning:
            self.loop.at_turn_end(call)
            return
        if not self._soon:
            self._reactor.callLater(0, self._run_soon)
        self._soon.append(call)

    def close_soon(self, wire: NestedWire) -> None:
        """Close a discarded wire when this turn is over.

        What others wait for goes first: closing a connection costs as much as several answers.
        """
        if not (self._turning or self._discarded):
            self._reactor.callLater(0, self._close_discarded)
        self._discarded.append(wire)

    def between_turns(self, work: Callable[[int], bool]) -> None:
        """Call `work` (one at a time) after each turn until it returns False: no more is left.

        It is told how many events the turn had.
        """
        self._work = work
        if not self._turning:
            self._reactor.callLater(0, self.doRead)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call `call` once after `seconds`, unless the timer is cancelled."""
        return self.loop.after(seconds, call)

    def starved(self, room: Callable[[], None]) -> None:
        """Call `room` when the next descriptor has been closed."""
        self._starved.append(room)

    def forget(self, wire: NestedWire) -> None:
        """Learn that a wire's descriptor is closed (for wires)."""
        self.wires.discard(wire)
        if self._starved:
            starved, self._starved = self._starved, []
            for room in starved:
                self.soon(room)

    def close(self) -> None:
        """Reset what is left, tell their users, and close the loop. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for wire in list(self.wires):
            wire.abort()
        self._discarded.clear()
        self._run_soon()
        self._reactor.removeReader(self)
        self.loop.close()

    def _close_discarded(self) -> None:
        wires, self._discarded = self._discarded, []
        for wire in wires:
            wire.close_now()

    def _run_soon(self) -> None:
        while self._soon:
            calls, self._soon = self._soon, []
            for call in calls:
                try:
                    call()
                except Exception as error:
                    _report(error)

    # IReadDescriptor

    def fileno(self) -> int:
        return self.loop.fileno()

    def doRead(self) -> None:
        """Handle what is ready, for a few turns. Raises nothing: the reactor would drop us."""
        if self._closed:
            return
        self._turning = True
        try:
            until = self._reactor.seconds() + SLICE_SECONDS
            for _ in range(_TURNS):
                ready = self.loop.turn(0)
                if self._discarded:
                    self._close_discarded()
                if self._work is not None and not self._work(ready):
                    self._work = None
                if self.loop.now >= until or not (ready or self._work is not None):
                    break
        except Exception as error:
            _report(error)
        finally:
            self._turning = False
        if self._work is not None:
            self._reactor.callLater(0, self.doRead)

    def connectionLost(self, reason: Failure) -> None:
        pass

    def logPrefix(self) -> str:
        return "gateway"


def _report(error: BaseException) -> None:
    log.failure("in the gateway's loop", Failure(error))
