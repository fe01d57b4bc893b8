"""The queue of starts: bounded, requests first."""

from __future__ import annotations

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
