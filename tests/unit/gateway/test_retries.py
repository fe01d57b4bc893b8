from __future__ import annotations

from sqsuper.gateway.retries import Retries


def test_refusals_are_tried_again_for_a_second() -> None:
    retries = Retries()
    now = 100.0
    delays = []
    while (delay := retries.refused(1, now)) is not None:
        delays.append(delay)
        now += delay
    assert delays[:4] == [0.025, 0.05, 0.1, 0.1]
    assert 0.9 < now - 100.0 <= 1.0


def test_the_time_that_attempts_take_counts() -> None:
    retries = Retries()
    assert retries.refused(1, 0.0) == 0.025
    assert retries.refused(1, 10.0) is None


def test_a_new_epoch_has_its_own_second() -> None:
    retries = Retries()
    retries.refused(1, 0.0)
    assert retries.refused(2, 5.0) == 0.025
    assert retries.refused(2, 5.9) == 0.05
    assert retries.refused(2, 6.0) is None


def test_a_full_backlog_is_waited_for_up_to_the_limit() -> None:
    retries = Retries()
    assert retries.busy(50.0, 10.0)
    assert retries.busy(59.9, 10.0)
    assert retries.busy(60.0, 10.0) is None
