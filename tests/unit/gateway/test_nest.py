"""Whose turn it is: the nest's, the reactor's, and that of work between turns."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.selectreactor import SelectReactor

from sqsuper.gateway.nest import SLICE_SECONDS, Nest, possible

pytestmark = pytest.mark.skipif(not possible(SelectReactor()), reason="no epoll here")


class Reactor:
    """A reactor whose time and turns a test makes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []

    def seconds(self) -> float:
        return self.now

    def callLater(self, _: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def addReader(self, reader: Nest) -> None: ...
    def removeReader(self, reader: Nest) -> None: ...


@pytest.fixture
def reactor() -> Any:
    return Reactor()


class Reader:
    """Takes what comes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def readable(self) -> None:
        self.sock.recv(1)

    def writable(self) -> None: ...

    def hung_up(self) -> None: ...


@pytest.fixture
def nest(reactor: Any) -> Iterator[Nest]:
    nest = Nest(reactor)
    yield nest
    nest.close()


def test_work_is_done_until_none_is_left(nest: Nest, reactor: Any) -> None:
    left = [False, True, True]
    nest.between_turns(lambda _: left.pop())
    reactor.turn()
    assert left == []
    nest.doRead()  # it is not asked again
    assert reactor.calls == []


def test_work_is_told_of_the_events_of_its_turn(nest: Nest, reactor: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        nest.loop.register(ours.fileno(), Reader(ours))
        theirs.send(b"x")
        told: list[int] = []
        nest.between_turns(lambda events: told.append(events) or len(told) < 2)  # type: ignore[func-returns-value]
        reactor.turn()
        assert told == [1, 0]
        nest.loop.unregister(ours.fileno())


def test_much_work_leaves_the_reactor_its_turn(nest: Nest, reactor: Any) -> None:
    steps = []

    def work(_: int) -> bool:
        steps.append(reactor.seconds())
        reactor.now += SLICE_SECONDS / 4
        return len(steps) < 20

    nest.between_turns(work)
    reactor.turn()
    assert 1 < len(steps) < 8
    turns = 1
    while reactor.calls:
        reactor.turn()
        turns += 1
    assert len(steps) == 20
    assert turns > 2


def test_time_that_stands_still_ends_a_slice_all_the_same(nest: Nest, reactor: Any) -> None:
    steps = []

    def work(_: int) -> bool:
        steps.append(0)
        return True

    nest.between_turns(work)
    reactor.turn()
    assert 1 < len(steps) < 1000
    assert len(reactor.calls) == 1


def test_a_closed_nest_does_nothing_more(nest: Nest, reactor: Any) -> None:
    nest.between_turns(lambda _: pytest.fail("it was closed"))
    nest.close()
    reactor.turn()
