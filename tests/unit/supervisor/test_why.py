"""Why a tenant is as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.config.model import Restart
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.why import LAST
from tests.unit.supervisor.staging import Scene, Stage, staged


@pytest.fixture
def stage(short_dir: Path) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


@pytest.fixture
def scene(stage: Stage) -> Scene:
    scene = stage(stage.tenant(restart=Restart(backoff=3.0, jitter=0.0, intensity=1)))
    scene.supervisor.inflight_by(lambda name: 4)
    return scene


def test_of_one_that_never_ran(scene: Scene) -> None:
    why = scene.supervisor.why("alice")
    assert (why.tenant, why.state, why.since, why.pid) == ("alice", "stopped", None, None)
    assert (why.ending, why.next_try, why.transitions, why.errors) == (None, None, (), ())
    with pytest.raises(KeyError):
        scene.supervisor.why("nobody")


def test_of_one_that_runs(scene: Scene) -> None:
    scene.wait()
    scene.children.last.ready()
    why = scene.supervisor.why("alice")
    assert (why.state, why.in_flight, why.pid) == ("healthy", 4, scene.children.last.pid)
    assert [(each.before, each.after) for each in why.transitions] == [
        ("stopped", "starting"),
        ("starting", "healthy"),
    ]


def test_of_one_that_crashed(scene: Scene) -> None:
    scene.wait()
    scene.children.last.ready()
    scene.children.last.says(b"first line\nsecond \x1b line\n")
    scene.children.last.exit(None, 11)
    scene.reactor.advance(1.0)
    before = time.time()
    why = scene.supervisor.why("alice")
    assert why.state == "backoff"
    assert why.errors == ("first line", "second \\x1b line")
    assert why.ending is not None
    assert (why.ending.cause, why.ending.exit_code, why.ending.signal) == ("crash", None, 11)
    assert why.ending.reason == "killed by SIGSEGV"
    assert why.ending.in_flight == 4
    assert why.since is not None
    assert why.ending.at == why.since == pytest.approx(before - 1.0, abs=60.0)
    assert why.next_try is not None
    assert why.next_try - why.since == pytest.approx(3.0)
    assert (why.pid, why.memory, why.in_flight) == (None, None, None)
    assert why.transitions[-1].cause == "crash"


def test_of_one_that_was_condemned_and_given_up(scene: Scene) -> None:
    scene.wait()
    scene.children.last.exit(7)
    scene.reactor.advance(3.0)
    scene.children.last.ready()
    scene.supervisor.lives["alice"].condemn(Cause.MEMORY, "3 GB", drain=False)
    scene.supervisor.inflight_by(lambda name: 0)
    scene.children.last.exit(0)
    why = scene.supervisor.why("alice")
    assert (why.state, why.on_trial) == ("failed", True)
    assert why.ending is not None
    assert (why.ending.cause, why.ending.exit_code) == ("memory limit", 0)
    assert why.ending.in_flight == 4, "as when it was condemned"
    assert why.next_try is not None
    assert why.since is not None
    assert why.next_try - why.since == pytest.approx(30.0)


def test_how_it_last_ended_is_still_known_when_it_runs_again(scene: Scene) -> None:
    scene.wait()
    scene.children.last.exit(7)
    scene.reactor.advance(3.0)
    scene.children.last.ready()
    why = scene.supervisor.why("alice")
    assert why.state == "healthy"
    assert why.next_try is None
    assert why.ending is not None
    assert why.ending.exit_code == 7


def test_of_one_stopped_by_hand(scene: Scene) -> None:
    scene.supervisor.stop("alice", by_hand=True)
    why = scene.supervisor.why("alice")
    assert (why.state, why.held) == ("stopped", True)


def test_it_is_fit_for_json_and_bounded(scene: Scene) -> None:
    for _ in range(LAST):
        scene.wait()
        scene.children.last.says(b"a line\n" * 30)
        scene.supervisor.stop("alice")
        scene.children.last.exit()
    why = scene.supervisor.why("alice")
    told = json.loads(json.dumps(why.as_json()))
    assert len(told["transitions"]) == LAST
    assert len(told["errors"]) == 20
    assert told["tenant"] == "alice"
