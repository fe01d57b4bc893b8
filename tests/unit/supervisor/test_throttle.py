"""Reading nothing of a child for a while."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.task import Clock

from sqsuper.supervisor.throttle import Throttle


@attrs.define
class Reader:
    reads: bool = True
    disconnecting: bool = False

    def stopReading(self) -> None:
        self.reads = False

    def startReading(self) -> None:
        self.reads = True


@attrs.define
class Transport:
    pipes: dict[int, Any] = attrs.field(factory=lambda: {1: Reader(), 2: Reader()})


def reads(transport: Transport) -> list[bool]:
    return [reader.reads for reader in transport.pipes.values()]


def test_one_is_paused_and_goes_on() -> None:
    clock, transport = Clock(), Transport()
    throttle = Throttle(clock)
    throttle.pause(transport, 1, 0.5)
    throttle.pause(transport, 1, 5.0)
    assert reads(transport) == [False, True]
    clock.advance(0.5)
    assert reads(transport) == [True, True]
    assert clock.getDelayedCalls() == []


def test_at_the_end_all_is_read() -> None:
    clock, transport = Clock(), Transport()
    throttle = Throttle(clock)
    throttle.pause(transport, 1, 0.5)
    throttle.pause(transport, 2, 0.6)
    throttle.end(transport)
    throttle.end(transport)
    assert reads(transport) == [True, True]
    assert clock.getDelayedCalls() == []


def test_what_is_closed_stays_so() -> None:
    clock, transport = Clock(), Transport()
    throttle = Throttle(clock)
    closing, gone = transport.pipes[1], transport.pipes[2]
    throttle.pause(transport, 1, 0.5)
    throttle.pause(transport, 2, 0.5)
    closing.disconnecting = True
    del transport.pipes[2]
    clock.advance(1)
    assert (closing.reads, gone.reads) == (False, False)
    throttle.pause(transport, 2, 0.5)
    assert clock.getDelayedCalls() == []
