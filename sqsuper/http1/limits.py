"""Arithmetic of time limits; time is an argument, in seconds of any one monotonic clock."""

from __future__ import annotations


class BodyPace:
    """Whether a request body comes fast enough.

    `pause`: longest pause; `rate`: bytes a second that must be averaged once `grace` seconds
    have passed. The clock stands still while the reader itself does not read.
    """

    __slots__ = ("_last", "_received", "_started", "_stopped", "grace", "pause", "rate")

    def __init__(self, now: float, *, pause: float, rate: float, grace: float) -> None:
        self.pause = pause
        self.rate = rate
        self.grace = grace
        self._started = self._last = now
        self._stopped: float | None = None
        self._received = 0

    def received(self, now: float, count: int) -> None:
        """Tell that `count` bytes came."""
        self._received += count
        self._last = now

    def stop(self, now: float) -> None:
        """Stop the clock: we do not read."""
        if self._stopped is None:
            self._stopped = now

    def go(self, now: float) -> None:
        """Let the clock go on: we read again."""
        if self._stopped is not None:
            self._started += now - self._stopped
            # Bytes may have come meanwhile, already read.
            self._last += now - max(self._last, self._stopped)
            self._stopped = None

    def overdue(self, now: float) -> bool:
        """Whether the sender is too slow."""
        if self._stopped is not None:
            return False
        elapsed = now - self._started
        return now - self._last > self.pause or (
            elapsed > self.grace and self._received < self.rate * elapsed
        )
