"""The last ten minutes of a tenant's memory and threads, in as few numbers as a line needs."""

from __future__ import annotations

from collections.abc import Sequence

from sqsuper.supervisor.samples import RECENT_SECONDS, Series

STEP = 15.0
STEPS = int(RECENT_SECONDS / STEP)
KIB = 1024


def spark_of(series: Series, now: float) -> tuple[list[int | None], list[int | None]]:
    """Return memory in KiB and threads, oldest first, `now` in the last; None: not measured.

    Each of the `STEPS` numbers is the most of its `STEP` seconds; `now` is in those of `series`.
    """
    places = [STEPS - 1 - int((now - at) // STEP) for at in series.at]
    memory = _most(places, [size // KIB for size in series.memory])
    return memory, _most(places, series.threads)


def _most(places: Sequence[int], values: Sequence[int]) -> list[int | None]:
    most: list[int | None] = [None] * STEPS
    for place, value in zip(places, values, strict=True):
        if 0 <= place < STEPS:
            known = most[place]
            if known is None or value > known:
                most[place] = value
    return most
