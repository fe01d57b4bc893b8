"""How often things happened: of changes of state and of events."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sqsuper.admin.tally import Tally
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Events, Kind
from sqsuper.supervisor.instance import Change, Event, State


@attrs.define
class Named:
    name: str


@attrs.define
class Ending:
    cause: Cause


@attrs.define
class Life:
    """Of a lifecycle what is looked at."""

    tenant: Named
    ending: Ending | None = None


def started(tally: Tally, before: State, cause: Cause | None) -> None:
    life: Any = Life(Named("a"), None if cause is None else Ending(cause))
    tally.became(life, Change(0.0, before, Event.START, State.STARTING, "wanted"))


@pytest.mark.parametrize("before", [State.BACKOFF, State.FAILED])
def test_a_start_after_a_failure_is_a_restart(before: State) -> None:
    tally = Tally()
    for cause in (Cause.CRASH, Cause.MEMORY, Cause.CRASH):
        started(tally, before, cause)
    assert tally.restarts == {"a": 3}
    assert tally.causes == {"crash": 2, "memory limit": 1}
    tally.forget("a")
    assert tally.restarts == {}
    assert tally.causes.total() == 3


def test_any_other_start_is_none() -> None:
    tally = Tally()
    # It failed once, was reset, and is wanted again.
    started(tally, State.STOPPED, Cause.CRASH)
    assert not tally.restarts
    assert not tally.causes


def test_events_by_kind() -> None:
    tally, events = Tally(), Events(lambda: 0.0)
    events.watch(tally.take)
    for kind in (Kind.ADMIN, Kind.QUOTA, Kind.ADMIN):
        events.tell(kind, None, "word", "text")
    assert tally.events == {"admin": 2, "quota": 1}
