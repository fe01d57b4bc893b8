"""How often an address may guess a token."""

from __future__ import annotations

DEFAULT_PER_MINUTE = 20
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000


class Guesses:
    """Unknown tokens of the last minute, by address; `limit` of them are allowed.

    At most 10,000 addresses are remembered: the one that guessed longest ago goes first.
    """

    __slots__ = ("_limit", "_times")

    def __init__(self, limit: int = DEFAULT_PER_MINUTE) -> None:
        self._limit = limit
        self._times: dict[str, list[float]] = {}

    def allow(self, limit: int) -> None:
        """Allow so many from now on."""
        self._limit = limit

    def wrong(self, address: str, now: float) -> int | None:
        """Count one at `now` (seconds). Return None, or, past the limit, whole seconds to wait."""
        times = [time for time in self._times.pop(address, ()) if time > now - WINDOW_SECONDS]
        wait = None
        if len(times) < self._limit:
            times.append(now)
        else:
            since = times[0] if times else now
            wait = max(1, int(since + WINDOW_SECONDS - now) + 1)
        self._times[address] = times
        if len(self._times) > MAX_ADDRESSES:
            del self._times[next(iter(self._times))]
        return wait
