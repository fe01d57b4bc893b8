"""A client's connection as a stream: what was sent and taken of it, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from sqsuper.gateway.limits import Limits
from sqsuper.gateway.wire import Wire
from sqsuper.http1 import answers


class Phase(Enum):
    """A connection's states, in their order; each may be left out but the last."""

    OPEN = auto()
    LINGERING = auto()  # our direction is ended; what comes is read and thrown away
    CLOSING = auto()
    LOST = auto()


# An enum's members are slow to find through their class.
OPEN, LINGERING, CLOSING, LOST = Phase


class ClientStream:
    """See the module's text. Who makes requests of it is `ClientConnection`."""

    __slots__ = (
        "_congested",
        "_ended",
        "_linger_left",
        "_linger_until",
        "_paused",
        "_phase",
        "_seconds",
        "_sent",
        "_taken",
        "_taken_at",
        "timing",
        "wire",
    )

    def __init__(self, wire: Wire, timing: Limits, seconds: Callable[[], float]) -> None:
        self.wire = wire
        self.timing = timing
        self._seconds = seconds
        self._phase = OPEN
        self._congested = False
        self._sent = 0
        self._taken = 0
        self._taken_at = seconds()
        self._linger_until: float | None = None
        self._linger_left = answers.LINGER_BYTES
        self._paused = False
        self._ended = False

    def send(self, data: bytes) -> bool:
        if self._phase is not OPEN:
            return True
        if self._sent == self._taken:
            self._taken_at = self._seconds()
        self._sent += len(data)
        more = self.wire.send(data)
        self._congested = not more
        return more

    def _send_last(self, data: bytes) -> None:
        """Send, and end our direction behind it, where nothing that came is left unread."""
        if self._phase is not OPEN:
            return
        if self._sent == self._taken:
            self._taken_at = self._seconds()
        self._sent += len(data)
        self._phase = LINGERING
        self.wire.send_last(data)

    def pause(self) -> None:
        if not self._paused and self._phase is OPEN:
            self._paused = True
            self.wire.pause()

    def resume(self) -> None:
        if self._paused and self._phase in (OPEN, LINGERING):
            self._paused = False
            self.wire.resume()

    def abort(self) -> None:
        if self._phase is not LOST:
            self._phase = CLOSING
            self.wire.abort()

    def close(self) -> None:
        """Close once all that was sent has left."""
        if self._phase in (OPEN, LINGERING):
            self._phase = CLOSING
            self.wire.close()

    def give_up(self) -> None:
        """Wait for the client no longer; a reset tells it of what it will not get any more."""
        if self.wire.pending:
            self.abort()
        else:
            self.close()

    def _finish(self, unread: int) -> None:
        """Half-close, then read on for a while, or a reset could overtake the answer.

        `unread`: how many bytes were read and are thrown away now.
        """
        if self._phase is not OPEN:
            return
        if self._ended:
            self.close()
            return
        # The time to read on begins when all was sent (`drained`).
        self._phase = LINGERING
        self._linger_left -= unread
        self.wire.finish()
        self.resume()

    def _throw_away(self, count: int) -> None:
        """Learn that bytes came while it lingers."""
        self._linger_left -= count
        if self._linger_left < 0:
            self.close()

    def _left(self) -> None:
        """Learn that all has left that was sent, and our end, while it lingers."""
        self._linger_until = self._seconds() + answers.LINGER_SECONDS

    def _is_over(self, now: float) -> bool:
        """End a connection that takes nothing, or lingered long enough; whether it is not open."""
        if self._sent != self._taken and self._takes_nothing(now):
            self.abort()
        elif self._phase is LINGERING:
            until = self._linger_until
            if until is not None and now > until:
                self.close()
        return self._phase is not OPEN

    def _takes_nothing(self, now: float) -> bool:
        """Whether bytes have waited, and none was taken, for `send_timeout`."""
        taken = self._sent - self.wire.untaken()
        if taken == self._taken:
            return now - self._taken_at > self.timing.send_timeout
        self._taken = taken
        self._taken_at = now
        return False
