"""The table of states: every change in it happens, and no other."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.supervisor.errors import TransitionError
from sqsuper.supervisor.instance import HISTORY, RUNNING, TRANSITIONS, Event, Instance, State

PAIRS = list(itertools.product(State, Event))


@pytest.mark.parametrize(("before", "event"), PAIRS, ids=str)
def test_each_pair_of_state_and_event(before: State, event: Event) -> None:
    instance = Instance("alice", before)
    after = TRANSITIONS.get((before, event))
    assert instance.can(event) is (after is not None)
    if after is None:
        with pytest.raises(TransitionError) as raised:
            instance.apply(event, 1.0, "why")
        assert (raised.value.state, raised.value.event) == (before.value, event.value)
        assert instance.state is before
        assert not instance.history
    else:
        change = instance.apply(event, 1.5, "why")
        assert (change.at, change.before, change.event) == (1.5, before, event)
        assert (change.after, change.reason) == (after, "why")
        assert instance.state is after
        assert list(instance.history) == [change]


def test_no_state_is_a_trap_or_out_of_reach() -> None:
    for start in State:
        seen = {start}
        edge = [start]
        while edge:
            here = edge.pop()
            for (before, _), after in TRANSITIONS.items():
                if before is here and after not in seen:
                    seen.add(after)
                    edge.append(after)
        assert seen == set(State)


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_any_sequence_keeps_the_rules(events: list[Event]) -> None:
    instance = Instance("alice")
    for event in events:
        if not instance.can(event):
            continue
        change = instance.apply(event, 0.0, "")
        if change.after is State.DISABLED:
            assert change.before not in RUNNING
        if change.before is State.STOPPING:
            assert change.after not in RUNNING
        if change.before is State.DRAINING:
            assert change.after not in RUNNING - {State.STOPPING}
        if change.after is State.HEALTHY:
            assert change.before in {State.STARTING, State.UNHEALTHY}


@pytest.mark.parametrize("state", sorted(RUNNING, key=str))
def test_a_running_instance_can_always_be_stopped(state: State) -> None:
    instance = Instance("alice", state)
    if state is not State.STOPPING:
        instance.apply(Event.STOP, 0.0, "")
    instance.apply(Event.END, 0.0, "")
    assert instance.state is State.STOPPED


def test_the_history_is_bounded_and_keeps_the_newest() -> None:
    instance = Instance("alice")
    for at in range(HISTORY):
        instance.apply(Event.START, at, "")
        instance.apply(Event.END, at + 0.5, "")
    assert len(instance.history) == HISTORY
    assert instance.history[-1].at == HISTORY - 0.5
    assert instance.history[0].at == HISTORY / 2


def test_the_drawing_is_of_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "design" / "supervisor.md"
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", page.read_text(), re.MULTILINE)
    table = [(a.value, b.value, e.value) for (a, e), b in TRANSITIONS.items()]
    assert sorted(drawn) == sorted(table)
