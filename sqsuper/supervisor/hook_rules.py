"""Which events the operator's program is run for, and how many at a time; no I/O."""

from __future__ import annotations

from collections import OrderedDict, deque

from sqsuper.supervisor.events import Event, Kind

TOLD = frozenset(
    {
        Kind.UNHEALTHY,
        Kind.RESTARTED,
        Kind.FAILED,
        Kind.LIMIT,
        Kind.QUOTA,
        Kind.FLEET,
        Kind.BACKUP,
    }
)
QUIET_SECONDS = 300.0
AT_A_TIME = 4
MAX_QUEUE = 64
MAX_REMEMBERED = 10_000

Key = tuple[str | None, Kind, str]


class Rules:
    """Takes events, gives those to run for, one after another.

    An event of `TOLD` is run for unless one of its kind, cause and tenant was, less than
    `QUIET_SECONDS` ago; `AT_A_TIME` at a time, while `MAX_QUEUE` more may wait.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """How many events were lost because too many waited."""
        self._told: OrderedDict[Key, float] = OrderedDict()
        self._waiting: deque[Event] = deque()
        self._under_way = 0

    def take(self, event: Event, now: float) -> bool:
        """Let `event` wait for its turn; return whether it does. `now`: monotonic seconds."""
        if event.kind not in TOLD:
            return False
        key = (event.tenant, event.kind, event.cause)
        self._forget(now)
        if key in self._told:
            return False
        if len(self._waiting) >= MAX_QUEUE:
            # Not remembered: should it come again, it is not a repetition.
            self.dropped += 1
            return False
        self._told[key] = now
        self._waiting.append(event)
        return True

    def next(self) -> Event | None:
        """Return the next event to run for now, which counts as under way, or None."""
        if not self._waiting or self._under_way >= AT_A_TIME:
            return None
        self._under_way += 1
        return self._waiting.popleft()

    def done(self) -> None:
        """One that was under way has ended."""
        self._under_way -= 1

    def clear(self) -> None:
        """Nothing that waits is run for any more."""
        self._waiting.clear()

    def _forget(self, now: float) -> None:
        while self._told:
            key, at = next(iter(self._told.items()))
            if now - at < QUIET_SECONDS and len(self._told) <= MAX_REMEMBERED:
                return
            del self._told[key]
