"""A loop that knows how long its turns take: as long others have to wait."""

from __future__ import annotations

from sqsuper.sockets import Loop


class TimedLoop(Loop):
    """A `Loop` that remembers its longest turn, the wait for events aside."""

    longest = 0.0

    def turn(self, timeout: float | None = 0.0) -> int:
        """See `Loop.turn`."""
        events = super().turn(timeout)
        took = self._clock() - self.now
        self.longest = max(self.longest, took)
        return events

    def take_longest(self) -> float:
        """Return the longest turn, in seconds, since the last call; the present one aside."""
        longest, self.longest = self.longest, 0.0
        return longest
