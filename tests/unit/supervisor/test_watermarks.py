"""Limits: when to warn, when to end an instance."""

from __future__ import annotations

import pytest

from sqsuper.config.model import GIB, KIB, MIB, Limits
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.watermarks import GROWTH_REPEAT, Watermarks, duration, near, size

LIMITS = Limits(memory_soft=GIB, memory_hard=2 * GIB, threads=64)
NONE = Limits(memory_soft=None, memory_hard=None, threads=None)


def test_over_the_hard_limit_it_is_to_be_ended() -> None:
    marks = Watermarks()
    finding = marks.memory(LIMITS, int(2.1 * GIB))
    assert finding is not None
    assert finding.text == "memory 2.1 GiB over memory_hard 2 GiB"
    assert finding.fatal is Cause.MEMORY
    assert finding.facts == {"memory": int(2.1 * GIB), "limit": 2 * GIB}
    at_the_limit = Watermarks().memory(LIMITS, 2 * GIB)
    assert at_the_limit is None or at_the_limit.fatal is None


def test_the_soft_limit_warns_once_until_it_was_well_below() -> None:
    marks = Watermarks()
    warned = [
        marks.memory(LIMITS, int(part * GIB)) is not None
        for part in (0.5, 1.01, 1.2, 0.95, 1.3, 0.89, 1.1, 1.1)
    ]
    assert warned == [False, True, False, False, False, False, True, False]
    finding = Watermarks().memory(LIMITS, 1100 * MIB)
    assert finding is not None
    assert (finding.cause, finding.fatal) == ("memory_soft", None)


def test_threads() -> None:
    marks = Watermarks()
    assert marks.threads(LIMITS, 64) is None
    finding = marks.threads(LIMITS, 65)
    assert finding is not None
    assert finding.fatal is Cause.THREADS
    assert finding.text == "65 threads over threads 64"


def test_no_limit_no_finding() -> None:
    marks = Watermarks()
    assert marks.memory(NONE, 2**60) is None
    assert marks.threads(NONE, 10**6) is None
    assert marks.quota(None, 2**60) is None
    assert not near(NONE, 2**60)
    grows = [n * MIB for n in range(100)]
    assert marks.growth(NONE, 0.0, [n * 60.0 for n in range(100)], grows) is None


def test_near_a_limit() -> None:
    assert near(LIMITS, int(0.8 * GIB) + 1)
    assert not near(LIMITS, int(0.8 * GIB) - 1)
    assert near(Limits(memory_hard=GIB), int(0.9 * GIB))


def test_growth_is_told_once_in_some_hours() -> None:
    marks = Watermarks()
    at = [n * 60.0 for n in range(100)]
    memory = [(700 + n) * MIB for n in range(100)]
    first = marks.growth(LIMITS, 6000.0, at, memory)
    assert first is not None
    assert first.fatal is None
    assert "60 MiB an hour" in first.text
    assert "in about 21 h" in first.text
    assert marks.growth(LIMITS, 6000.0 + GROWTH_REPEAT - 1, at, memory) is None
    assert marks.growth(LIMITS, 6000.0 + GROWTH_REPEAT, at, memory) is not None


def test_the_quota_warns_at_nine_tenths() -> None:
    marks = Watermarks()
    quota = 1000 * MIB
    warned = [
        marks.quota(quota, part * MIB) is not None for part in (899, 900, 950, 899, 900, 800, 901)
    ]
    assert warned == [False, True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (1000 * MIB, "1000 MiB"),
        (2 * GIB, "2 GiB"),
        (int(2.1 * GIB), "2.1 GiB"),
        (2 * GIB + 20 * MIB, "2.02 GiB"),
        (int(37.26 * GIB), "37.3 GiB"),
        (2**60, "1.04858e+06 TiB"),
    ],
)
def test_sizes(octets: int, text: str) -> None:
    assert size(octets) == text


def test_durations() -> None:
    assert [duration(s) for s in (1, 600, 5399, 5400, 18_000)] == [
        "1 min",
        "10 min",
        "90 min",
        "2 h",
        "5 h",
    ]
