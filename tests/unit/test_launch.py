"""How a start ends, without twistd and without a reactor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import capturedLogs

from sqsuper.launch import Launch, Tree


class Part(Service):
    """A service that records what happens to it, and does as told."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.title = name
        self.events = events
        self.privileged: Exception | None = None
        self.starting: Deferred[None] | Exception | None = None
        self.stopping: Deferred[None] | Exception | None = None

    def privilegedStartService(self) -> None:
        self.events.append(f"{self.title} privileged")
        if self.privileged is not None:
            raise self.privileged

    def startService(self) -> Any:
        self.events.append(f"{self.title} start")
        if isinstance(self.starting, Exception):
            raise self.starting
        return self.starting

    def stopService(self) -> Any:
        self.events.append(f"{self.title} stop")
        if isinstance(self.stopping, Exception):
            raise self.stopping
        return self.stopping


class Reactor:
    """Keeps what shall be called once it runs."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.stops = 0
        self.running = True
        self._exitSignal: int | None = None

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        self.calls.append(call)

    def stop(self) -> None:
        self.stops += 1
        if not self.running:
            raise ReactorNotRunning


class World:
    """A tree of two parts, `first` and `second`, and all that it can touch."""

    def __init__(self, stderr: int, pipe: int | None) -> None:
        self.stderr = stderr
        self.pipe = pipe
        self.twistd: dict[str, Any] = {}
        self.at_exit: list[Callable[[], None]] = []
        self.statuses: list[int] = []
        self.events: list[str] = []
        self.first = Part("first", self.events)
        self.second = Part("second", self.events)
        self.reactor = Reactor()
        self.launch = Launch(
            self.twistd, at_exit=self.at_exit.append, exit_now=self.statuses.append
        )
        self.tree = Tree(
            [self.first, self.second],
            launch=self.launch,
            explain=lambda error: str(error) if isinstance(error, OSError) else None,
            reactor=self.reactor,
        )

    def start(self) -> None:
        """As twistd does it: it opens its pipe when it daemonises, before the services start."""
        self.tree.privilegedStartService()
        self.tree.startService()

    def told(self) -> str:
        return os.read(self.stderr, 4096).decode()

    def exit(self) -> int | None:
        for call in self.at_exit:
            call()
        return self.statuses[0] if self.statuses else None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Standard error and twistd's status pipe are pipes that the test reads."""
    stderr, stderr_write = os.pipe()
    pipe, pipe_write = os.pipe()
    os.set_blocking(stderr, False)
    os.set_blocking(pipe, False)
    dup = os.dup
    monkeypatch.setattr(os, "dup", lambda fd: dup(stderr_write) if fd == 2 else dup(fd))
    made = World(stderr, pipe)
    os.close(stderr_write)
    made.twistd["statusPipe"] = pipe_write
    yield made
    if made.twistd["statusPipe"] is not None:
        os.close(pipe_write)
    made.launch.succeeded()
    os.close(stderr)
    os.close(pipe)


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    with capturedLogs() as events:
        yield cast("list[dict[str, Any]]", events)


def answer(world: World) -> bytes:
    assert world.pipe is not None
    return os.read(world.pipe, 100)


def test_parts_start_in_order_and_stop_in_the_opposite_one(world: World) -> None:
    world.start()
    world.tree.stopService()
    assert world.events == [
        "first privileged",
        "second privileged",
        "first start",
        "second start",
        "second stop",
        "first stop",
    ]


def test_success_is_told_to_twistds_parent_by_us(world: World) -> None:
    world.start()
    assert answer(world) == b"0"
    assert world.twistd["statusPipe"] is None
    assert world.told() == ""
    assert world.exit() is None


def test_nobodys_pipe_is_kept_open(world: World) -> None:
    world.start()
    answer(world)
    assert answer(world) == b""
    assert world.told() == ""  # read at its end: no writer is left


