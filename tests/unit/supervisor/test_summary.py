"""The line on how the tenants do."""

from __future__ import annotations

from sqsuper.supervisor.instance import State
from sqsuper.supervisor.summary import summary


def test_what_is_told() -> None:
    assert summary([]) == "0 tenants: 0 healthy, 0 failed"
    assert summary([State.HEALTHY]) == "1 tenant: 1 healthy, 0 failed"
    assert summary(
        [*[State.STOPPED] * 5, State.STARTING, State.FAILED, State.HEALTHY, State.BACKOFF]
    ) == ("9 tenants: 1 healthy, 1 failed, 1 backoff, 1 starting")
