"""Whatever happens to a tenant's instance, in whatever order, the supervisor's rules hold."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from twisted.internet.defer import Deferred

from sqsuper.config.model import Engine, Restart, Start
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.instance import ENDING, RUNNING, TRANSITIONS, Change, State
from sqsuper.supervisor.lifecycle import Lifecycle
from tests.unit.supervisor.staging import Child, Scene, Stage

NAMES = ("alice", "carol")
names = st.sampled_from(NAMES)
causes = st.sampled_from([Cause.PROBE, Cause.MEMORY, Cause.THREADS])


class Fleet(RuleBasedStateMachine):
    """Alice has an embedded engine and is eager, carol a command."""

    @initialize(intensity=st.integers(0, 3), concurrency=st.integers(1, 2))
    def begin(self, intensity: int, concurrency: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sqs-", dir="/tmp"))
        self.mask = os.umask(0o022)
        self.stage = Stage(self.directory)
        restart = Restart(backoff=0.5, backoff_max=4.0, jitter=0.0, intensity=intensity)
        common: dict[str, Any] = {"restart": restart, "drain": 3.0}
        self.scene: Scene = self.stage(
            self.stage.tenant("alice", start=Start.EAGER, **common),
            self.stage.tenant("carol", engine=Engine.COMMAND, command=("x",), **common),
            spawn_concurrency=concurrency,
        )
        self.busy: dict[str, list[Deferred[None]]] = {}
        self.ends: list[tuple[str, Deferred[Any]]] = []
        self.outcomes: list[list[Upstream | Unavailable]] = []
        self.changes: list[Change] = []
        self.scene.supervisor.drain_by(self.quiet)
        self.scene.supervisor.fleet.observers.append(self)
        self.addresses: dict[str, list[Upstream | None]] = {name: [] for name in NAMES}
        self.scene.supervisor.watch(lambda name, there: self.addresses[name].append(there))

    def quiet(self, name: str) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.busy.setdefault(name, []).append(done)
        return done

    def became(self, life: Lifecycle, change: Change) -> None:
        assert TRANSITIONS[change.before, change.event] is change.after
        self.changes.append(change)

    def life(self, name: str) -> Lifecycle:
        return self.scene.supervisor.lives[name]

    def is_embedded(self, name: str) -> bool:
        return name != "carol"

    def children(self, name: str) -> list[Child]:
        """Return the tenant's processes that are not reaped."""
        return [
            child
            for child in self.scene.children.all
            if child.plan.tenant == name and child.pid is not None
        ]

    @rule(name=names)
    def ask(self, name: str) -> None:
        self.outcomes.append(self.scene.wait(name))

    @rule(name=names)
    def bring_up(self, name: str) -> None:
        """What is ending has ended; somebody asks, and what comes up does so, after a while."""
        if self.life(name).state in ENDING:
            self.requests_end(name)
            for child in self.children(name)[::-1]:
                if child.signals:
                    child.exit(None, child.signals[-1])
        self.ask(name)
        for seconds in (0.6, 1.2, 2.4):
            if self.life(name).state is State.BACKOFF:
                self.scene.reactor.advance(seconds)
        self.ready(name)

    @rule(name=names)
    def ready(self, name: str) -> None:
        for child in self.children(name):
            child.ready()
            break  # a successor waits for the lock

    @rule(name=names)
    def stand_by(self, name: str) -> None:
        for child in self.children(name)[1:]:
            child.stands_by()

    @rule(
        name=names,
        how=st.sampled_from([(0, None), (3, None), (None, 9), (None, 11)]),
        which=st.integers(0, 1),
    )
    def end(self, name: str, how: tuple[int | None, int | None], which: int) -> None:
        there = self.children(name)
        if there:
            there[min(which, len(there) - 1)].exit(*how)

    @rule(name=names, cause=causes)
    def doubt(self, name: str, cause: Cause) -> None:
        self.bring_up(name)
        self.life(name).doubted(cause, "why")

    @rule(name=names)
    def recover(self, name: str) -> None:
        self.life(name).recovered("why")

    @rule(name=names, cause=causes, drain=st.booleans(), up=st.booleans())
    def condemn(self, name: str, cause: Cause, drain: bool, up: bool) -> None:
        if up:
            self.bring_up(name)
        self.life(name).condemn(cause, "why", drain=drain)

    @rule(name=names, by_hand=st.booleans())
    def stop(self, name: str, by_hand: bool) -> None:
        self.ends.append((name, self.scene.supervisor.stop(name, by_hand=by_hand)))

    @rule(name=names)
    def restart(self, name: str) -> None:
        self.ends.append((name, self.scene.supervisor.restart(name)))

    @rule(name=names, standing=st.booleans(), stopped=st.booleans())
    def begin_to_replace(self, name: str, standing: bool, stopped: bool) -> None:
        self.bring_up(name)
        self.restart(name)
        if standing:
            self.stand_by(name)
        if stopped:
            self.stop(name, by_hand=False)

    @rule(name=names, oldest_first=st.booleans())
    def all_end(self, name: str, oldest_first: bool) -> None:
        there = self.children(name)
        for child in there if oldest_first else there[::-1]:
            child.exit(0)
            self.the_rules_hold()

    @rule(name=names)
    def start(self, name: str) -> None:
        self.scene.supervisor.start(name)

    @rule(name=names)
    def reset(self, name: str) -> None:
        self.scene.supervisor.reset(name)

    @rule(name=names)
    def requests_end(self, name: str) -> None:
        for done in self.busy.pop(name, []):
            done.callback(None)

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.5, 9.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.scene.reactor.advance(seconds)

    @rule(name=names)
    def a_process_cannot_be_started(self, name: str) -> None:
        self.scene.children.failing = True
        self.ask(name)
        self.restart(name)
        self.scene.children.failing = False

    @precondition(lambda self: hasattr(self, "scene"))
    @invariant()
    def the_rules_hold(self) -> None:
        for name in NAMES:
            life, there = self.life(name), self.children(name)
            successor = life._keeper.replacing
            assert len(there) <= 1 + successor, "two processes on one directory"
            assert not successor or self.is_embedded(name)
            assert not there or life.state in RUNNING
            assert bool(there) >= (life.pid is not None)
            assert (life.upstream is not None) == (life.state is State.HEALTHY)
            assert life.state is not State.HEALTHY or life.pid is not None
            if life.held:
                assert life.state not in {State.BACKOFF, State.FAILED, State.HEALTHY}
            if life.state in {State.STOPPING, State.DRAINING}:
                assert there, "nothing is left that could end"
            if life.state in {State.BACKOFF}:
                assert life.due_at is not None
            epochs = [each.epoch for each in self.addresses[name] if each is not None]
            assert epochs == sorted(epochs), "an old epoch came back"
        for outcome in self.outcomes:
            assert len(outcome) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return
        supervisor = self.scene.supervisor
        done = supervisor.stopService()
        for name in NAMES:
            for pending in self.busy.pop(name, []):
                pending.callback(None)
        for child in self.scene.children.all:
            if child.pid is not None:
                child.exit()
        assert done.called, "a stop always ends"
        assert all(deferred.called for _, deferred in self.ends)
        assert all(outcome for outcome in self.outcomes), "a request heard nothing"
        assert self.scene.sockets() == []
        assert self.scene.reactor.getDelayedCalls() == []
        os.umask(self.mask)
        shutil.rmtree(self.directory)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
