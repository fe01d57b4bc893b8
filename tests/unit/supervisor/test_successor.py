"""A healthy embedded engine's successor is loaded before it is asked to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from sqsuper.config.model import Restart
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.instance import State
from tests.unit.supervisor.staging import Child, Scene, Stage, staged, upstream

TERM, CONT, KILL = 15, 18, 9


@pytest.fixture
def stage(short_dir: Path) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


class Change:
    """Alice runs, and her successor was started."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        scene.wait()
        self.old: Child = scene.children.last
        self.old.ready()
        self.before = scene.supervisor.ready("alice")
        self.done = scene.supervisor.restart("alice")
        self.new: Child = scene.children.last
        assert self.new is not self.old

    @property
    def state(self) -> str:
        return self.scene.supervisor.state("alice").value


@pytest.fixture
def change(stage: Stage) -> Change:
    return Change(stage(stage.tenant(drain=4.0, restart=Restart(backoff=1.0, jitter=0.0))))


def test_until_it_stands_by_nothing_changes(change: Change) -> None:
    assert change.state == "healthy"
    assert change.scene.supervisor.ready("alice") == change.before
    assert change.old.signals == []
    assert upstream(change.scene.wait()) == change.before


def test_it_waits_long_enough_for_the_one_before(change: Change) -> None:
    words = change.new.plan.words
    patience = float(words[words.index("--lock-seconds") + 1])
    assert patience >= 4.0 + 3.0, "drain and stop_grace"
    assert "--lock-seconds" not in change.old.plan.words


def test_then_the_old_one_ends_and_requests_wait_for_the_new(change: Change) -> None:
    change.new.stands_by()
    assert change.scene.states()[-2:] == ["draining", "stopping"]
    assert change.old.signals == [TERM, CONT]
    got = change.scene.wait()
    change.old.exit(0)
    assert change.state == "starting"
    assert got == []
    change.new.ready()
    assert upstream(got) == change.scene.supervisor.ready("alice") != change.before
    assert change.done.result is True
    assert change.scene.supervisor.pid("alice") == change.new.pid
    assert len(change.scene.children.all) == 2
    assert change.scene.states()[-5:] == ["draining", "stopping", "stopped", "starting", "healthy"]


def test_it_is_drained_first(change: Change) -> None:
    quiet: Deferred[None] = Deferred()
    change.scene.supervisor.drain_by(lambda _: quiet)
    change.new.stands_by()
    assert change.state == "draining"
    assert change.old.signals == []
    quiet.callback(None)
    assert change.old.signals == [TERM, CONT]


def test_that_it_is_ready_may_be_heard_before_the_end_of_the_old_one(change: Change) -> None:
    change.new.stands_by()
    change.new.ready()
    assert change.state == "stopping"
    change.old.exit(0)
    assert change.state == "healthy"
    assert change.done.result is True


def test_one_that_ends_leaves_the_old_one_as_it_is(change: Change) -> None:
    change.new.exit(1)
    assert change.done.result is False
    assert change.state == "healthy"
    assert change.scene.supervisor.ready("alice") == change.before
    assert change.old.signals == []
    assert len(change.scene.sockets()) == 1


def test_one_that_never_stands_by_is_ended(change: Change) -> None:
    change.scene.reactor.advance(8.0)
    assert change.new.signals == [KILL]
    assert not change.done.called
    change.new.exit(None, 9)
    assert change.done.result is False
    assert change.state == "healthy"


