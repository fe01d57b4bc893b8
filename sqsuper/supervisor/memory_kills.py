"""Whether the system has just killed a process of ours for memory; the counting is pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IDelayedCall

# A kill and its process's end are seen within this time of each other.
WINDOW = 10.0
LOOK_INTERVAL = 5.0

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class Kills:
    """Tells by a counter that only grows: each count explains one process's end."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._explained = 0

    def note(self, now: float, count: int) -> None:
        """Take the counter's value. To be told every few seconds, and at once at an end."""
        self._seen.append((now, count))
        while len(self._seen) > 1 and self._seen[1][0] < now - WINDOW:
            self._seen.popleft()

    def explain(self) -> bool:
        """Return whether a count of late is not yet taken for another end, and take it."""
        if not self._seen:
            return False
        before, now = max(self._explained, self._seen[0][1]), self._seen[-1][1]
        if now <= before:
            return False
        self._explained = before + 1
        return True


def read_count(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return how many processes were killed for memory: in our cgroup, else in the system.

    None where neither is told.
    """
    places = [proc / "vmstat"]
    try:
        own = (proc / "self" / "cgroup").read_text("ascii").strip().rpartition(":")[2]
        places.insert(0, cgroups / own.lstrip("/") / "memory.events")
    except (OSError, ValueError):
        pass
    for place in places:
        try:
            found = _COUNT.search(place.read_text("ascii"))
        except (OSError, ValueError):
            continue
        if found is not None:
            return int(found.group(1))
    return None


class MemoryKills:
    """Asks the system."""

    def __init__(self, read: Callable[[], int | None] = read_count) -> None:
        self._read = read
        self._kills = Kills()
        self._call: IDelayedCall | None = None

    def watch(self, reactor: Any) -> None:
        """Look now, and every few seconds until `stop`."""
        self.look(reactor.seconds())
        self._call = reactor.callLater(LOOK_INTERVAL, self.watch, reactor)

    def stop(self) -> None:
        """Look no more. Idempotent."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def look(self, now: float) -> None:
        """See how many there were. To be called every few seconds."""
        count = self._read()
        if count is not None:
            self._kills.note(now, count)

    def explain(self, now: float) -> bool:
        """Return whether an end by KILL that is noticed now is probably one for memory."""
        self.look(now)
        return self._kills.explain()
