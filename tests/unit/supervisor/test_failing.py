"""What fails: how it is classed, given up, tried again, and what is told of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.config.model import Engine, Restart, RestartPolicy, Start
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.policy import FIRST_TRIAL
from tests.unit.supervisor.staging import Scene, Stage, staged, unavailable, upstream

TENANTS = 20
ONCE = Restart(backoff=1.0, jitter=0.0, intensity=1, period=60.0, reset_after=60.0)


@pytest.fixture
def stage(short_dir: Path) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


def give_up(scene: Scene) -> None:
    """Let alice fail twice, which is once too often."""
    scene.wait()
    scene.children.last.exit(3)
    scene.reactor.advance(1.0)
    scene.children.last.exit(3)
    assert scene.supervisor.state("alice") is State.FAILED


def kinds(scene: Scene) -> list[str]:
    return [event.kind.value for event in scene.supervisor.events.recent]


def last_cause(scene: Scene, name: str = "alice") -> Cause | None:
    return scene.supervisor.history(name)[-1].cause


class TestGivenUp:
    @pytest.fixture
    def scene(self, stage: Stage) -> Scene:
        scene = stage(stage.tenant(restart=ONCE))
        give_up(scene)
        return scene

    def test_requests_are_told_so_at_once_with_the_class_alone(self, scene: Scene) -> None:
        told = unavailable(scene.wait())
        assert (told.code, told.cause) == ("failed", "crash")
        assert told.retry_after == FIRST_TRIAL
        assert "status" not in told.reason
        scene.reactor.advance(FIRST_TRIAL - 2.5)
        assert unavailable(scene.wait()).retry_after == 3

    def test_who_waited_is_told(self, stage: Stage) -> None:
        scene = stage(stage.tenant(restart=ONCE))
        got = scene.wait()
        scene.children.last.exit(3)
        assert got == []
        scene.reactor.advance(1.0)
        scene.children.last.exit(3)
        assert unavailable(got).code == "failed"

    def test_an_event_is_raised_once(self, scene: Scene) -> None:
        assert kinds(scene) == ["restarted", "failed"]
        event = scene.supervisor.events.recent[-1]
        assert (event.tenant, event.cause, event.facts) == (
            "alice",
            "crash",
            {"retry_after": FIRST_TRIAL},
        )
        assert "exit status 3" in event.text

    def test_nothing_starts_before_the_trial_whoever_asks(self, scene: Scene) -> None:
        count = len(scene.children.all)
        for _ in range(29):
            scene.reactor.advance(1.0)
            scene.wait()
        assert len(scene.children.all) == count
        scene.reactor.advance(1.0)
        assert len(scene.children.all) == count + 1

    def test_during_the_trial_requests_do_not_wait(self, scene: Scene) -> None:
        scene.reactor.advance(FIRST_TRIAL)
        assert scene.supervisor.state("alice") is State.STARTING
        told = unavailable(scene.wait())
        assert (told.code, told.retry_after) == ("failed", 1)
        scene.children.last.ready()
        upstream(scene.wait())

    def test_a_trial_that_fails_is_followed_by_one_twice_as_late(self, scene: Scene) -> None:
        scene.reactor.advance(FIRST_TRIAL)
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.FAILED
        assert unavailable(scene.wait()).retry_after == 2 * FIRST_TRIAL
        count = len(scene.children.all)
        scene.reactor.advance(2 * FIRST_TRIAL - 0.1)
        assert len(scene.children.all) == count
        scene.reactor.advance(0.1)
        assert len(scene.children.all) == count + 1

    def test_a_trial_has_to_last_to_be_mended(self, scene: Scene) -> None:
        scene.reactor.advance(FIRST_TRIAL)
        scene.children.last.ready()
        scene.reactor.advance(59.9)
        assert "recovered" not in kinds(scene)
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.FAILED
        scene.reactor.advance(2 * FIRST_TRIAL)
        scene.children.last.ready()
        scene.reactor.advance(60.0)
        assert kinds(scene)[-1] == "recovered"
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.BACKOFF

    def test_a_reset_tries_at_once_and_forgets(self, scene: Scene) -> None:
        scene.supervisor.reset("alice")
        assert scene.supervisor.state("alice") is State.STARTING
        got = scene.wait()
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.BACKOFF
        scene.reactor.advance(1.0)
        scene.children.last.ready()
        upstream(got)

    def test_a_planned_stop_forgets_too(self, scene: Scene) -> None:
        assert scene.supervisor.stop("alice").called
        assert scene.supervisor.state("alice") is State.STOPPED
        scene.wait()
        scene.children.last.exit(3)
        assert scene.supervisor.state("alice") is State.BACKOFF


def test_without_trials_only_a_reset_or_start_helps(stage: Stage) -> None:
    scene = stage(
        stage.tenant(restart=Restart(backoff=1.0, jitter=0.0, intensity=1, retry_failed=None))
    )
    give_up(scene)
    scene.reactor.advance(100_000.0)
    assert scene.supervisor.state("alice") is State.FAILED
    assert unavailable(scene.wait()).code == "failed"
    scene.supervisor.start("alice")
    assert scene.supervisor.state("alice") is State.STARTING


def test_planned_stops_and_restarts_never_count(stage: Stage) -> None:
    scene = stage(stage.tenant(restart=Restart(intensity=0)))
    scene.wait()
    for _ in range(5):
        scene.children.last.ready()
        done = scene.supervisor.restart("alice")
        scene.children.last.exit(None, 15)
        scene.children.last.ready()
        assert done.called
    assert scene.supervisor.state("alice") is State.HEALTHY


class TestCauses:
    def test_a_crash(self, stage: Stage) -> None:
        scene = stage()
        scene.wait()
        scene.children.last.exit(None, 11)
        assert last_cause(scene) is Cause.CRASH

    @pytest.mark.parametrize("status", [126, 127])
    def test_what_cannot_be_executed_has_no_trials(self, stage: Stage, status: int) -> None:
        scene = stage(stage.tenant(engine=Engine.COMMAND, command=("none",)))
        got = scene.wait()
        scene.children.last.report({"event": "refused", "reason": "none: not found in PATH"})
        scene.children.last.exit(status)
        assert scene.supervisor.state("alice") is State.FAILED
        assert last_cause(scene) is Cause.CANNOT_EXECUTE
        told = unavailable(got)
        assert (told.code, told.cause) == ("failed", "cannot execute")
        scene.reactor.advance(100_000.0)
        assert scene.supervisor.state("alice") is State.FAILED

    def test_the_programs_own_127_is_a_crash(self, stage: Stage) -> None:
        scene = stage(stage.tenant(engine=Engine.COMMAND, command=("sh", "-c", "no")))
        scene.wait()
        scene.children.last.exit(127)
        assert last_cause(scene) is Cause.CRASH

    def test_a_set_up_that_fails_may_succeed_later(self, stage: Stage) -> None:
        scene = stage()
        scene.wait()
        scene.children.last.report({"event": "refused", "reason": "there is no user 'x'"})
        scene.children.last.exit(125)
        assert last_cause(scene) is Cause.CRASH
        assert scene.supervisor.state("alice") is State.BACKOFF

    def test_a_start_timeout(self, stage: Stage) -> None:
        scene = stage()
        scene.wait()
        scene.reactor.advance(8.0)
        assert scene.supervisor.state("alice") is State.STOPPING
        scene.children.last.exit(None, 9)
        assert last_cause(scene) is Cause.START_TIMEOUT

    @pytest.mark.parametrize(
        ("signum", "by_us", "counter", "cause"),
        [
            (9, False, 1, Cause.OUT_OF_MEMORY),
            (9, False, 0, Cause.CRASH),
            (11, False, 1, Cause.CRASH),
            (9, True, 1, Cause.PROBE),
        ],
    )
    def test_killed_for_memory(
        self, stage: Stage, signum: int, by_us: bool, counter: int, cause: Cause
    ) -> None:
        scene = stage()
        count = [0]
        kills = scene.supervisor.fleet.memory_kills
        kills._read = lambda: count[0]
        kills.look(scene.reactor.seconds())
        scene.wait()
        scene.children.last.ready()
        if by_us:
            scene.supervisor.lives["alice"].condemn(Cause.PROBE, "deaf", drain=False)
            scene.reactor.advance(3.0)
        count[0] = counter
        scene.children.last.exit(None, signum)
        assert last_cause(scene) is cause

    @pytest.mark.parametrize(
        ("line", "cause"),
        [
            (b"MemoryError\n", Cause.OUT_OF_MEMORY),
            (b"MemoryError: cannot allocate\n", Cause.OUT_OF_MEMORY),
            (b"memory allocation of 4096 bytes failed\n", Cause.OUT_OF_MEMORY),
            (b"ValueError: MemoryError\n", Cause.CRASH),
            (b"no MemoryErrors here\n", Cause.CRASH),
        ],
    )
    def test_one_that_says_that_it_has_no_memory(
        self, stage: Stage, line: bytes, cause: Cause
    ) -> None:
        scene = stage()
        scene.wait()
        scene.children.last.says(line)
        scene.children.last.exit(1)
        assert last_cause(scene) is cause

    def test_a_taken_port_of_a_command_names_who_holds_it(self, stage: Stage) -> None:
        import socket

        with socket.socket() as thief:
            thief.bind(("127.0.0.1", 0))
            thief.listen()
            port = thief.getsockname()[1]
            scene = stage(stage.tenant(engine=Engine.COMMAND, command=("x",), port=port))
            scene.wait()
        change = scene.supervisor.history("alice")[-1]
        assert (change.after, change.cause) == (State.BACKOFF, Cause.PORT_TAKEN)
        assert f"pid {os.getpid()}" in change.reason

    def test_a_locked_directory_of_a_command(self, stage: Stage) -> None:
        from sqsuper.supervisor.directory_lock import DirectoryLock

        one = stage.tenant(engine=Engine.COMMAND, command=("x",))
        one.data_dir.mkdir(parents=True, mode=0o700)
        other = DirectoryLock(one.data_dir)
        scene = stage(one)
        scene.wait()
        assert scene.children.all == []
        change = scene.supervisor.history("alice")[-1]
        assert (change.after, change.cause) == (State.BACKOFF, Cause.CRASH)
        assert f"another instance runs on {one.data_dir}: pid {os.getpid()}" in change.reason
        other.release()
        scene.reactor.advance(0.05)
        assert len(scene.children.all) == 1


def test_a_command_engines_directory_is_locked_until_its_last_process_is_gone(
    stage: Stage,
) -> None:
    from sqsuper.supervisor.directory_lock import DirectoryLock
    from sqsuper.supervisor.errors import DirectoryLockedError

    one = stage.tenant(engine=Engine.COMMAND, command=("x",))
    scene = stage(one)
    scene.wait()
    child = scene.children.last
    reason = child.reaped(1)
    with pytest.raises(DirectoryLockedError):
        DirectoryLock(one.data_dir)
    child.ended(reason)
    DirectoryLock(one.data_dir).release()


class TestBraked:
    """Many that fail together."""

    @pytest.fixture
    def scene(self, stage: Stage) -> Scene:
        restart = Restart(backoff=0.1, jitter=0.0, intensity=1)
        tenants = [
            stage.tenant(f"t{n}", start=Start.EAGER, restart=restart) for n in range(TENANTS)
        ]
        scene = stage(*tenants, spawn_concurrency=100)
        for child in list(scene.children.all):
            child.ready()
        for child in list(scene.children.all):
            child.exit(None, 11)
        return scene

    def starting(self, scene: Scene) -> list[str]:
        lives = scene.supervisor.lives.values()
        return [life.tenant.name for life in lives if life.state is State.STARTING]

    def test_one_event_is_raised_and_one_restarts_in_five_seconds(self, scene: Scene) -> None:
        assert kinds(scene) == ["fleet"]
        event = scene.supervisor.events.recent[0]
        assert (event.tenant, event.cause, event.facts["failed"]) == (None, "crash", 5)
        scene.reactor.pump([0.1] * 40)
        assert self.starting(scene) == []
        assert len(scene.children.all) == TENANTS
        scene.reactor.pump([0.5] * 4)
        assert self.starting(scene) == ["t0"]
        scene.children.last.ready()
        scene.reactor.pump([1.0] * 5)
        assert self.starting(scene) == ["t1"]
        assert kinds(scene) == ["fleet"]

    def test_when_the_failures_stop_all_restart(self, scene: Scene) -> None:
        for _ in range(59):
            scene.reactor.advance(1.0)
            for child in scene.children.all[TENANTS:]:
                child.ready()
        assert len(scene.children.all) == TENANTS + 11
        scene.reactor.pump([1.0] * 2)
        assert len(scene.children.all) == 2 * TENANTS
        assert not scene.supervisor.fleet.brake.on
        events = list(scene.supervisor.events.recent)
        assert [event.kind for event in events[:2]] == [Kind.FLEET, Kind.FLEET]
        assert events[1].cause == "released"
        assert {event.kind for event in events[2:]} == {Kind.RESTARTED}

    def test_a_request_for_one_that_waits_is_told_to_come_later(self, scene: Scene) -> None:
        got = scene.wait("t9")
        scene.reactor.pump([0.5] * 22)
        assert unavailable(got).code == "starting"

    def test_a_planned_stop_and_a_start_by_hand_are_not_braked(self, scene: Scene) -> None:
        assert scene.supervisor.stop("t9").called
        scene.supervisor.start("t9")
        assert self.starting(scene) == ["t9"]

    def test_it_does_not_outlast_the_service(self, scene: Scene) -> None:
        assert scene.supervisor.stopService().called
        assert not scene.supervisor.fleet.brake.on


def test_policy_never_leaves_it_stopped_and_raises_no_event(stage: Stage) -> None:
    scene = stage(stage.tenant(restart=Restart(policy=RestartPolicy.NEVER, intensity=0)))
    scene.wait()
    scene.children.last.exit(3)
    assert scene.supervisor.state("alice") is State.STOPPED
    assert kinds(scene) == []
