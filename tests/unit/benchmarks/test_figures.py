"""The arithmetic under the benchmarks' tables."""

from __future__ import annotations

import pytest

from benchmarks.figures import at_least, at_most, percentile, ratio, under


@pytest.mark.parametrize(
    ("share", "expected"), [(0.001, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.991, 100), (1, 100)]
)
def test_a_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_one_value_is_every_percentile() -> None:
    assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.01)])
def test_no_percentile_of_nothing_or_beyond_all(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="of"):
        percentile(values, share)


def test_a_ratio_is_the_median_of_the_rounds_not_of_the_sides() -> None:
    # The machine was three times as fast in the last round: it does not count.
    assert ratio([20, 22, 90], [10, 10, 30]) == 2.2


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_must_be_pairs(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rounds|zip"):
        ratio(ours, theirs)


def test_goals_at_and_beside_their_bounds() -> None:
    assert at_least(2.5).met(2.5)
    assert not at_least(2.5).met(2.499)
    assert at_most(0.5).met(0.5)
    assert not at_most(0.5).met(0.501)
    assert under(4).met(3.999)
    assert not under(4).met(4)


def test_stretch_goals() -> None:
    goal = at_least(2.5, 3.3)
    assert not goal.stretched(3.2)
    assert goal.stretched(3.3)
    assert not at_least(2.5).stretched(99)


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (at_least(2.5, 3.3), "at least 2.5 (stretch 3.3)"),
        (at_most(100, " ms"), "at most 100 ms"),
        (under(2, " KB"), "under 2 KB"),
    ],
)
def test_goals_in_words(goal: object, text: str) -> None:
    assert str(goal) == text
