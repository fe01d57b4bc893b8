"""Whether memory grows so steadily that it will reach a limit; no I/O."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

HORIZON = 86_400.0
LEAST_SECONDS = 1800.0
LEAST_SAMPLES = 20
# So many points give a slope: the number of pairs is its square.
POINTS = 48
# The least memory of each of so many parts of the time must grow, too.
PARTS = 6


@attrs.frozen
class Forecast:
    """Memory grows by `rate` bytes a second and reaches the limit in `seconds`."""

    rate: float
    seconds: float


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Return the median of the slopes of all pairs (Theil and Sen), 0 for fewer than two times.

    Up to 29 % of the values may be anything without moving it much.
    """
    slopes = [
        (values[later] - values[first]) / (at[later] - at[first])
        for first in range(len(at))
        for later in range(first + 1, len(at))
        if at[later] != at[first]
    ]
    return statistics.median(slopes) if slopes else 0.0


def forecast(at: Sequence[float], memory: Sequence[int], limit: int) -> Forecast | None:
    """Return when `memory`, in bytes at `at` in seconds, will reach `limit`.

    None unless it grew for half an hour at least, all the time, and reaches the limit within a
    day. The slowest counts of the slopes of all of it, of each half, and of its low points: what
    grew and has settled is no alarm, nor what rises to fall again.
    """
    if len(at) < LEAST_SAMPLES or at[-1] - at[0] < LEAST_SECONDS:
        return None
    times, sizes = _thin(at, memory)
    half = len(times) // 2
    rate = min(
        slope(times, sizes),
        slope(times[:half], sizes[:half]),
        slope(times[half:], sizes[half:]),
        _floor_slope(at, memory),
    )
    if rate <= 0:
        return None
    # From where it is by and large, not from its last outlier.
    now = statistics.median(sizes[-3:])
    seconds = max(0.0, limit - now) / rate
    return Forecast(rate, seconds) if seconds <= HORIZON else None


def _floor_slope(at: Sequence[float], memory: Sequence[int]) -> float:
    size = -(-len(at) // PARTS)
    starts = range(0, len(at), size)
    floors = [min(memory[start : start + size]) for start in starts]
    return slope([at[start] for start in starts], floors)


def _thin(at: Sequence[float], values: Sequence[int]) -> tuple[list[float], list[float]]:
    """Return at most `POINTS` medians of neighbours."""
    size = -(-len(at) // POINTS)
    starts = range(0, len(at), size)
    return (
        [statistics.median(at[start : start + size]) for start in starts],
        [statistics.median(values[start : start + size]) for start in starts],
    )
