"""The fleet's brake: set by failures that have one cause, off when they stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.supervisor.brake import AT_LEAST, SPACING, WINDOW, Brake, Turn

NOTHING = Turn((), released=False)


def names(count: int) -> list[str]:
    return [f"t{n}" for n in range(count)]


def braked(count: int = 10) -> tuple[Brake, set[str]]:
    brake, running = Brake(), set(names(count))
    for name in names(count):
        running.discard(name)
        brake.note(0.0, name, running)
    assert brake.on
    return brake, running


@pytest.mark.parametrize(
    ("of", "failing", "on"),
    [(4, 4, False), (5, 5, True), (24, 5, True), (25, 5, False), (100, 20, False), (100, 21, True)],
)
@pytest.mark.parametrize("still_running", [False, True])
def test_five_and_over_a_fifth_of_those_running(
    of: int, failing: int, on: bool, still_running: bool
) -> None:
    brake, running = Brake(), set(names(of))
    set_by = []
    for name in names(failing):
        if not still_running:
            running.discard(name)
        set_by.append(brake.note(1.0, name, running))
    assert brake.on is on
    assert set_by == [False] * (failing - 1) + [on]
    assert not brake.note(1.0, "t0", running), "it is set once"


def test_one_tenant_that_fails_often_is_one() -> None:
    brake = Brake()
    for now in range(50):
        brake.note(float(now), "t0", {"t0"})
    assert not brake.on


def test_failures_of_more_than_a_minute_ago_do_not_count() -> None:
    brake, running = Brake(), set(names(AT_LEAST))
    for name in names(AT_LEAST - 1):
        brake.note(0.0, name, running)
    brake.note(WINDOW, f"t{AT_LEAST - 1}", running)
    assert not brake.on


def test_while_it_is_off_all_go_through() -> None:
    brake = Brake()
    assert [brake.admit(name) for name in names(20)] == [True] * 20
    assert len(brake) == 0
    assert brake.turn(0.0, set()) == NOTHING


def test_while_it_is_on_one_goes_through_every_five_seconds_in_order() -> None:
    brake, running = braked()
    assert [brake.admit(name) for name in names(10)] == [False] * 10
    went: dict[float, tuple[str, ...]] = {}
    for now in range(int(5 * SPACING)):
        turn = brake.turn(float(now), running)
        assert not turn.released
        if turn.restart:
            went[float(now)] = turn.restart
    assert went == {SPACING * (n + 1): (f"t{n}",) for n in range(4)}


def test_who_need_not_restart_any_more_does_not_take_a_turn() -> None:
    brake, running = braked()
    brake.admit("t0")
    brake.admit("t1")
    brake.discard("t0")
    brake.discard("t0")
    assert brake.turn(SPACING, running).restart == ("t1",)


def test_when_the_failures_stop_all_go_through() -> None:
    brake, running = braked()
    for name in names(10):
        brake.admit(name)
    assert brake.turn(WINDOW - 0.1, running) == Turn(("t0",), released=False)
    assert brake.turn(WINDOW, running) == Turn(tuple(names(10)[1:]), released=True)
    assert not brake.on
    assert brake.admit("t0")


def test_while_they_go_on_failing_it_stays() -> None:
    brake, running = braked(50)
    waiting = names(50)
    for name in waiting:
        brake.admit(name)
    for now in range(1, 300):
        turn = brake.turn(float(now), running)
        assert not turn.released
        for name in turn.restart:
            brake.note(float(now), name, running)
            brake.admit(name)
    assert brake.on


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "admit", "turn"]), st.integers(0, 30), st.floats(0, 9)),
        max_size=150,
    )
)
def test_no_two_go_through_within_five_seconds_and_nobody_is_forgotten(
    steps: list[tuple[str, int, float]],
) -> None:
    brake, running, now = Brake(), set(names(31)), 0.0
    waiting: list[str] = []
    last = float("-inf")
    for what, number, gap in steps:
        now += gap
        name = f"t{number}"
        if what == "fail":
            if brake.note(now, name, running):
                last = now
        elif what == "admit":
            if not brake.admit(name) and name not in waiting:
                waiting.append(name)
        else:
            turn = brake.turn(now, running)
            if turn.released:
                assert list(turn.restart) == waiting
                waiting.clear()
            elif turn.restart:
                assert now - last >= SPACING
                last = now
                assert list(turn.restart) == waiting[:1]
                del waiting[0]
        assert len(brake) == len(waiting)
        assert brake.on or not waiting
