"""The pace of a request body."""

from __future__ import annotations

import pytest

from sqsuper.http1.limits import BodyPace

START = 1000.0


def pace(pause: float = 75.0, rate: float = 512.0, grace: float = 10.0) -> BodyPace:
    return BodyPace(START, pause=pause, rate=rate, grace=grace)


def test_a_pause_is_measured_from_the_last_bytes() -> None:
    body = pace(pause=5, rate=0)
    assert not body.overdue(START + 5)
    assert body.overdue(START + 5.001)
    body.received(START + 4, 1)
    assert not body.overdue(START + 9)
    assert body.overdue(START + 9.001)


def test_the_rate_counts_once_the_grace_is_over() -> None:
    body = pace()
    body.received(START + 1, 1)
    assert not body.overdue(START + 10)
    assert body.overdue(START + 10.001)


@pytest.mark.parametrize(("seconds", "received", "slow"), [(20, 10_240, False), (20, 10_239, True)])
def test_the_rate_is_an_average_over_the_whole_time(
    seconds: int, received: int, slow: bool
) -> None:
    body = pace()
    body.received(START + seconds, received)
    assert body.overdue(START + seconds) is slow


def test_a_byte_now_and_then_is_too_slow() -> None:
    body = pace()
    late = [second for second in range(1, 60) if _after(body, START + second, 1)]
    assert late[0] == 11


def _after(body: BodyPace, now: float, count: int) -> bool:
    body.received(now, count)
    return body.overdue(now)


def test_the_clock_stands_still_while_we_do_not_read() -> None:
    body = pace(pause=5)
    body.received(START + 1, 5000)
    body.stop(START + 2)
    assert not body.overdue(START + 10_000)
    body.stop(START + 3000)  # says nothing new
    body.go(START + 10_002)
    # One second of the pause, and two of the whole, had passed.
    assert not body.overdue(START + 10_006)
    assert body.overdue(START + 10_006.001)
    body.received(START + 10_006, 0)
    assert not body.overdue(START + 10_000 + 9.7)
    assert body.overdue(START + 10_000 + 10.001)


def test_going_on_twice_or_unstopped_changes_nothing() -> None:
    body = pace(pause=5)
    body.go(START + 3)
    body.stop(START + 4)
    body.go(START + 6)
    body.go(START + 7)
    assert not body.overdue(START + 7)
    assert body.overdue(START + 7.001)


def test_bytes_that_came_while_it_stood_still() -> None:
    body = pace(pause=5, rate=0)
    body.stop(START + 1)
    body.received(START + 100, 10)
    body.go(START + 200)
    assert not body.overdue(START + 205)
    assert body.overdue(START + 205.001)
