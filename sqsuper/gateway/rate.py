"""How many requests a second one tenant may make."""

from __future__ import annotations

import math
from typing import Protocol


class Bucket(Protocol):
    """How often one tenant may ask."""

    def take(self, now: float) -> int | None: ...


class TokenBucket:
    """`burst` requests at once, and `per_second` in the long run.

    No I/O; times are seconds of any one monotonic clock. A request that is turned away takes
    nothing, so one that waits as long as it was told is served unless others came before it.
    """

    __slots__ = ("_at", "_left", "burst", "per_second")

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        """Begin full. `per_second` is above 0, `burst` 1 or more."""
        self.per_second = per_second
        self.burst = burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> int | None:
        """Take one request; return None, or whole seconds (1 or more) until one is there."""
        if now > self._at:
            self._left = min(self.burst, self._left + (now - self._at) * self.per_second)
            self._at = now
        # Sums of floats fall short of a whole by so little.
        if self._left >= 1.0 - 1e-9:
            self._left = max(0.0, self._left - 1.0)
            return None
        return max(1, math.ceil((1.0 - self._left) / self.per_second - 1e-6))
