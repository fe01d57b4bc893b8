from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sqsuper.gateway.channel import Handler
from sqsuper.gateway.crew import (
    DEAF_PATIENCE,
    MISSED_PINGS,
    PING_INTERVAL,
    START_PATIENCE,
    Crew,
    WorkerError,
)
from sqsuper.gateway.statistics import Lag
from sqsuper.gateway.worker_process import WorkerProcess


class Transport:
    """Of a process that ends when it is killed."""

    pid = 4711

    def __init__(self, scene: Scene, worker: WorkerProcess) -> None:
        self._scene = scene
        self._worker = worker

    def signalProcess(self, signum: int) -> None:
        assert signum == signal.SIGKILL
        self._scene.killed.append(self._worker.number)
        self._scene.end(self._worker)


class Scene:
    """A crew of workers that are no processes: they say what `hear` lets them."""

    def __init__(self, count: int = 2) -> None:
        self.clock = Clock()
        self.lag = Lag()
        self.begun: list[WorkerProcess] = []
        self.killed: list[int] = []
        self.left: list[int] = []
        self.cannot: OSError | None = None
        self.crew = Crew(count, self, self.clock, self.lag, PING_INTERVAL)
        self.said: dict[int, list[str]] = {}

    def begin(self, worker: WorkerProcess) -> None:
        if self.cannot is not None:
            raise self.cannot
        self.begun.append(worker)
        transport: Any = Transport(self, worker)
        worker.transport = transport
        said = self.said[worker.number] = []
        worker.say = lambda kind, *_: said.append(kind)  # type: ignore[method-assign]

    def handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        return {}

    def gone(self, number: int) -> None:
        self.left.append(number)

    def hear(self, worker: WorkerProcess, kind: str, *facts: Any) -> None:
        self.crew.handlers(worker)[kind](*facts)

    def end(self, worker: WorkerProcess) -> None:
        worker.serving = False
        self.crew.ended(worker, "killed by signal 9")

    def tick(self, *answering: int) -> None:
        """Let it be the time of a ping, which some of the workers answer."""
        self.clock.advance(PING_INTERVAL)
        for number in answering:
            worker = self.crew.get(number)
            assert worker is not None
            self.hear(worker, "pong", {})


@pytest.fixture
def scene() -> Scene:
    """Two workers that serve."""
    scene = Scene()
    fired: list[object] = []
    scene.crew.start().addBoth(fired.append)
    scene.hear(scene.begun[0], "serving")
    assert fired == []
    scene.hear(scene.begun[1], "serving")
    assert fired == [None]
    return scene


def failure(up: Deferred[None]) -> BaseException:
    caught: list[Any] = []
    up.addErrback(caught.append)
    [found] = caught
    assert isinstance(found.value, BaseException)
    return found.value


class TestStart:
    def test_one_that_ends_before_it_serves_ends_the_start(self) -> None:
        scene = Scene()
        up = scene.crew.start()
        scene.end(scene.begun[1])
        assert isinstance(failure(up), WorkerError)

    def test_so_does_one_that_says_why_it_cannot(self) -> None:
        scene = Scene()
        up = scene.crew.start()
        scene.hear(scene.begun[1], "failed", "no such certificate")
        assert str(failure(up)) == "no such certificate"
        assert scene.killed == [1]

    def test_so_does_one_that_cannot_be_started(self) -> None:
        scene = Scene(1)
        scene.cannot = OSError(11, "Resource temporarily unavailable")
        assert "Resource temporarily unavailable" in str(failure(scene.crew.start()))

    def test_so_does_one_that_takes_too_long(self) -> None:
        scene = Scene(1)
        up = scene.crew.start()
        scene.clock.advance(START_PATIENCE)
        assert scene.killed == [0]
        assert isinstance(failure(up), WorkerError)


class TestHanging:
    def test_it_is_killed_and_replaced_within_six_seconds(self, scene: Scene) -> None:
        since = scene.clock.seconds()
        while scene.killed == []:
            scene.tick(0)
            assert scene.clock.seconds() - since <= 6.0
        scene.clock.advance(0)
        assert scene.killed == [1]
        assert scene.left == [1]
        assert [worker.number for worker in scene.begun] == [0, 1, 1]

    def test_one_that_is_busy_for_less_than_that_is_left_alone(self, scene: Scene) -> None:
        for _ in range(5):
            for _ in range(MISSED_PINGS - 1):
                scene.tick(0)
            scene.tick(0, 1)
        assert scene.killed == []

    def test_time_in_which_this_process_did_not_run_does_not_count(self, scene: Scene) -> None:
        scene.tick(0, 1)
        # One late turn, and only after it are the answers read.
        scene.clock.advance(60)
        assert scene.killed == []
        scene.tick(0, 1)
        assert scene.killed == []
        assert scene.lag.worst > 50

    def test_at_the_stop_too(self, scene: Scene) -> None:
        scene.crew.stop(3600.0)
        scene.end(scene.begun[0])
        for _ in range(MISSED_PINGS + 1):
            scene.tick()
        assert scene.killed == [1]
        assert list(scene.crew) == []


class TestStop:
    def test_it_waits_for_all_and_leaves_nothing(self, scene: Scene) -> None:
        fired: list[str] = []
        deaf, gone = scene.crew.stop(15.0)
        deaf.addCallback(lambda _: fired.append("deaf"))
        gone.addCallback(lambda _: fired.append("gone"))
        assert [said[-1] for said in scene.said.values()] == ["stop", "stop"]
        for worker in scene.begun:
            scene.hear(worker, "deaf")
        assert fired == ["deaf"]
        for worker in scene.begun:
            scene.end(worker)
        assert fired == ["deaf", "gone"]
        assert scene.left == [0, 1]
        assert not scene.clock.getDelayedCalls()

    def test_one_that_hangs_holds_up_the_closing_of_sockets_for_a_second(
        self, scene: Scene
    ) -> None:
        fired: list[None] = []
        scene.crew.stop(15.0)[0].addCallback(fired.append)
        scene.hear(scene.begun[0], "deaf")
        assert fired == []
        scene.clock.advance(DEAF_PATIENCE)
        assert fired == [None]

    def test_what_is_left_after_its_patience_is_killed(self, scene: Scene) -> None:
        fired: list[None] = []
        scene.crew.stop(2.5)[1].addCallback(fired.append)
        scene.tick(0, 1)
        scene.tick(0, 1)
        assert scene.killed == []
        scene.clock.advance(0.5)
        assert scene.killed == [0, 1]
        assert fired == [None]
        assert not scene.clock.getDelayedCalls()

    def test_it_stops_what_waits_to_be_replaced(self, scene: Scene) -> None:
        scene.end(scene.begun[0])
        scene.crew.stop(1.0)
        scene.end(scene.begun[1])
        assert not scene.clock.getDelayedCalls()
        assert len(scene.begun) == 2

    def test_without_a_start_there_is_nothing_to_wait_for(self) -> None:
        scene = Scene()
        fired: list[None] = []
        for done in scene.crew.stop(1.0):
            done.addCallback(fired.append)
        assert fired == [None, None]
        assert not scene.clock.getDelayedCalls()
