"""What a start does when the zygote is warm, warming, silent, full or gone; no process here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from sqsuper.supervisor import reaper, zygote_launcher
from sqsuper.supervisor.launchers import LaunchProtocol
from sqsuper.supervisor.plan import CONTROL_FD, Plan
from sqsuper.supervisor.zygote import Answer, Heard, Lost
from sqsuper.supervisor.zygote_launcher import ANSWER_SECONDS, READY_SECONDS, ZygoteLauncher

OURS = 4711


class FakeZygote:
    """Takes questions and says nothing by itself."""

    all: list[FakeZygote]
    failing = False

    def __init__(self, reactor: Any, room: Path, *, heard: Heard, lost: Lost) -> None:
        self.heard, self.lost = heard, lost
        self.asked: dict[int, Plan] = {}
        self.control: dict[int, int] = {}
        self.full = self.killed = self.gone = self.ended = False
        self.pid = 1

    def start(self, paths: tuple[str, ...]) -> None:
        if FakeZygote.failing:
            raise OSError(11, "Resource temporarily unavailable")
        FakeZygote.all.append(self)

    def ask(self, number: int, plan: Plan, descriptors: Mapping[int, int]) -> None:
        if self.full:
            raise BlockingIOError(11, "would block")
        self.asked[number] = plan
        self.control[number] = os.dup(descriptors[CONTROL_FD])

    def kill(self) -> None:
        self.killed = True

    def end(self, patience: float) -> Deferred[None]:
        self.ended = True
        return succeed(None)

    def say(self, number: int | None = None, told: int | str = "") -> None:
        answer = None if number is None else Answer(number, told)
        self.heard(self, answer)  # type: ignore[arg-type]

    def die(self) -> None:
        self.gone = True
        self.lost(self, "killed")  # type: ignore[arg-type]


class Spawned:
    """The other launcher: records."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failing = False

    def start(self, *, preload: bool) -> None:
        raise AssertionError("not its to start")

    def launch(self, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        if self.failing:
            raise OSError(24, "Too many open files")
        assert all(os.fstat(fd) for fd in inherited.values())
        self.names.append(plan.tenant)

    def stop(self) -> Deferred[None]:
        return succeed(None)


class Protocol(LaunchProtocol):
    failure: Exception | None = None

    def launch_failed(self, error: Exception) -> None:
        self.failure = error


@attrs.define
class Scene:
    clock: Clock
    launcher: ZygoteLauncher
    spawned: Spawned
    adopted: list[int]
    held: list[int] = attrs.field(factory=list)

    def launch(self, name: str = "alice", *, preloaded: bool = True) -> Protocol:
        protocol = Protocol()
        inherited = os.open(os.devnull, os.O_RDONLY)
        try:
            plan = Plan(name, ("x",), {}, "m" * 32, forks=False, preloaded=preloaded)
            self.launcher.launch(protocol, plan, {5: inherited})
        finally:
            os.close(inherited)  # the launcher must not depend on it
        return protocol

    @property
    def zygote(self) -> FakeZygote:
        return FakeZygote.all[-1]

    def warm(self) -> FakeZygote:
        self.zygote.say()
        return self.zygote


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    clock, spawned = Clock(), Spawned()
    adopted: list[int] = []

    def adopt(reactor: object, protocol: object, pid: int, pipes: Any) -> None:
        pipes.close()
        adopted.append(pid)

    FakeZygote.all = []
    FakeZygote.failing = False
    monkeypatch.setattr(zygote_launcher, "Zygote", FakeZygote)
    monkeypatch.setattr(zygote_launcher, "Adopted", adopt)
    monkeypatch.setattr(zygote_launcher, "is_our_child", lambda pid: pid == OURS)
    monkeypatch.setattr(reaper, "subreaper", lambda: False)
    monkeypatch.setattr(reaper, "set_subreaper", lambda on: True)
    launcher = ZygoteLauncher(clock, spawned, paths=(), run_dir=tmp_path, random=lambda: 0.0)
    before = len(os.listdir("/dev/fd"))
    launcher.start(preload=True)
    yield Scene(clock, launcher, spawned, adopted)
    launcher.stop()
    for zygote in FakeZygote.all:
        for fd in zygote.control.values():
            os.close(fd)
    assert clock.getDelayedCalls() == []
    assert len(os.listdir("/dev/fd")) == before


def abandoned(zygote: FakeZygote, number: int) -> bool:
    """Whether a process forked for that question sees the end of its control pipe."""
    os.set_blocking(zygote.control[number], False)
    try:
        return os.read(zygote.control[number], 1) == b""
    except BlockingIOError:
        return False


def test_a_warm_zygote_is_asked_and_what_it_forked_adopted(scene: Scene) -> None:
    zygote = scene.warm()
    scene.launch()
    assert list(zygote.asked) == [1]
    assert not abandoned(zygote, 1)
    zygote.say(1, OURS)
    assert scene.adopted == [OURS]
    scene.clock.advance(READY_SECONDS)
    assert not zygote.killed
    assert scene.spawned.names == []


def test_the_first_one_is_waited_for(scene: Scene) -> None:
    scene.launch()
    assert list(scene.zygote.asked) == [1]
    scene.clock.advance(READY_SECONDS - 0.1)
    scene.warm()
    scene.clock.advance(ANSWER_SECONDS - 0.1)
    assert scene.spawned.names == []
    scene.zygote.say(1, OURS)
    assert scene.adopted == [OURS]


def test_one_that_does_not_get_warm_is_replaced(scene: Scene) -> None:
    scene.launch()
    first = scene.zygote
    scene.clock.advance(READY_SECONDS)
    assert first.killed
    assert abandoned(first, 1)
    assert scene.spawned.names == ["alice"]
    scene.clock.advance(0.1)
    assert len(FakeZygote.all) == 2


def test_silence_is_counted_from_its_last_word(scene: Scene) -> None:
    zygote = scene.warm()
    for name in ("alice", "bob"):
        scene.launch(name)
    scene.clock.advance(ANSWER_SECONDS - 0.1)
    zygote.say(1, OURS)
    scene.clock.advance(ANSWER_SECONDS - 0.1)
    assert not zygote.killed
    scene.clock.advance(0.1)
    assert zygote.killed
    assert abandoned(zygote, 2)
    assert scene.spawned.names == ["bob"]
    # What it says after that is nobody's.
    zygote.say(2, OURS)
    assert scene.adopted == [OURS]


def test_while_it_is_replaced_starts_are_spawned(scene: Scene) -> None:
    zygote = scene.warm()
    scene.launch("alice")
    zygote.die()
    assert scene.spawned.names == ["alice"]
    scene.launch("bob")
    scene.clock.advance(0.1)
    assert len(FakeZygote.all) == 2
    scene.launch("carol")
    assert scene.spawned.names == ["alice", "bob", "carol"]
    scene.warm()
    scene.launch("dave")
    assert next(iter(scene.zygote.asked.values())).tenant == "dave"


def test_one_that_keeps_dying_is_tried_ever_more_rarely(scene: Scene) -> None:
    for least in (0.1, 0.2, 0.4, 0.8):
        count = len(FakeZygote.all)
        scene.warm().die()
        scene.clock.advance(least - 0.01)
        assert len(FakeZygote.all) == count
        scene.clock.advance(0.02)
        assert len(FakeZygote.all) == count + 1
    scene.warm()
    scene.clock.advance(60)
    scene.zygote.die()
    scene.clock.advance(0.11)
    assert len(FakeZygote.all) == 6


def test_one_that_cannot_be_started_is_tried_again(scene: Scene) -> None:
    FakeZygote.failing = True
    scene.warm().die()
    scene.clock.advance(0.1)
    scene.launch()
    assert scene.spawned.names == ["alice"]
    FakeZygote.failing = False
    scene.clock.advance(0.2)
    assert len(FakeZygote.all) == 2


@pytest.mark.parametrize("told", ["Cannot allocate memory", "", OURS + 1])
def test_a_fork_that_failed_is_spawned(scene: Scene, told: int | str) -> None:
    zygote = scene.warm()
    scene.launch()
    zygote.say(1, told)
    assert scene.adopted == []
    assert abandoned(zygote, 1)
    assert scene.spawned.names == ["alice"]


def test_a_full_queue_is_spawned_past(scene: Scene) -> None:
    scene.warm().full = True
    scene.launch()
    assert scene.spawned.names == ["alice"]


def test_what_may_not_be_preloaded_is_spawned(scene: Scene) -> None:
    scene.warm()
    scene.launch(preloaded=False)
    assert scene.spawned.names == ["alice"]
    assert scene.zygote.asked == {}


def test_a_spawn_that_fails_late_is_told(scene: Scene) -> None:
    scene.warm()
    protocol = scene.launch()
    scene.spawned.failing = True
    scene.zygote.die()
    assert isinstance(protocol.failure, OSError)


def test_an_answer_to_nothing_does_no_harm(scene: Scene) -> None:
    zygote = scene.warm()
    zygote.say(77, OURS)
    assert scene.adopted == []
    scene.launch()
    zygote.say(1, OURS)
    assert scene.adopted == [OURS]


def test_without_a_subreaper_everything_is_spawned(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "set_subreaper", lambda on: False)
    count = len(FakeZygote.all)
    other = ZygoteLauncher(
        scene.clock, scene.spawned, paths=(), run_dir=tmp_path, random=lambda: 0.0
    )
    other.start(preload=True)
    other.launch(Protocol(), Plan("bob", ("x",), {}, "m", forks=False, preloaded=True), {})
    assert scene.spawned.names == ["bob"]
    assert len(FakeZygote.all) == count
    done: list[object] = []
    other.stop().addCallback(done.append)
    assert done == [None]
