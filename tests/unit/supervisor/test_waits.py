"""Waiting requests."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.waits import Waits
from tests.unit.supervisor.support import logged

LATE = Unavailable("starting", "late", 1)
THERE = Upstream("alice", 1, "k", path="/s")

Results = list[tuple[str, Upstream | Unavailable]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waits(clock: Clock) -> Waits:
    return Waits(clock, 10.0, lambda: LATE)


def test_each_gets_its_outcome_once(waits: Waits, clock: Clock) -> None:
    got: Results = []
    one = waits.add(lambda result: got.append(("one", result)))
    waits.add(lambda result: got.append(("two", result)))
    waits.deliver(THERE)
    waits.deliver(LATE)
    one.cancel()
    assert got == [("one", THERE), ("two", THERE)]
    assert clock.getDelayedCalls() == []


def test_each_waits_its_own_time(waits: Waits, clock: Clock) -> None:
    got: Results = []
    waits.add(lambda result: got.append(("one", result)))
    clock.advance(4)
    waits.add(lambda result: got.append(("two", result)))
    clock.advance(5.9)
    assert got == []
    clock.advance(0.1)
    assert got == [("one", LATE)]
    clock.advance(4)
    assert got == [("one", LATE), ("two", LATE)]
    assert clock.getDelayedCalls() == []


def test_a_cancelled_one_hears_nothing(waits: Waits, clock: Clock) -> None:
    got: Results = []
    one = waits.add(lambda result: got.append(("one", result)))
    waits.add(lambda result: got.append(("two", result)))
    one.cancel()
    one.cancel()
    clock.advance(10)
    assert got == [("two", LATE)]
    waits.add(lambda result: got.append(("three", result))).cancel()
    assert clock.getDelayedCalls() == []
    assert len(waits) == 0


def test_who_comes_during_a_delivery_waits_anew(waits: Waits) -> None:
    got: Results = []

    def again(result: Upstream | Unavailable) -> None:
        got.append(("first", result))
        waits.add(lambda later: got.append(("again", later)))

    waits.add(again)
    waits.deliver(THERE)
    assert got == [("first", THERE)]
    assert len(waits) == 1


def test_one_that_fails_does_not_take_the_others_outcome(waits: Waits) -> None:
    got: Results = []

    def fails(_: Upstream | Unavailable) -> None:
        raise RuntimeError("defect")

    waits.add(fails)
    waits.add(lambda result: got.append(("two", result)))
    with logged() as events:
        waits.deliver(THERE)
    assert got == [("two", THERE)]
    assert len(events) == 1
