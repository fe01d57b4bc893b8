"""Readiness of descriptors, timers and the end of a turn: the loop that moves all bytes.

It runs by itself (`run`) or inside another loop: its own descriptor (`fileno`) is readable
when one of its descriptors is ready, and `turn(0)` then handles what there is.
"""

from __future__ import annotations

import heapq
import select
import sys
import time

from sqsuper.sockets.capabilities import HERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Handler(Protocol):
        """What is registered for a descriptor."""

        def readable(self) -> None:
            """Read: bytes, a connection to accept, or the end are there."""

        def writable(self) -> None:
            """Write: there is room again."""

        def hung_up(self) -> None:
            """End: the other side is gone while neither reading nor writing was asked for."""

    class Poll(Protocol):
        def register(self, fd: int, eventmask: int) -> None: ...
        def modify(self, fd: int, eventmask: int) -> None: ...
        def unregister(self, fd: int) -> None: ...
        def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...


MAX_EVENTS = 256

_epoll: Callable[[], Poll] | None = getattr(select, "epoll", None)

# The values of EPOLLIN, EPOLLOUT, EPOLLERR and EPOLLHUP, which `_Selectors` speaks too.
_IN, _OUT, _ERR, _HUP = 1, 4, 8, 16


class Timer:
    """One call in the future; `cancel` is idempotent and harmless once it was made.

    `period`: seconds to the next one like it, for `Loop.every`.
    """

    __slots__ = ("_call", "period", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.period: float | None = None
        self._call: Callable[[], None] | None = call

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    @property
    def pending(self) -> bool:
        """Whether the call is still to be made."""
        return self._call is not None

    def cancel(self) -> None:
        """Make no call."""
        self._call = None

    def fire(self) -> None:
        """Make the call, unless it was made or cancelled (for the loop alone)."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Loop:
    """One thread's descriptors, timers and turns.

    `epoll`: False forces the `selectors` fallback, None takes epoll where there is one.
    `clock`: monotonic seconds. `report`: called with an exception that a callback raised;
    the default writes its traceback to standard error. Such an exception ends nothing else.
    """

    def __init__(
        self,
        *,
        epoll: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[BaseException], None] | None = None,
    ) -> None:
        if epoll is None:
            epoll = HERE.epoll and _epoll is not None
        self._epoll = epoll
        self._poll: Poll = _epoll() if epoll and _epoll is not None else _Selectors()
        self._clock = clock
        self._report = _print_error if report is None else report
        self._handlers: dict[int, Handler] = {}
        self._fresh: set[int] = set()
        self._timers: list[Timer] = []
        self._ends: list[Callable[[], None]] = []
        self._running = False
        self.now = clock()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `turn(0)` has work (epoll only).

        Timers and `at_turn_end` calls do not make it readable: see `next_deadline`.
        Raises OSError when the fallback has no descriptor.
        """
        return self._poll.fileno()

    def register(
        self, fd: int, handler: Handler, *, reading: bool = True, writing: bool = False
    ) -> None:
        """Dispatch readiness of `fd` to `handler`. One handler a descriptor."""
        self._poll.register(fd, (_IN if reading else 0) | (_OUT if writing else 0))
        self._handlers[fd] = handler
        self._fresh.add(fd)

    def modify(self, fd: int, *, reading: bool, writing: bool) -> None:
        """Change what `fd` waits for."""
        self._poll.modify(fd, (_IN if reading else 0) | (_OUT if writing else 0))

    def unregister(self, fd: int) -> None:
        """Forget `fd`. To be called before it is closed; no event of it is dispatched after."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Do as `unregister` does, of one that is read and closed next: epoll needs no call then.

        Where a child was just forked and has a copy, events of it come until that is closed, too.
        They are of nobody, or make who has the number now read in vain.
        """
        if self._handlers.pop(fd, None) is not None and not self._epoll:
            self._poll.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call `call` once, `seconds` from now, or a little later."""
        timer = Timer(self._clock() + seconds, call)
        heapq.heappush(self._timers, timer)
        return timer

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` again and again: the one coarse sweep over many deadlines."""
        self.after(seconds, call).period = seconds

    def at_turn_end(self, call: Callable[[], None]) -> None:
        """Call `call` once, when all events of this turn were dispatched.

        Called outside a turn, it is made at the end of the next one, which does not wait.
        """
        self._ends.append(call)

    def next_deadline(self) -> float | None:
        """Return the clock's time of the next timer, or None. For a loop around this one."""
        timers = self._timers
        while timers and not timers[0].pending:
            heapq.heappop(timers)
        return timers[0].when if timers else None

    def turn(self, timeout: float | None = 0.0) -> int:
        """Wait at most `timeout` seconds (None: without end) and handle what is ready.

        At most 256 events, then the timers that are due, then the `at_turn_end` calls. Return
        how many events there were.
        """
        deadline = self.next_deadline()
        if self._ends:
            timeout = 0.0
        elif deadline is not None:
            left = max(0.0, deadline - self._clock())
            timeout = left if timeout is None else min(timeout, left)
        self._fresh.clear()
        events = self._poll.poll(-1 if timeout is None else timeout, MAX_EVENTS)
        self.now = self._clock()
        handlers = self._handlers
        fresh = self._fresh
        for fd, mask in events:
            handler = handlers.get(fd)
            # A descriptor that was closed and opened again in this turn: the event is of
            # the old one. What is still true is reported again in the next turn.
            if handler is None or fd in fresh:
                continue
            try:
                if mask & _IN:
                    handler.readable()
                if mask & _OUT and handlers.get(fd) is handler and fd not in fresh:
                    handler.writable()
                if not mask & (_IN | _OUT) and mask & (_ERR | _HUP):
                    handler.hung_up()
            except Exception as error:
                self._failed(fd, handler, error)
        self._fire_timers()
        while self._ends:
            ends, self._ends = self._ends, []
            for call in ends:
                self._guard(call)
        return len(events)

    def run(self) -> None:
        """Make turns until `stop`."""
        self._running = True
        while self._running:
            self.turn(None)

    def stop(self) -> None:
        """Let `run` return at the end of this turn."""
        self._running = False
        self.after(0.0, _nothing)

    def close(self) -> None:
        """Close the loop's own descriptor. Registered descriptors stay open."""
        self._handlers.clear()
        self._timers.clear()
        self._poll.close()

    def _fire_timers(self) -> None:
        timers = self._timers
        due = []
        while timers and timers[0].when <= self.now:
            due.append(heapq.heappop(timers))
        for timer in due:
            if timer.period is not None and timer._call is not None:
                self.every(timer.period, timer._call)
            self._guard(timer.fire)

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._report(error)

    def _failed(self, fd: int, handler: Handler, error: Exception) -> None:
        self._report(error)
        # The handler's state is unknown: it must not be called for this again and again.
        if self._handlers.get(fd) is handler:
            try:
                handler.hung_up()
            except Exception as second:
                self._report(second)
                if self._handlers.get(fd) is handler:
                    self.unregister(fd)


class _Selectors:
    """The standard library's best selector, speaking epoll's language."""

    def __init__(self) -> None:
        import selectors  # noqa: PLC0415  # only where there is no epoll

        # Not the default: that would be epoll where this one is forced.
        best = (
            getattr(selectors, "KqueueSelector", None)
            or getattr(selectors, "PollSelector", None)
            or selectors.SelectSelector
        )
        self._selector: selectors.BaseSelector = best()
        self._read = selectors.EVENT_READ
        self._write = selectors.EVENT_WRITE
        self._idle: set[int] = set()

    def _events(self, eventmask: int) -> int:
        return (self._read if eventmask & _IN else 0) | (self._write if eventmask & _OUT else 0)

    def register(self, fd: int, eventmask: int) -> None:
        events = self._events(eventmask)
        if events:
            self._selector.register(fd, events)
        else:
            self._idle.add(fd)

    def modify(self, fd: int, eventmask: int) -> None:
        if fd in self._idle:
            self._idle.discard(fd)
            self.register(fd, eventmask)
            return
        events = self._events(eventmask)
        if events:
            self._selector.modify(fd, events)
        else:
            self._selector.unregister(fd)
            self._idle.add(fd)

    def unregister(self, fd: int) -> None:
        if fd in self._idle:
            self._idle.discard(fd)
        else:
            self._selector.unregister(fd)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        # Poll counts in whole milliseconds and rounds up: nothing comes too early.
        ready = self._selector.select(None if timeout < 0 else timeout)
        return [
            (key.fd, (_IN if events & self._read else 0) | (_OUT if events & self._write else 0))
            for key, events in ready[:maxevents]
        ]

    def fileno(self) -> int:
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            raise OSError("this selector has no descriptor of its own")
        return int(fileno())

    def close(self) -> None:
        self._selector.close()


def _nothing() -> None:
    pass


def _print_error(error: BaseException) -> None:
    # The interpreter's own: the module for it costs start time and memory.
    sys.__excepthook__(type(error), error, error.__traceback__)
