"""The rings of samples, and what growth they show."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.config.model import GIB, MIB
from sqsuper.supervisor.growth import forecast, slope
from sqsuper.supervisor.samples import MAX_MINUTES, History, Ring, Series

HOUR = 3600.0


def rows(series: Series) -> list[tuple[Any, ...]]:
    return list(zip(series.at, series.memory, series.threads, series.cpu, strict=True))


@given(st.integers(1, 7), st.integers(0, 25))
def test_a_ring_keeps_the_last(capacity: int, count: int) -> None:
    ring = Ring(capacity)
    added = [(float(n), n * 1024, n + 1, n / 2) for n in range(count)]
    for row in added:
        ring.add(*row)
    assert rows(ring.series()) == added[-capacity:]
    assert rows(ring.series(3.0)) == [row for row in added[-capacity:] if row[0] >= 3.0]
    assert len(ring) == min(capacity, count)
    assert ring.newest() == (added[-1][2:] if added else None)


def test_what_is_too_large_is_kept_as_the_largest() -> None:
    ring = Ring(1)
    ring.add(1.0, 2**60, 2**40, 3.0)
    assert ring.series().memory[0] == (2**32 - 1) * 1024
    assert ring.series().threads[0] == 2**32 - 1


def test_ten_minutes_as_they_came_and_a_day_by_the_minute() -> None:
    history = History(5.0)
    for n in range(2 * 24 * 3600 // 5):
        history.add(n * 5.0, (n % 12) * MIB, n % 12, 0.5)
    recent, minutes = history.recent.series(), history.minutes.series()
    assert recent.at[-1] - recent.at[0] == 595.0
    assert len(minutes) == MAX_MINUTES
    assert minutes.at[-1] - minutes.at[0] == 24 * 3600 - 60
    assert set(minutes.memory) == {11 * MIB}
    assert set(minutes.threads) == {11}
    assert set(minutes.cpu) == {0.5}


def test_a_minute_that_is_cut_short_is_kept() -> None:
    history = History(5.0)
    assert not history.add(60.0, MIB, 1, 1.0)
    assert not history.add(65.0, MIB, 1, 0.0)
    history.end()
    history.end()
    assert rows(history.minutes.series()) == [(60.0, MIB, 1, 0.5)]
    assert not history.add(70.0, MIB, 1, 1.0)
    assert history.add(120.0, MIB, 1, 1.0)


def test_the_slope_is_not_moved_by_outliers() -> None:
    at = [float(n) for n in range(40)]
    values = [3.0 * n + 7 for n in range(40)]
    for n in random.Random(1).sample(range(40), 10):
        values[n] = 1e9
    assert slope(at, values) == pytest.approx(3.0, rel=0.2)
    assert slope([1.0], [1.0]) == 0.0
    assert slope([1.0, 1.0], [1.0, 2.0]) == 0.0


def minutes_of(count: int) -> list[float]:
    return [60.0 * n for n in range(count)]


def test_steady_growth_is_forecast() -> None:
    noise = random.Random(2)
    at = minutes_of(120)
    memory = [500 * MIB + n * MIB + noise.randrange(20 * MIB) for n in range(120)]
    found = forecast(at, memory, 1200 * MIB)
    assert found is not None
    assert found.rate * 60 == pytest.approx(MIB, rel=0.25)
    assert found.seconds == pytest.approx((1200 - 630) * 60, rel=0.35)


@pytest.mark.parametrize(
    "memory",
    [
        [500 * MIB] * 120,
        [(500 + min(n, 60) * 10) * MIB for n in range(120)],
        [(500 + (n > 60) * 900) * MIB for n in range(120)],
        [(1500 - n) * MIB for n in range(120)],
        [500 * MIB + n * 10_000 for n in range(120)],
        [500 * MIB + (n % 20) * 50 * MIB for n in range(120)],
    ],
    ids=["flat", "settled", "a step", "falling", "not within the day", "up and down"],
)
def test_what_is_no_growth_to_the_limit(memory: list[int]) -> None:
    assert forecast(minutes_of(120), memory, 2 * GIB) is None


def test_a_short_time_says_nothing() -> None:
    memory = [(500 + n) * MIB for n in range(29)]
    assert forecast(minutes_of(29), memory, GIB) is None
    assert forecast([], [], GIB) is None
    assert forecast([0.0, HOUR], [1, GIB - 1], GIB) is None


def test_a_whole_day_is_judged_by_few_points() -> None:
    memory = [100 * MIB + n * MIB // 4 for n in range(MAX_MINUTES)]
    found = forecast(minutes_of(MAX_MINUTES), memory, 600 * MIB)
    assert found is not None
    assert found.seconds == pytest.approx((600 - 460) * 240, rel=0.1)
