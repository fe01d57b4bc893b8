"""Long work in slices."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sqsuper.slices import Slices


class Work:
    """So many steps of a second each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.now = 0.0
        self.done = 0

    def steps(self) -> Generator[None, None, str]:
        for _ in range(self.count):
            self.now += 1.0
            self.done += 1
            yield
        return "whole"


def test_a_pause_after_each_slice() -> None:
    work, paused = Work(7), []

    class Reactor(Clock):
        def callLater(self, delay: float, call: Any, *args: Any) -> Any:  # type: ignore[override]
            paused.append(work.done)
            return super().callLater(delay, call, *args)

    clock = Reactor()
    got: list[str] = []
    running = Slices(clock, 3.0, lambda: work.now).run(work.steps())
    Deferred.fromCoroutine(running).addCallback(got.append)
    assert work.done == 3
    clock.pump([0] * 5)
    assert paused == [3, 6]
    assert got == ["whole"]


def test_what_is_raised_is_raised() -> None:
    def steps() -> Generator[None, None, None]:
        yield
        raise KeyError("no")

    running = Slices(Clock(), clock=lambda: 0.0).run(steps())
    with pytest.raises(KeyError, match="no"):
        running.send(None)