def test_one_that_cannot_be_started(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    scene.children.last.ready()
    scene.children.failing = True
    assert scene.supervisor.restart("alice").result is False
    assert scene.supervisor.state("alice") is State.HEALTHY
    scene.children.failing = False
    again = scene.supervisor.restart("alice")
    scene.children.last.stands_by()
    scene.children.all[0].exit(0)
    scene.children.last.ready()
    assert again.result is True


def test_one_that_ends_while_the_old_one_does_is_followed_by_a_plain_start(change: Change) -> None:
    change.new.stands_by()
    change.new.exit(1)
    assert not change.done.called
    change.old.exit(0)
    assert change.state == "starting"
    assert len(change.scene.children.all) == 3
    change.scene.children.last.ready()
    assert change.done.result is True


def test_if_the_old_one_crashes_it_takes_its_place_at_once(change: Change) -> None:
    change.old.exit(None, 11)
    assert change.state == "starting"
    assert change.scene.supervisor.history("alice")[-2].cause is Cause.CRASH
    got = change.scene.wait()
    change.new.ready()
    upstream(got)
    assert change.done.result is True
    assert len(change.scene.children.all) == 2


def test_if_it_crashes_while_it_drains_too(change: Change) -> None:
    change.scene.supervisor.drain_by(lambda _: Deferred())
    change.new.stands_by()
    got = change.scene.wait()
    change.old.exit(None, 11)
    assert change.state == "starting"
    change.new.ready()
    upstream(got)
    assert change.done.result is True
    assert len(change.scene.children.all) == 2


def test_even_if_that_was_once_too_often(stage: Stage) -> None:
    change = Change(stage(stage.tenant(restart=Restart(intensity=0))))
    change.old.exit(None, 11)
    assert change.state == "starting"
    change.new.ready()
    assert change.state == "healthy"
    change.new.exit(None, 11)
    assert change.state == "failed"


def test_one_that_took_over_early_and_never_gets_ready_is_late(change: Change) -> None:
    change.old.exit(None, 11)
    change.scene.reactor.advance(8.0)
    assert change.new.signals == [KILL]
    change.new.exit(None, 9)
    assert change.state == "backoff"
    assert change.scene.supervisor.history("alice")[-1].cause is Cause.START_TIMEOUT
    assert change.done.result is False


@pytest.mark.parametrize("standing", [False, True])
@pytest.mark.parametrize("old_first", [False, True])
def test_a_stop_ends_both(change: Change, standing: bool, old_first: bool) -> None:
    if standing:
        change.new.stands_by()
    stopped = change.scene.supervisor.stop("alice")
    assert change.new.signals == [KILL]
    first, second = (change.old, change.new) if old_first else (change.new, change.old)
    first.exit(0)
    assert not stopped.called
    assert change.state == "stopping"
    again = change.scene.supervisor.stop("alice")
    second.exit(0)
    assert stopped.called
    assert again.called
    assert change.done.result is False
    assert change.state == "stopped"
    assert change.scene.sockets() == []


def test_a_request_after_that_stop_starts_another(change: Change) -> None:
    change.scene.supervisor.stop("alice")
    got = change.scene.wait()
    change.old.exit(0)
    assert len(change.scene.children.all) == 2
    change.new.exit(None, 9)
    assert len(change.scene.children.all) == 3
    change.scene.children.last.ready()
    upstream(got)


def test_a_second_restart_waits_for_the_same(change: Change) -> None:
    again = change.scene.supervisor.restart("alice")
    assert len(change.scene.children.all) == 2
    change.new.stands_by()
    late = change.scene.supervisor.restart("alice")
    change.old.exit(0)
    change.new.ready()
    assert [each.result for each in (change.done, again, late)] == [True] * 3


def test_one_condemned_meanwhile_is_replaced_by_it(change: Change) -> None:
    change.scene.supervisor.lives["alice"].condemn(Cause.MEMORY, "3 GB", drain=False)
    change.old.exit(None, 15)
    assert change.state == "starting"
    change.new.ready()
    assert change.done.result is True


def test_one_in_doubt_is_not_waited_for(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    scene.children.last.ready()
    scene.supervisor.lives["alice"].doubted(Cause.PROBE, "no answer")
    done = scene.supervisor.restart("alice")
    assert len(scene.children.all) == 1
    assert scene.children.last.signals == [TERM, CONT]
    scene.children.last.exit(0)
    scene.children.last.ready()
    assert done.result is True
