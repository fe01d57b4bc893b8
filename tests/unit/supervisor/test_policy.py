"""Restart policy: who comes back, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.config.model import Restart, RestartPolicy
from sqsuper.supervisor.policy import Policy


def policy(random: float = 0.0, **changes: object) -> Policy:
    return Policy(Restart(**changes), lambda: random)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "clean", "again"),
    [
        (RestartPolicy.ALWAYS, True, True),
        (RestartPolicy.ALWAYS, False, True),
        (RestartPolicy.ON_FAILURE, True, False),
        (RestartPolicy.ON_FAILURE, False, True),
        (RestartPolicy.NEVER, True, False),
        (RestartPolicy.NEVER, False, False),
    ],
)
def test_who_comes_back(kind: RestartPolicy, clean: bool, again: bool) -> None:
    assert (policy(policy=kind).ended(0.0, clean=clean) is not None) is again


def test_backoff_doubles_up_to_its_cap() -> None:
    one = policy(backoff=0.1, backoff_max=1.0)
    delays = [one.ended(0.0, clean=False) for _ in range(6)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_backoff_of_ever_failing_instances_stays_at_the_cap() -> None:
    one = policy(backoff=0.1, backoff_max=30.0)
    assert [one.ended(0.0, clean=False) for _ in range(2000)][-1] == 30.0


@given(
    st.floats(0.001, 10.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(0, 20),
)
def test_jitter_never_passes_the_cap(
    backoff: float, jitter: float, random: float, failures: int
) -> None:
    one = policy(random, backoff=backoff, backoff_max=20.0, jitter=jitter)
    for _ in range(failures):
        one.ended(0.0, clean=False)
    delay = one.ended(0.0, clean=False)
    full = min(backoff * 2**failures, 20.0)
    assert delay is not None
    assert full * (1 - jitter) - 1e-9 <= delay <= full


def test_a_healthy_period_begins_anew() -> None:
    one = policy(backoff=0.1, reset_after=60.0)
    for _ in range(3):
        one.ended(0.0, clean=False)
    one.healthy(100.0)
    assert one.ended(159.9, clean=False) == pytest.approx(0.8)
    one.healthy(200.0)
    assert one.ended(260.0, clean=False) == pytest.approx(0.1)


def test_time_before_ready_is_no_healthy_period() -> None:
    one = policy(backoff=0.1, reset_after=60.0)
    one.healthy(0.0)
    one.doubted(1.0)
    one.ended(100.0, clean=False)
    assert one.ended(1000.0, clean=False) == pytest.approx(0.2)


def test_planned_stops_count_for_nothing() -> None:
    one = policy(backoff=0.1)
    one.ended(5.0, clean=False)
    assert one.not_before == pytest.approx(5.1)
    one.planned()
    assert one.not_before == 0.0
    assert one.ended(6.0, clean=False) == pytest.approx(0.1)


def test_a_start_on_demand_has_to_wait_even_if_nothing_restarts_by_itself() -> None:
    one = policy(policy=RestartPolicy.NEVER, backoff=0.1)
    assert one.ended(1.0, clean=False) is None
    assert one.ended(2.0, clean=False) is None
    assert one.not_before == pytest.approx(2.2)
