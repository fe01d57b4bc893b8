"""The queue of starts: bounded, requests first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sqsuper.supervisor.starts import StartQueue


def test_no_more_than_the_limit_at_a_time() -> None:
    queue = StartQueue(2)
    for name in "abc":
        queue.add(name, urgent=False)
    assert [queue.take(), queue.take(), queue.take()] == ["a", "b", None]
    queue.done("a")
    assert queue.take() == "c"
    assert queue.take() is None


def test_tenants_with_a_waiting_request_go_first() -> None:
    queue = StartQueue(9)
    for name in "abc":
        queue.add(name, urgent=False)
    queue.add("d", urgent=True)
    queue.promote("c")
    queue.promote("unknown")
    queue.add("d", urgent=False)
    assert [queue.take() for _ in range(5)] == ["d", "c", "a", "b", None]


@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from(["add", "want", "take", "done"]), st.sampled_from("abcdefgh")),
        max_size=80,
    ),
)
def test_whoever_has_a_request_waiting_never_waits_for_others_without(
    limit: int, steps: list[tuple[str, str]]
) -> None:
    queue = StartQueue(limit)
    urgent: list[str] = []
    patient: list[str] = []
    under_way: list[str] = []
    for step, name in steps:
        if step == "add" and name not in [*urgent, *patient, *under_way]:
            queue.add(name, urgent=False)
            patient.append(name)
        elif step == "want" and name in patient:
            queue.promote(name)
            patient.remove(name)
            urgent.append(name)
        elif step == "take":
            taken = queue.take()
            if len(under_way) == limit or not urgent + patient:
                assert taken is None
            else:
                # In the order in which they came, and nobody is left out.
                assert taken == (urgent or patient).pop(0)
                under_way.append(taken)
        elif step == "done" and under_way:
            queue.done(under_way.pop(0))
        assert queue.waiting() == [*urgent, *patient]
        assert len(queue) == len(urgent) + len(patient)


def test_one_that_is_no_longer_wanted_is_not_started() -> None:
    queue = StartQueue(1)
    queue.add("a", urgent=True)
    queue.add("b", urgent=False)
    queue.done("a")
    queue.done("a")
    assert len(queue) == 1
    assert queue.take() == "b"


def test_there_is_always_room_for_one() -> None:
    queue = StartQueue(0)
    queue.add("a", urgent=False)
    assert queue.take() == "a"
