"""What was measured of a tenant's instance, kept for charts: compact, and bounded."""

from __future__ import annotations

from array import array

import attrs

MINUTE = 60.0
RECENT_SECONDS = 600.0
MAX_RECENT = 1200
MAX_MINUTES = 24 * 60

_KIB = 1024
_MOST = 2**32 - 1


@attrs.frozen(eq=False)
class Series:
    """Samples, oldest first: when (the reactor's seconds), and what.

    `memory` in bytes, `cpu` in cores (1.0: one core is kept busy).
    """

    at: array[float]
    memory: array[int]
    threads: array[int]
    cpu: array[float]

    def __len__(self) -> int:
        return len(self.at)


class Ring:
    """The last `capacity` samples, at 20 bytes each; there is no memory for those to come."""

    __slots__ = ("_at", "_capacity", "_cpu", "_memory", "_next", "_threads")

    def __init__(self, capacity: int) -> None:
        self._capacity = max(1, capacity)
        self._next = 0
        self._at = array("d")
        self._memory = array("I")
        self._threads = array("I")
        self._cpu = array("f")

    def __len__(self) -> int:
        return len(self._at)

    def add(self, at: float, memory: int, threads: int, cpu: float) -> None:
        """Keep one more, in place of the oldest when there are too many."""
        size = min(_MOST, memory // _KIB)
        threads = min(_MOST, threads)
        if len(self._at) < self._capacity:
            self._at.append(at)
            self._memory.append(size)
            self._threads.append(threads)
            self._cpu.append(cpu)
            return
        oldest = self._next
        self._at[oldest] = at
        self._memory[oldest] = size
        self._threads[oldest] = threads
        self._cpu[oldest] = cpu
        self._next = (oldest + 1) % self._capacity

    def newest(self) -> tuple[int, float] | None:
        """Return threads and cpu of the newest sample; None without any."""
        if not self._at:
            return None
        return self._threads[self._next - 1], self._cpu[self._next - 1]

    def series(self, since: float = float("-inf")) -> Series:
        """Return what is kept, as a copy, of what was measured at or after `since`."""
        split = self._next
        at = self._at[split:] + self._at[:split]
        memory = self._memory[split:] + self._memory[:split]
        threads = self._threads[split:] + self._threads[:split]
        cpu = self._cpu[split:] + self._cpu[:split]
        first = next((n for n, when in enumerate(at) if when >= since), len(at))
        return Series(
            at[first:],
            array("Q", (size * _KIB for size in memory[first:])),
            threads[first:],
            cpu[first:],
        )


class History:
    """Ten minutes of samples as they came, and a day of one a minute.

    A minute's sample holds the most memory and threads of it, and its mean of cpu.
    """

    __slots__ = ("_cpu", "_memory", "_minute", "_number", "_threads", "minutes", "recent")

    def __init__(self, interval: float) -> None:
        """`interval`: about how many seconds there are from one sample to the next."""
        self.recent = Ring(min(MAX_RECENT, round(RECENT_SECONDS / interval)))
        self.minutes = Ring(MAX_MINUTES)
        self._minute: float | None = None
        self._memory = 0
        self._threads = 0
        self._cpu = 0.0
        self._number = 0

    def add(self, at: float, memory: int, threads: int, cpu: float) -> bool:
        """Keep a sample; return whether a minute was completed by it."""
        self.recent.add(at, memory, threads, cpu)
        minute = at // MINUTE
        completed = self._minute is not None and minute != self._minute
        if completed:
            self.end()
        self._minute = minute
        self._memory = max(self._memory, memory)
        self._threads = max(self._threads, threads)
        self._cpu += cpu
        self._number += 1
        return completed

    def end(self) -> None:
        """There may be no more for a while: complete the minute."""
        if self._minute is not None:
            at = self._minute * MINUTE
            self.minutes.add(at, self._memory, self._threads, self._cpu / self._number)
        self._minute = None
        self._memory = self._threads = self._number = 0
        self._cpu = 0.0
