"""Stops, restarts, doubts and condemnations: what becomes of requests and process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from sqsuper.config.model import Engine, Restart, Start, Tenant
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.lifecycle import Lifecycle
from tests.unit.supervisor.staging import Scene, Stage, staged, unavailable, upstream
from tests.unit.supervisor.support import logged

TERM, CONT, KILL = 15, 18, 9


class CommandStage(Stage):
    """Its tenants have command engines."""

    def tenant(self, name: str = "alice", **changes: Any) -> Tenant:
        return super().tenant(name, engine=Engine.COMMAND, command=("x",), **changes)


@pytest.fixture
def stage(short_dir: Path) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


@pytest.fixture
def scene(stage: Stage) -> Scene:
    """Alice runs, and takes requests."""
    scene = stage(stage.tenant(drain=10.0, restart=Restart(backoff=1.0, jitter=0.0)))
    scene.wait()
    scene.children.last.ready()
    return scene


def alice(scene: Scene) -> Lifecycle:
    return scene.supervisor.lives["alice"]


def busy(scene: Scene) -> list[Deferred[None]]:
    """Let requests be under way until the Deferreds returned (one a drain) fire."""
    asked: list[Deferred[None]] = []

    def quiet(name: str) -> Deferred[None]:
        assert name == "alice"
        asked.append(Deferred())
        return asked[-1]

    scene.supervisor.drain_by(quiet)
    return asked


class TestDraining:
    def test_it_has_a_state_of_its_own_and_ends_when_it_is_quiet(self, scene: Scene) -> None:
        asked = busy(scene)
        scene.supervisor.stop("alice")
        assert scene.supervisor.state("alice") is State.DRAINING
        assert scene.supervisor.ready("alice") is None
        assert scene.children.last.signals == []
        asked[0].callback(None)
        assert scene.supervisor.state("alice") is State.STOPPING
        assert scene.children.last.signals == [TERM, CONT]

    def test_it_takes_no_longer_than_it_may(self, scene: Scene) -> None:
        asked = busy(scene)
        scene.supervisor.stop("alice")
        scene.reactor.advance(9.9)
        assert scene.supervisor.state("alice") is State.DRAINING
        scene.reactor.advance(0.1)
        assert scene.supervisor.state("alice") is State.STOPPING
        assert "not quiet within 10 s" in scene.supervisor.history("alice")[-1].reason
        asked[0].callback(None)
        assert scene.children.last.signals == [TERM, CONT]

    def test_quiet_that_comes_after_the_end_means_nothing(self, scene: Scene) -> None:
        asked = busy(scene)
        done = scene.supervisor.stop("alice")
        scene.children.last.exit(None, 11)
        assert done.called
        assert scene.supervisor.state("alice") is State.STOPPED
        scene.wait()
        scene.children.last.ready()
        asked[0].callback(None)
        assert scene.supervisor.state("alice") is State.HEALTHY

    def test_what_waits_too_long_is_told(self, scene: Scene) -> None:
        busy(scene)
        scene.supervisor.stop("alice")
        got = scene.wait()
        scene.reactor.advance(10.0)
        assert unavailable(got).code == "draining"


class TestRestart:
    """Of an engine that cannot have its successor beside it."""

    @pytest.fixture
    def stage(self, short_dir: Path) -> Iterator[Stage]:
        with staged(short_dir, CommandStage) as stage:
            yield stage

    def test_requests_are_held_for_the_gap(self, scene: Scene) -> None:
        before = scene.supervisor.ready("alice")
        done = scene.supervisor.restart("alice")
        assert scene.states()[-2:] == ["draining", "stopping"]
        got = scene.wait()
        scene.children.last.exit()
        assert got == []
        assert not done.called
        scene.children.last.ready()
        assert upstream(got) != before
        assert done.result is True

    def test_nobody_needs_to_ask_for_it_to_start_again(self, scene: Scene) -> None:
        scene.supervisor.restart("alice")
        scene.children.last.exit()
        assert scene.supervisor.state("alice") is State.STARTING

    def test_one_that_does_not_come_to_be(self, scene: Scene) -> None:
        done = scene.supervisor.restart("alice")
        scene.children.last.exit()
        scene.children.last.exit(3)
        assert done.result is False
        assert scene.supervisor.state("alice") is State.BACKOFF

    def test_one_that_is_stopped_instead(self, scene: Scene) -> None:
        done = scene.supervisor.restart("alice")
        stopped = scene.supervisor.stop("alice")
        scene.children.last.exit()
        assert stopped.called
        assert done.result is False
        assert scene.supervisor.state("alice") is State.STOPPED

    def test_of_one_that_does_not_run_it_is_a_start(self, stage: Stage) -> None:
        scene = stage(stage.tenant())
        done = scene.supervisor.restart("alice")
        scene.children.last.ready()
        assert done.result is True

    def test_in_a_backoff_it_comes_at_once(self, scene: Scene) -> None:
        scene.children.last.exit(3)
        done = scene.supervisor.restart("alice")
        scene.children.last.ready()
        assert done.result is True

    def test_two_at_once_are_one(self, scene: Scene) -> None:
        done = [scene.supervisor.restart("alice") for _ in range(2)]
        scene.children.last.exit()
        scene.children.last.ready()
        assert [each.result for each in done] == [True, True]
        assert len(scene.children.all) == 2

    def test_of_a_disabled_tenant(self, stage: Stage) -> None:
        scene = stage(stage.tenant(enabled=False))
        assert scene.supervisor.restart("alice").result is False

    def test_while_the_service_stops(self, scene: Scene) -> None:
        done = scene.supervisor.restart("alice")
        stopped = scene.supervisor.stopService()
        assert scene.supervisor.restart("alice").result is False
        scene.children.last.exit()
        assert done.result is False
        assert stopped.called
        assert len(scene.children.all) == 1


class TestByHand:
    def test_one_stopped_by_hand_stays_stopped(self, scene: Scene) -> None:
        waiting = busy(scene)
        done = scene.supervisor.stop("alice", by_hand=True)
        told = unavailable(scene.wait())
        assert told.code == "stopped"
        waiting[0].callback(None)
        scene.children.last.exit()
        assert done.called
        assert unavailable(scene.wait()).code == "stopped"
        alice(scene).attend()
        scene.reactor.advance(1000.0)
        assert scene.supervisor.state("alice") is State.STOPPED
        assert len(scene.children.all) == 1

    def test_who_waits_then_is_told(self, stage: Stage) -> None:
        scene = stage()
        got = scene.wait()
        scene.supervisor.stop("alice", by_hand=True)
        assert unavailable(got).code == "stopped"
        scene.children.last.exit()
        assert scene.supervisor.state("alice") is State.STOPPED

    @pytest.mark.parametrize("how", ["start", "restart"])
    def test_until_it_is_started_by_hand(self, scene: Scene, how: str) -> None:
        scene.supervisor.stop("alice", by_hand=True)
        scene.children.last.exit()
        getattr(scene.supervisor, how)("alice")
        assert scene.supervisor.state("alice") is State.STARTING
        got = scene.wait()
        scene.children.last.ready()
        upstream(got)

    def test_a_start_during_the_stop_is_not_forgotten(self, scene: Scene) -> None:
        scene.supervisor.stop("alice", by_hand=True)
        scene.supervisor.start("alice")
        scene.children.last.exit()
        assert scene.supervisor.state("alice") is State.STARTING

    def test_one_that_failed_stays_stopped_too(self, stage: Stage) -> None:
        scene = stage(stage.tenant(restart=Restart(intensity=0)))
        scene.wait()
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.FAILED
        scene.supervisor.stop("alice", by_hand=True)
        scene.reactor.advance(100.0)
        assert scene.supervisor.state("alice") is State.STOPPED
        assert unavailable(scene.wait()).code == "stopped"

    def test_its_own_port_is_not_watched_then(self, stage: Stage) -> None:
        from tests.unit.supervisor.test_lifecycle import free

        scene = stage(stage.tenant(port=free()))
        assert len(scene.reactor.getReaders()) == 1
        scene.supervisor.stop("alice", by_hand=True)
        assert scene.reactor.getReaders() == []
        alice(scene).hold(False)
        assert len(scene.reactor.getReaders()) == 1


class TestDoubt:
    def test_no_new_requests_until_it_recovers(self, scene: Scene) -> None:
        there = scene.supervisor.ready("alice")
        alice(scene).doubted(Cause.PROBE, "no answer within 2 s")
        assert scene.supervisor.state("alice") is State.UNHEALTHY
        assert scene.supervisor.ready("alice") is None
        got = scene.wait()
        assert got == []
        assert scene.children.last.signals == []
        alice(scene).recovered("it answered")
        assert upstream(got) == there
        assert scene.states()[-2:] == ["unhealthy", "healthy"]
        told = [(event.kind, event.cause) for event in scene.supervisor.events.recent]
        assert told == [(Kind.UNHEALTHY, "probe"), (Kind.RECOVERED, "recovered")]

    def test_who_waits_too_long_is_told(self, scene: Scene) -> None:
        alice(scene).doubted(Cause.PROBE, "no answer")
        got = scene.wait()
        scene.reactor.advance(10.0)
        assert unavailable(got).code == "timeout"

    def test_time_in_doubt_does_not_mend(self, stage: Stage) -> None:
        restart = Restart(backoff=1.0, jitter=0.0, reset_after=60.0, intensity=1)
        scene = stage(stage.tenant(restart=restart))
        scene.wait()
        scene.children.last.exit(3)
        scene.reactor.advance(1.0)
        scene.children.last.ready()
        alice(scene).doubted(Cause.PROBE, "no answer")
        scene.reactor.advance(58.0)
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.FAILED

    @pytest.mark.parametrize("call", ["doubted", "recovered"])
    def test_in_any_other_state_it_means_nothing(self, stage: Stage, call: str) -> None:
        scene = stage()
        arguments = (Cause.PROBE, "why") if call == "doubted" else ("why",)
        getattr(alice(scene), call)(*arguments)
        scene.wait()
        getattr(alice(scene), call)(*arguments)
        assert scene.states() == ["starting"]

    def test_one_in_doubt_can_be_stopped(self, scene: Scene) -> None:
        alice(scene).doubted(Cause.PROBE, "no answer")
        done = scene.supervisor.stop("alice")
        scene.children.last.exit()
        assert done.called
        assert scene.states()[-3:] == ["draining", "stopping", "stopped"]

    def test_one_in_doubt_that_dies_is_restarted(self, scene: Scene) -> None:
        alice(scene).doubted(Cause.PROBE, "no answer")
        scene.children.last.exit(None, 11)
        assert scene.supervisor.state("alice") is State.BACKOFF


class TestCondemned:
    def test_it_is_ended_counted_and_restarted(self, scene: Scene) -> None:
        alice(scene).condemn(Cause.MEMORY, "3 GB", drain=False)
        assert scene.supervisor.state("alice") is State.STOPPING
        assert scene.supervisor.ready("alice") is None
        assert scene.children.last.signals == [TERM, CONT]
        scene.reactor.advance(3.0)
        assert scene.children.last.signals[-1] == KILL
        got = scene.wait()
        scene.children.last.exit(None, 9)
        change = scene.supervisor.history("alice")[-1]
        assert (change.after, change.cause) == (State.BACKOFF, Cause.MEMORY)
        assert change.reason == "3 GB; killed by SIGKILL"
        scene.reactor.advance(1.0)
        scene.children.last.ready()
        upstream(got)
        event = scene.supervisor.events.recent[-1]
        assert (event.kind, event.cause) == (Kind.RESTARTED, "memory limit")

    def test_drained_first_where_that_is_asked(self, scene: Scene) -> None:
        asked = busy(scene)
        alice(scene).condemn(Cause.THREADS, "80 threads", drain=True)
        assert scene.supervisor.state("alice") is State.DRAINING
        assert scene.children.last.signals == []
        asked[0].callback(None)
        assert scene.children.last.signals == [TERM, CONT]
        scene.children.last.exit(0)
        change = scene.supervisor.history("alice")[-1]
        assert (change.after, change.cause) == (State.BACKOFF, Cause.THREADS)

    def test_one_that_does_not_even_drain_is_ended_at_once(self, scene: Scene) -> None:
        busy(scene)
        alice(scene).condemn(Cause.MEMORY, "2 GB", drain=True)
        alice(scene).condemn(Cause.PROBE, "deaf", drain=False)
        assert scene.supervisor.state("alice") is State.STOPPING
        scene.children.last.exit(None, 9)
        assert scene.supervisor.history("alice")[-1].cause is Cause.MEMORY

    def test_too_often_and_it_is_given_up(self, stage: Stage) -> None:
        scene = stage(stage.tenant(restart=Restart(intensity=0)))
        scene.wait()
        scene.children.last.ready()
        alice(scene).condemn(Cause.MEMORY, "3 GB", drain=False)
        scene.children.last.exit(0)
        assert scene.supervisor.state("alice") is State.FAILED
        assert unavailable(scene.wait()).cause == "memory limit"

    def test_a_stop_meanwhile_makes_it_planned(self, scene: Scene) -> None:
        alice(scene).condemn(Cause.MEMORY, "3 GB", drain=False)
        done = scene.supervisor.stop("alice")
        scene.children.last.exit(None, 9)
        assert done.called
        assert scene.supervisor.state("alice") is State.STOPPED

    def test_during_a_planned_stop_it_means_nothing_but_haste(self, scene: Scene) -> None:
        busy(scene)
        done = scene.supervisor.stop("alice")
        alice(scene).condemn(Cause.PROBE, "deaf", drain=False)
        assert scene.supervisor.state("alice") is State.STOPPING
        scene.children.last.exit(None, 9)
        assert done.called
        assert scene.supervisor.state("alice") is State.STOPPED

    def test_without_a_process_it_means_nothing(self, stage: Stage) -> None:
        scene = stage(stage.tenant("alice"), stage.tenant("bob"), spawn_concurrency=1)
        alice(scene).condemn(Cause.PROBE, "why", drain=False)
        scene.wait("bob")
        scene.wait("alice")
        alice(scene).condemn(Cause.PROBE, "why", drain=False)
        scene.children.last.ready()
        scene.children.last.exit(None, 11)
        assert scene.supervisor.history("alice")[-1].cause is Cause.CRASH

    def test_while_it_starts_there_is_nothing_to_drain(self, stage: Stage) -> None:
        scene = stage()
        scene.wait()
        alice(scene).condemn(Cause.MEMORY, "3 GB", drain=True)
        assert scene.supervisor.state("alice") is State.STOPPING


class TestObservers:
    def test_they_see_every_change_with_the_state_made(self, stage: Stage) -> None:
        scene = stage()
        seen: list[tuple[str, State, State]] = []

        class Watcher:
            def became(self, life: Lifecycle, change: Change) -> None:
                assert life.state is change.after
                seen.append((life.tenant.name, change.before, change.after))

        scene.supervisor.fleet.observers.append(Watcher())
        scene.wait()
        scene.children.last.ready()
        scene.supervisor.stop("alice")
        scene.children.last.exit()
        assert [after.value for _, _, after in seen] == scene.states()
        assert {name for name, _, _ in seen} == {"alice"}

    def test_one_that_fails_is_logged_and_stops_nothing(self, stage: Stage) -> None:
        scene = stage()

        class Broken:
            def became(self, life: Lifecycle, change: Change) -> None:
                raise ValueError("no")

        scene.supervisor.fleet.observers.insert(0, Broken())
        with logged() as lines:
            got = scene.wait()
            scene.children.last.ready()
        upstream(got)
        assert any("observer of alice failed" in line for line in lines)
        scene.supervisor.fleet.observers.pop(0)


def test_other_settings_hold_from_the_next_failure(scene: Scene) -> None:
    tenant = alice(scene).tenant
    settings = attrs.evolve(tenant.settings, restart=Restart(backoff=7.0, jitter=0.0))
    alice(scene).configure(attrs.evolve(tenant, settings=settings))
    scene.children.last.exit(3)
    scene.reactor.advance(6.9)
    assert scene.supervisor.state("alice") is State.BACKOFF
    scene.reactor.advance(0.1)
    assert scene.supervisor.state("alice") is State.STARTING


def test_an_eager_tenant_stopped_by_hand_does_not_start_with_attend(stage: Stage) -> None:
    scene = stage(stage.tenant(start=Start.EAGER))
    scene.children.last.ready()
    scene.supervisor.stop("alice", by_hand=True)
    scene.children.last.exit()
    alice(scene).attend()
    assert scene.supervisor.state("alice") is State.STOPPED
