"""Readiness, timers and turns, with epoll and with the standard library's selectors."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from sqsuper.sockets import Loop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A handler that notes what it is told and, if asked, does something."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self.sock = sock
        self.told: list[str] = []
        self.data = b""
        self.act: Callable[[], None] | None = None

    def readable(self) -> None:
        self.told.append("readable")
        if self.sock is not None:
            self.data += self.sock.recv(100)
        if self.act is not None:
            self.act()

    def writable(self) -> None:
        self.told.append("writable")
        if self.act is not None:
            self.act()

    def hung_up(self) -> None:
        self.told.append("hung_up")


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[True, False], ids=["epoll", "selectors"])
def loop(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Loop]:
    if request.param and not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    loop = Loop(epoll=request.param, clock=clock)
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


def test_readable_and_writable(loop: Loop, pair: Pair) -> None:
    left, right = pair
    handler = Recorder(left)
    loop.register(left.fileno(), handler)
    loop.turn(0)
    assert handler.told == []
    right.send(b"x")
    loop.turn(0)
    assert handler.told == ["readable"]
    loop.modify(left.fileno(), reading=False, writing=True)
    right.send(b"y")
    loop.turn(0)
    assert handler.told == ["readable", "writable"]
    loop.modify(left.fileno(), reading=False, writing=False)
    loop.turn(0)
    assert len(handler.told) == 2
    loop.modify(left.fileno(), reading=True, writing=False)
    loop.turn(0)
    assert handler.data == b"xy"
    loop.unregister(left.fileno())
    right.send(b"z")
    loop.turn(0)
    assert len(handler.told) == 3


def test_unregistered_meanwhile_is_told_nothing(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    handlers = [Recorder(left) for left, _right in pairs]

    def silence(other: int) -> Callable[[], None]:
        return lambda: loop.unregister(pairs[other][0].fileno())

    for number, (left, right) in enumerate(pairs):
        loop.register(left.fileno(), handlers[number])
        handlers[number].act = silence(1 - number)
        right.send(b"x")
    loop.turn(0)
    assert sorted(len(handler.told) for handler in handlers) == [0, 1]
    for left, right in pairs:
        left.close()
        right.close()


def test_what_was_forgotten_is_told_nothing_and_its_number_is_free(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    forgotten, number = Recorder(ours), ours.fileno()
    loop.register(number, forgotten)
    loop.forget(number)
    loop.forget(number)  # harmless
    theirs.send(b"x")
    loop.turn(0.0)
    ours.close()
    next_ours, next_theirs = socket.socketpair()
    with next_ours, next_theirs:
        assert next_ours.fileno() == number
        successor = Recorder(next_ours)
        loop.register(number, successor)
        next_theirs.send(b"y")
        loop.turn(0.0)
        assert (forgotten.told, successor.told) == ([], ["readable"])
        loop.unregister(number)


def test_events_of_a_closed_descriptor_do_not_reach_its_successor(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    handlers = [Recorder(left) for left, _right in pairs]
    fresh = Recorder()
    opened: list[socket.socket] = []

    def replace(other: int) -> Callable[[], None]:
        def act() -> None:
            sock = pairs[other][0]
            number = sock.fileno()
            loop.unregister(number)
            sock.close()
            left, right = socket.socketpair()
            if left.fileno() != number:
                os.dup2(left.fileno(), number)
                left.close()
                left = socket.socket(fileno=number)
            opened.extend((left, right))
            loop.register(number, fresh)

        return act

    for number, (left, right) in enumerate(pairs):
        loop.register(left.fileno(), handlers[number])
        handlers[number].act = replace(1 - number)
        right.send(b"x")
    loop.turn(0)
    assert fresh.told == []
    opened[1].send(b"y")
    loop.turn(0)
    assert fresh.told == ["readable"]
    for sock in (*opened, *[sock for pair in pairs for sock in pair]):
        sock.close()


def test_an_exception_reaches_the_report_and_nothing_else(clock: Clock) -> None:
    errors: list[BaseException] = []
    loop = Loop(clock=clock, report=errors.append)
    pairs = [socket.socketpair() for _ in range(3)]
    handlers = [Recorder(left) for left, _right in pairs]
    for handler, (left, right) in zip(handlers, pairs, strict=True):
        loop.register(left.fileno(), handler)
        right.send(b"x")
    called: list[str] = []

    def fail() -> None:
        raise RuntimeError("of this test")

    handlers[1].act = fail
    loop.after(0, fail)
    loop.after(0, lambda: called.append("timer"))
    loop.at_turn_end(fail)
    loop.at_turn_end(lambda: called.append("end"))
    loop.turn(0)
    assert [handler.told[0] for handler in handlers] == ["readable"] * 3
    # It must not be called again and again.
    assert handlers[1].told == ["readable", "hung_up"]
    assert called == ["timer", "end"]
    assert len(errors) == 3
    loop.close()
    for left, right in pairs:
        left.close()
        right.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
def test_a_hang_up_is_told_to_who_waits_for_nothing(clock: Clock, pair: Pair) -> None:
    loop = Loop(epoll=True, clock=clock)
    left, right = pair
    handler = Recorder()
    loop.register(left.fileno(), handler, reading=False)
    right.close()
    loop.turn(0)
    assert handler.told == ["hung_up"]
    loop.close()


def test_timers_come_in_order_when_due(loop: Loop, clock: Clock) -> None:
    called: list[str] = []
    loop.after(2, lambda: called.append("two"))
    loop.after(1, lambda: called.append("one"))
    cancelled = loop.after(1, lambda: called.append("never"))
    cancelled.cancel()
    assert loop.next_deadline() == 101.0
    loop.turn(0)
    assert called == []
    clock.now = 101.0
    loop.turn(0)
    assert called == ["one"]
    clock.now = 105.0
    loop.turn(0)
    assert called == ["one", "two"]
    assert loop.next_deadline() is None


def test_a_sweep_comes_again_also_after_a_failure(clock: Clock) -> None:
    errors: list[BaseException] = []
    loop = Loop(clock=clock, report=errors.append)
    times: list[float] = []

    def sweep() -> None:
        times.append(clock.now)
        raise RuntimeError("of this test")

    loop.every(1, sweep)
    for now in (100.5, 101.0, 101.5, 102.0):
        clock.now = now
        loop.turn(0)
    assert times == [101.0, 102.0]
    assert len(errors) == 2
    loop.close()


def test_a_timer_set_by_a_timer_waits_for_the_next_turn(loop: Loop) -> None:
    called: list[int] = []

    def again() -> None:
        called.append(1)
        loop.after(0, again)

    loop.after(0, again)
    loop.turn(0)
    assert len(called) == 1
    loop.turn(0)
    assert len(called) == 2


def test_the_end_of_a_turn_comes_after_its_events_and_timers(loop: Loop, pair: Pair) -> None:
    left, right = pair
    order: list[str] = []
    handler = Recorder(left)
    loop.register(left.fileno(), handler)

    def event() -> None:
        order.append("event")
        loop.at_turn_end(lambda: order.append("end"))
        loop.at_turn_end(lambda: loop.at_turn_end(lambda: order.append("last")))

    handler.act = event
    right.send(b"x")
    loop.after(0, lambda: order.append("timer"))
    loop.turn(0)
    assert order == ["event", "timer", "end", "last"]


def test_run_ends_with_stop_and_can_go_on(loop: Loop, clock: Clock) -> None:
    loop.after(0, loop.stop)
    loop.run()
    called: list[int] = []
    loop.after(0, lambda: called.append(1))
    loop.after(0, loop.stop)
    loop.run()
    assert called == [1]


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
def test_nested_in_another_loop(clock: Clock, pair: Pair) -> None:
    inner = Loop(epoll=True, clock=clock)
    outer = Loop(epoll=True, clock=clock)
    left, right = pair
    handler = Recorder(left)
    inner.register(left.fileno(), handler)
    nest = Recorder()

    def turn_inner() -> None:
        inner.turn(0)

    nest.act = turn_inner
    outer.register(inner.fileno(), nest)
    outer.turn(0)
    assert nest.told == []
    right.send(b"x")
    outer.turn(0)
    outer.turn(0)
    assert handler.data == b"x"
    assert len(nest.told) == 1
    outer.close()
    inner.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
def test_a_turn_handles_at_most_256_events(clock: Clock) -> None:
    loop = Loop(epoll=True, clock=clock)
    pairs = [socket.socketpair() for _ in range(300)]
    handlers = [Recorder(left) for left, _right in pairs]
    for handler, (left, right) in zip(handlers, pairs, strict=True):
        loop.register(left.fileno(), handler)
        right.send(b"x")
    loop.turn(0)
    assert sum(len(handler.told) for handler in handlers) == 256
    loop.turn(0)
    assert [handler.data for handler in handlers] == [b"x"] * 300
    loop.close()
    for left, right in pairs:
        left.close()
        right.close()
