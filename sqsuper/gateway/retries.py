"""When to connect again. No byte of a request was sent yet, so another attempt is safe."""

from __future__ import annotations

DELAYS = (0.025, 0.05, 0.1)
WINDOW = 1.0
BUSY_DELAY = 0.02


class Retries:
    """The attempts of one request; times are seconds of any one monotonic clock."""

    __slots__ = ("_attempts", "_busy_since", "_epoch", "_since")

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._since = 0.0
        self._attempts = 0
        self._busy_since: float | None = None

    def refused(self, epoch: int, now: float) -> float | None:
        """Return seconds to wait after a refused connection, or None to give up.

        25, 50, then 100 ms, for at most 1 s in all; a new epoch has a second of its own.
        """
        if epoch != self._epoch:
            self._epoch, self._since, self._attempts = epoch, now, 0
        delay = DELAYS[min(self._attempts, len(DELAYS) - 1)]
        self._attempts += 1
        return delay if now + delay - self._since <= WINDOW else None

    def busy(self, now: float, limit: float) -> float | None:
        """Return seconds to wait while the instance's backlog is full; None after `limit`."""
        if self._busy_since is None:
            self._busy_since = now
        return BUSY_DELAY if now - self._busy_since < limit else None
