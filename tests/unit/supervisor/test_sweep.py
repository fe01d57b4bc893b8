"""One timer for many looks."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.task import Clock

from sqsuper.supervisor.sweep import AFTER_A_DEFECT, GRID, Sweep
from tests.unit.supervisor.support import logged


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1000.0)
    return clock


def test_each_comes_when_it_is_due_and_again(clock: Clock) -> None:
    sweep = Sweep(clock)
    seen: list[tuple[str, float]] = []

    def look(name: str, pause: float) -> None:
        def looked(now: float) -> float:
            seen.append((name, now))
            return now + pause

        sweep.add(clock.seconds() + pause, looked)

    look("a", 1.0)
    look("b", 2.5)
    clock.pump([0.01] * 501)
    for name, pause in (("a", 1.0), ("b", 2.5)):
        times = [at for which, at in seen if which == name]
        assert len(times) in (int(5 / pause), int(5 / pause) - 1)
        before = 1000.0
        for at in times:
            assert pause <= at - before + 1e-9 <= pause + GRID + 0.02
            before = at


def test_there_is_one_timer_and_none_without_work(clock: Clock) -> None:
    sweep = Sweep(clock)
    assert clock.getDelayedCalls() == []
    entries = [sweep.add(1000.0 + n / 7, lambda now: now + 1) for n in range(50)]
    assert len(clock.getDelayedCalls()) == 1
    clock.pump([0.1] * 30)
    assert len(clock.getDelayedCalls()) == 1
    for entry in entries:
        entry.cancel()
    clock.pump([1.0] * 8)
    assert clock.getDelayedCalls() == []


def test_what_is_due_together_is_looked_at_together(clock: Clock) -> None:
    sweep = Sweep(clock)
    at: list[float] = []
    for n in range(100):
        sweep.add(1001.0 + n / 2000, at.append)
    clock.pump([0.001] * 1600)
    assert len(at) == 100
    assert len(set(at)) <= 3


def test_short_intervals_are_kept_well(clock: Clock) -> None:
    sweep = Sweep(clock)
    sweep.refine(0.2)
    sweep.refine(60.0)
    at: list[float] = []

    def look(now: float) -> float:
        at.append(now)
        return now + 0.2

    sweep.add(1000.2, look)
    clock.pump([0.001] * 2000)
    assert len(at) >= 9
    assert sweep.grid == pytest.approx(0.01)


def test_cancelled_from_inside_and_added_from_inside(clock: Clock) -> None:
    sweep = Sweep(clock)
    seen: list[str] = []

    def first(now: float) -> float:
        seen.append("first")
        second.cancel()
        one.cancel()
        sweep.add(now, lambda _: seen.append("third"))
        return now + 1

    one = sweep.add(1001.0, first)
    second = sweep.add(1001.0, lambda _: seen.append("second"))
    clock.pump([0.5] * 10)
    assert seen == ["first", "third"]


def test_a_defect_ends_nobody_elses_looks(clock: Clock) -> None:
    sweep = Sweep(clock)
    seen: list[float] = []

    def broken(now: float) -> float:
        seen.append(now)
        raise ValueError("a defect")

    sweep.add(1001.0, broken)
    good: list[float] = []
    sweep.add(1001.0, good.append)
    with logged() as lines:
        clock.pump([0.5] * int(2 * AFTER_A_DEFECT + 6))
    assert len(good) == 1
    assert len(seen) == 2
    assert sum("a look at an instance failed" in line for line in lines) == 2


def test_it_knows_how_late_it_is(clock: Clock) -> None:
    sweep = Sweep(clock)
    late: list[float] = []
    sweep.add(1001.0, lambda _: late.append(sweep.late))
    clock.advance(1.0)
    sweep.add(1002.0, lambda _: late.append(sweep.late))
    clock.advance(4.0)
    assert late == [0.0, 3.0]


def test_stopped_from_inside_nothing_comes_again(clock: Clock) -> None:
    sweep = Sweep(clock)
    seen: list[float] = []

    def look(now: float) -> float:
        seen.append(now)
        sweep.stop()
        return now + 1

    sweep.add(1001.0, look)
    clock.pump([1.0] * 5)
    assert seen == [1001.0]
    assert clock.getDelayedCalls() == []


def test_what_follows_comes_after_all_looks(clock: Clock) -> None:
    sweep = Sweep(clock)
    seen: list[str] = []

    def broken() -> None:
        seen.append("broken")
        raise ValueError("a defect")

    def look(name: str, *follow: str) -> None:
        def looked(_: float) -> None:
            seen.append(name)
            for one in follow:
                sweep.afterwards(broken if one == "broken" else partial(seen.append, one))

        sweep.add(1001.0, looked)

    look("a", "broken", "after a")
    look("b", "after b")
    with logged() as lines:
        clock.advance(1.0)
    assert seen == ["a", "b", "broken", "after a", "after b"]
    assert sum("what follows a look at an instance failed" in line for line in lines) == 1
    sweep.afterwards(lambda: seen.append("at once"))
    assert seen[-1] == "at once"