def test_without_daemon_there_is_no_pipe(world: World) -> None:
    pipe, world.twistd["statusPipe"] = world.twistd["statusPipe"], None
    world.start()
    assert world.exit() is None
    world.twistd["statusPipe"] = pipe


def test_the_next_part_waits_for_the_one_before_and_success_for_all(world: World) -> None:
    world.first.starting = Deferred()
    world.start()
    assert "second start" not in world.events
    with pytest.raises(BlockingIOError):
        answer(world)
    world.first.starting.callback(None)
    assert "second start" in world.events
    assert answer(world) == b"0"


@pytest.mark.parametrize("when", ["privileged", "start", "later"])
def test_a_part_that_fails_ends_everything(world: World, when: str) -> None:
    error = OSError("port 1 is taken")
    if when == "privileged":
        world.second.privileged = error
    elif when == "start":
        world.second.starting = error
    else:
        world.second.starting = Deferred()
    world.start()
    if isinstance(world.second.starting, Deferred):
        world.second.starting.errback(error)
    assert world.told() == "sqsuper: port 1 is taken\n"
    with pytest.raises(BlockingIOError):
        answer(world)  # twistd's parent waits until everything is cleaned up
    for call in world.reactor.calls:
        call()
    assert world.reactor.stops == 1
    world.tree.stopService()
    assert world.events[-2:] == ["second stop", "first stop"]
    assert world.exit() == 1
    assert answer(world).startswith(b"1 ")


def test_what_never_began_is_not_stopped(world: World) -> None:
    world.first.privileged = OSError("no")
    world.start()
    world.tree.stopService()
    assert world.events == ["first privileged", "first stop"]


def test_a_defect_is_logged_whole_and_told_in_one_line(
    world: World, logged: list[dict[str, Any]]
) -> None:
    world.first.starting = ZeroDivisionError("a\nb")
    world.start()
    told = world.told()
    assert told.count("\n") == 1
    assert "ZeroDivisionError" in told
    assert any("log_failure" in event for event in logged)
    assert world.exit() == 1


def test_stop_waits_for_each_part(world: World) -> None:
    world.second.stopping = Deferred()
    world.start()
    gone: list[object] = []
    world.tree.stopService().addCallback(gone.append)
    assert "first stop" not in world.events
    world.second.stopping.callback(None)
    assert world.events[-1] == "first stop"
    assert gone == [None]


def test_a_part_that_cannot_stop_keeps_no_other_alive(
    world: World, logged: list[dict[str, Any]]
) -> None:
    world.second.stopping = ValueError("stuck")
    world.start()
    gone: list[object] = []
    world.tree.stopService().addCallback(gone.append)
    assert world.events[-1] == "first stop"
    assert gone == [None]
    assert any("log_failure" in event for event in logged)


def test_a_stop_before_all_is_up_is_no_success(world: World) -> None:
    world.first.starting = Deferred()
    world.start()
    world.tree.stopService()
    assert world.events[-1] == "first stop"
    assert world.told().count("\n") == 1
    assert world.exit() == 1
    assert answer(world).startswith(b"1 ")


def test_a_start_that_a_signal_ends_is_told_before_twistd_kills_itself(world: World) -> None:
    world.first.starting = Deferred()
    world.start()
    world.reactor._exitSignal = 15
    world.tree.stopService()
    assert answer(world).startswith(b"1 ")
    assert world.told().count("\n") == 1


def test_only_the_first_outcome_is_told(world: World) -> None:
    world.first.starting = OSError("no")
    world.start()
    world.tree.stopService()
    assert world.told() == "sqsuper: no\n"
    assert len(world.at_exit) == 1


def test_a_reactor_that_already_stops_is_no_trouble(world: World) -> None:
    world.reactor.running = False
    world.first.starting = OSError("no")
    world.start()
    for call in world.reactor.calls:
        call()
    assert world.reactor.stops == 1


def test_a_failure_after_the_success_is_not_told_twice(world: World) -> None:
    world.start()
    assert answer(world) == b"0"
    world.tree.stopService()
    assert world.told() == ""
    assert world.exit() is None
