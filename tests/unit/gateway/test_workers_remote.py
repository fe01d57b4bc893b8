from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from sqsuper.gateway.messages import encode_outcome, encode_upstream
from sqsuper.gateway.remote import USED_INTERVAL, RemoteInstances
from sqsuper.instances import Unavailable, Upstream

FIRST = Upstream("alice", 1, "key1", path="/run/1")
SECOND = Upstream("alice", 2, "key2", path="/run/2")


class Told:
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.clock = Clock()
        self.instances = RemoteInstances(
            lambda *message: self.said.append(message), self.clock.callLater, self.clock.seconds
        )


@pytest.fixture
def told() -> Told:
    return Told()


def test_who_is_ready_is_known_without_asking(told: Told) -> None:
    assert told.instances.ready("alice") is None
    told.instances.changed("alice", encode_upstream(FIRST))
    assert told.instances.ready("alice") == FIRST
    told.instances.changed("alice", encode_upstream(SECOND))
    assert told.instances.ready("alice") == SECOND
    told.instances.changed("alice", None)
    assert told.instances.ready("alice") is None
    assert told.said == []


@pytest.mark.parametrize("result", [FIRST, Unavailable("failed", "why", 3)])
def test_a_wait_is_asked_for_and_settled_once(told: Told, result: Any) -> None:
    outcomes: list[Any] = []
    told.instances.wait("alice", outcomes.append)
    [(kind, number, tenant)] = told.said
    assert (kind, tenant) == ("wait", "alice")
    told.instances.settled(number, encode_outcome(result))
    told.instances.settled(number, encode_outcome(result))
    assert outcomes == [result]


def test_a_cancelled_wait_is_not_settled(told: Told) -> None:
    outcomes: list[Any] = []
    wait = told.instances.wait("alice", outcomes.append)
    number = told.said[0][1]
    wait.cancel()
    wait.cancel()
    assert told.said[1:] == [("unwait", number)]
    told.instances.settled(number, encode_outcome(FIRST))
    assert outcomes == []


def test_two_waits_do_not_mix(told: Told) -> None:
    outcomes: list[Any] = []
    told.instances.wait("alice", lambda result: outcomes.append(("first", result)))
    told.instances.wait("alice", lambda result: outcomes.append(("second", result)))
    numbers = [message[1] for message in told.said]
    told.instances.settled(numbers[1], encode_outcome(SECOND))
    told.instances.settled(numbers[0], encode_outcome(FIRST))
    assert outcomes == [("second", SECOND), ("first", FIRST)]


def test_keys_do_not_travel_back(told: Told) -> None:
    told.instances.refused(FIRST)
    assert told.said == [("refused", "alice", 1)]


def test_uses_are_gathered(told: Told) -> None:
    for _ in range(100):
        told.instances.used(FIRST)
        told.instances.used(SECOND)
        told.instances.used(Upstream("bob", 9, "k"))
    assert told.said == []
    told.clock.advance(USED_INTERVAL)
    late = USED_INTERVAL
    assert told.said == [("used", "alice", 2, late), ("used", "bob", 9, late)]
    told.clock.advance(USED_INTERVAL)
    assert len(told.said) == 2
    told.instances.used(FIRST, 0.125)
    told.clock.advance(USED_INTERVAL)
    assert told.said[2:] == [("used", "alice", 1, late + 0.125)]
