"""Waiting requests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.waits import Waits
from tests.unit.supervisor.support import logged

LATE = Unavailable("starting", "late", 1)
STARTING, OTHERWISE = 10.0, 4.0
THERE = Upstream("alice", 1, "k", path="/s")

Results = list[tuple[str, Upstream | Unavailable]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waits(clock: Clock) -> Waits:
    waits = Waits(clock, patience, lambda: LATE)
    waits.starting(True)
    return waits


def patience(starting: bool) -> float:
    return STARTING if starting else OTHERWISE


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


def test_while_it_is_not_starting_they_wait_otherwise(waits: Waits, clock: Clock) -> None:
    got: Results = []
    waits.starting(False)
    waits.add(lambda result: got.append(("one", result)))
    clock.advance(OTHERWISE - 0.1)
    assert got == []
    clock.advance(0.1)
    assert got == [("one", LATE)]
    assert clock.getDelayedCalls() == []


def test_a_start_that_begins_late_has_its_whole_time(waits: Waits, clock: Clock) -> None:
    got: Results = []
    waits.starting(False)
    waits.add(lambda result: got.append(("one", result)))
    clock.advance(3)
    waits.starting(True)
    clock.advance(2)
    waits.add(lambda result: got.append(("two", result)))
    clock.advance(STARTING - 2 - 0.1)
    assert got == []
    clock.advance(0.1)
    assert got == [("one", LATE)]
    # The second has come later, so it has two seconds of the start left.
    waits.starting(False)
    clock.advance(1)
    waits.starting(True)
    clock.advance(1.9)
    assert len(got) == 1
    clock.advance(0.1)
    assert got[1:] == [("two", LATE)]


def test_a_start_that_fails_again_and_again_ends_the_wait(waits: Waits, clock: Clock) -> None:
    got: Results = []
    waits.add(lambda result: got.append(("one", result)))
    for _ in range(3):
        waits.starting(True)
        clock.advance(0.5)
        waits.starting(False)
        clock.advance(1)
    assert got == []
    clock.advance(1)
    assert got == [("one", LATE)]


def test_without_time_the_end_comes_unless_it_starts_at_once(clock: Clock) -> None:
    waits = Waits(clock, lambda starting: STARTING if starting else 0.0, lambda: LATE)
    got: Results = []
    waits.add(lambda result: got.append(("one", result)))
    waits.starting(True)
    clock.advance(1)
    assert got == []
    waits.starting(False)
    clock.advance(0)
    assert got == [("one", LATE)]


def test_another_patience_holds_from_the_next_change(clock: Clock) -> None:
    seconds = [5.0]
    waits = Waits(clock, lambda _: seconds[0], lambda: LATE)
    got: Results = []
    waits.add(lambda result: got.append(("one", result)))
    seconds[0] = 7.0
    clock.advance(5)
    assert got == []
    clock.advance(2)
    assert got == [("one", LATE)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.just("wait"), st.just("start"), st.just("no start"), st.sampled_from([0.5, 1.0, 2.0])
        ),
        max_size=60,
    )
)
def test_nobody_spends_more_of_either_and_none_ends_before(steps: list[str | float]) -> None:
    clock = Clock()
    waits = Waits(clock, patience, lambda: LATE)
    starting = False
    spent: dict[int, dict[bool, float]] = {}
    ended: list[int] = []
    for number, step in enumerate(steps):
        if step == "wait":
            spent[number] = {True: 0.0, False: 0.0}
            waits.add(lambda _, number=number: ended.append(number))  # type: ignore[misc]
        elif isinstance(step, str):
            starting = step == "start"
            waits.starting(starting)
        else:
            before = set(ended)
            clock.advance(step)
            for each, seconds in spent.items():
                if each not in before:
                    seconds[starting] += step
    for number, seconds in spent.items():
        over = seconds[True] >= STARTING or seconds[False] >= OTHERWISE
        assert (number in ended) == over
    assert ended == sorted(ended)
    assert (len(clock.getDelayedCalls()) == 1) == (len(waits) > 0)
