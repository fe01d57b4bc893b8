"""Events: kept, told in order, and no watcher harms another."""

from __future__ import annotations

import json

import attrs

from sqsuper.supervisor.events import RECENT, Event, Events, Kind
from tests.unit.supervisor.support import logged


def event(number: int) -> Event:
    return Event(float(number), Kind.FAILED, "alice", "crash", f"number {number}", {"n": number})


def test_they_are_told_to_all_in_order() -> None:
    events = Events()
    one: list[Event] = []
    two: list[Event] = []
    events.watch(one.append)
    events.watch(two.append)
    published = [event(n) for n in range(3)]
    for each in published:
        events.publish(each)
    assert one == two == published == list(events.recent)


def test_the_last_are_kept() -> None:
    events = Events()
    for number in range(RECENT + 5):
        events.publish(event(number))
    assert [each.at for each in events.recent] == [float(n) for n in range(5, RECENT + 5)]


def test_who_watches_no_longer_hears_nothing() -> None:
    events = Events()
    heard: list[Event] = []
    end = events.watch(heard.append)
    end()
    end()
    events.publish(event(1))
    assert heard == []


def test_one_that_ends_its_watch_while_told_takes_nothing_from_others() -> None:
    events = Events()
    heard: list[str] = []
    ends = [events.watch(lambda _: ends[0]()), events.watch(lambda _: heard.append("two"))]
    events.publish(event(1))
    events.publish(event(2))
    assert heard == ["two", "two"]


def test_a_watcher_that_fails_is_logged_and_harms_nobody() -> None:
    events = Events()
    heard: list[Event] = []

    def fail(_: Event) -> None:
        raise ValueError("no")

    events.watch(fail)
    events.watch(heard.append)
    with logged() as lines:
        events.publish(event(1))
    assert heard == [event(1)]
    assert any("watcher failed" in line for line in lines)


def test_what_is_told_bears_the_present_time_and_is_fit_for_json() -> None:
    events = Events(lambda: 1234.5)
    events.tell(Kind.LIMIT, None, "memory limit", "too much", bytes=3, parts=["a", None])
    (told,) = events.recent
    assert told == Event(
        1234.5, Kind.LIMIT, None, "memory limit", "too much", {"bytes": 3, "parts": ["a", None]}
    )
    plain = attrs.asdict(told, value_serializer=lambda *x: getattr(x[2], "value", x[2]))
    assert json.loads(json.dumps(plain))["kind"] == "limit"
