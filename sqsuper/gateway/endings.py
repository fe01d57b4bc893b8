"""Slots of requests that are over for the client, and perhaps not for the instance.

A command engine such as `sq` has a thread for each connection. That thread outlives the answer
for a moment, and a client that went away altogether; a slot given on at once would let more
threads live than there are slots. The instance's end of the connection tells that the thread
is about to end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqsuper.gateway.upstream_connection import UpstreamConnection

# From the end of the connection to the end of its thread, on a loaded machine. It is for so many
# slots: of fewer, fewer threads end at a time, and the instance would have nothing to do.
AFTERWARDS = 0.005
_FOR_SLOTS = 32
# For the end of a connection, after a whole answer and while there is none.
AFTER_ANSWER = 0.1
WITHOUT_ANSWER = 5.0
# Of an answer that nobody reads; past it the connection is reset.
MAX_UNREAD = 65_536


class Ending:
    """What has the slot until the instance is done with one request. An `UpstreamUser`."""

    __slots__ = ("_endings", "_unread", "connection", "until")

    def __init__(self, endings: Endings, until: float) -> None:
        self.connection: UpstreamConnection | None = None
        self.until = until
        self._endings = endings
        self._unread = 0

    def answer_received(self, data: bytes) -> None:
        self._unread += len(data)
        if self._unread > MAX_UNREAD:
            self.cut()

    def upstream_drained(self) -> None:
        pass

    def upstream_ended(self) -> None:
        connection = self._let_go()
        if connection is not None:
            connection.user = None
            connection.wire.close()

    def upstream_lost(self) -> None:
        self._let_go()

    def crashed(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Wait for the end no longer: reset the connection."""
        connection = self._let_go()
        if connection is not None:
            connection.abort()

    def _let_go(self) -> UpstreamConnection | None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self._endings.ended(self)
        return connection


class Endings:
    """The endings of one pool. `leave` gives the slot back that an ending has.

    `later(delay, call)` calls once, and returns what cancels it. `slots`: how many there are.
    """

    __slots__ = ("_cancel", "_due", "_later", "_leave", "_seconds", "_under_way", "slots")

    def __init__(
        self,
        leave: Callable[[Ending], None],
        seconds: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._leave = leave
        self._seconds = seconds
        self._later = later
        self._under_way: set[Ending] = set()
        self._due: deque[tuple[float, Ending]] = deque()
        self._cancel: Callable[[], None] | None = None
        self.slots = _FOR_SLOTS

    def await_end(self, connection: UpstreamConnection, patience: float) -> Ending:
        """Return what has the slot until `connection` ended, or `patience` seconds are over."""
        ending = Ending(self, self._seconds() + patience)
        ending.connection = connection
        connection.user = ending
        self._under_way.add(ending)
        # Who would keep the connection learns that there is nothing more to come.
        connection.wire.finish()
        return ending

    def afterwards(self) -> Ending:
        """Return what has the slot for the moment after a connection was reset."""
        ending = Ending(self, 0.0)
        self.ended(ending)
        return ending

    def ended(self, ending: Ending) -> None:
        """Give the slot of `ending` back in a moment: its connection is gone."""
        self._under_way.discard(ending)
        wait = AFTERWARDS * min(1.0, self.slots / _FOR_SLOTS)
        self._due.append((self._seconds() + wait, ending))
        self._time()

    def sweep(self, now: float) -> None:
        """Reset the connections of which the end does not come."""
        for ending in [e for e in self._under_way if e.until <= now]:
            ending.cut()

    def close(self) -> None:
        """Reset all connections and give all slots back."""
        for ending in list(self._under_way):
            ending.cut()
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        while self._due:
            self._leave(self._due.popleft()[1])

    def _time(self) -> None:
        if self._cancel is None and self._due:
            wait = max(0.0, self._due[0][0] - self._seconds())
            self._cancel = self._later(wait, self._give_back)

    def _give_back(self) -> None:
        self._cancel = None
        now = self._seconds()
        try:
            while self._due and self._due[0][0] <= now:
                self._leave(self._due.popleft()[1])
        finally:
            self._time()
