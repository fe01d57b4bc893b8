"""Instances over time, driven without processes: a launcher of ours, a clock set by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.config.model import (
    Engine,
    Health,
    Restart,
    RestartPolicy,
    Start,
)
from sqsuper.instances import Instances, Unavailable, Upstream
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.errors import SupervisorError
from sqsuper.supervisor.instance import State
from tests.unit.supervisor.staging import NO_PID, Scene, Stage, staged, unavailable, upstream


@pytest.fixture
def stage(short_dir: Path) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


def test_a_lazy_tenant_starts_at_the_first_wait_once(stage: Stage) -> None:
    scene = stage()
    instances: Instances = scene.supervisor
    assert instances.ready("alice") is None
    assert scene.supervisor.state("alice") is State.STOPPED
    assert scene.children.all == []
    first, second = scene.wait(), scene.wait()
    assert len(scene.children.all) == 1
    assert first == second == []
    scene.children.last.ready()
    there = upstream(first)
    assert upstream(second) == there == instances.ready("alice")
    assert upstream(scene.wait()) == there
    assert there.path is not None
    assert Path(there.path).parent == scene.run_dir
    instances.used(there)
    instances.refused(there)
    assert instances.ready("alice") == there
    assert scene.states() == ["starting", "healthy"]


def test_a_socket_that_somebody_removed_is_made_anew(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    scene.children.last.ready()
    there = scene.supervisor.ready("alice")
    assert there is not None
    assert there.path is not None
    shutil.rmtree(Path(there.path).parent)
    scene.supervisor.refused(there)
    assert scene.supervisor.ready("alice") is None, "new requests are held"
    held = scene.wait()
    scene.reactor.advance(0.1)
    scene.children.last.exit(0)
    assert scene.supervisor.history("alice")[-1].cause is Cause.PROBE
    assert "was removed" in scene.supervisor.history("alice")[-1].reason
    scene.reactor.advance(1.0)
    scene.children.last.ready()
    new = upstream(held)
    assert new.epoch > there.epoch
    assert new.path is not None
    assert Path(new.path).is_socket()
    assert Path(new.path).parent.stat().st_mode & 0o777 == 0o700


def test_an_eager_tenant_starts_with_the_service(stage: Stage) -> None:
    scene = stage(stage.tenant(start=Start.EAGER))
    assert scene.supervisor.state("alice") is State.STARTING
    assert scene.supervisor.pid("alice") == NO_PID
    scene.children.last.ready()
    assert scene.supervisor.ready("alice") is not None


def test_the_engine_is_told_its_key_and_tokens_and_only_then_goes_on(stage: Stage) -> None:
    scene = stage()
    got = scene.wait()
    child = scene.children.last
    go, line, rest = child.told.split(b"\n")
    assert (go, rest) == (b"", b"")
    told = json.loads(line)
    child.ready()
    there = upstream(got)
    assert told["key"] == there.key
    token = stage.tenant().tokens[0]
    assert told["tokens"] == [
        {
            "sha256": token.sha256.hex(),
            "label": "first",
            "scope": "rw",
            "not_before": None,
            "expires": None,
        }
    ]
    assert child.descriptors == {5}
    assert there.key not in repr(there)


def test_each_spawn_has_a_key_and_a_socket_of_its_own(stage: Stage) -> None:
    scene = stage()
    got = scene.wait()
    scene.children.last.ready()
    first = upstream(got)
    assert scene.sockets() == [Path(first.path or "").name]
    scene.children.last.exit(None, 9)
    assert scene.supervisor.ready("alice") is None
    assert scene.supervisor.state("alice") is State.BACKOFF
    # The next one's socket is there before its process.
    (waiting,) = scene.sockets()
    assert waiting != Path(first.path or "").name
    got = scene.wait()
    scene.reactor.advance(0.05)
    scene.children.last.ready()
    second = upstream(got)
    assert Path(second.path or "").name == waiting
    assert (second.key, second.epoch) != (first.key, first.epoch)
    assert second.epoch > first.epoch
    # What is told of an old epoch does nothing.
    scene.supervisor.refused(first)
    scene.supervisor.used(first)
    assert scene.supervisor.ready("alice") == second


def test_backoff_grows_while_it_dies_at_once(stage: Stage) -> None:
    scene = stage(
        stage.tenant(restart=Restart(backoff=0.1, backoff_max=1.0, jitter=0.0, intensity=9))
    )
    scene.wait()
    gaps = []
    for _ in range(6):
        count = len(scene.children.all)
        scene.children.last.exit(3)
        due = min(call.getTime() for call in scene.reactor.getDelayedCalls())
        gap = due - scene.reactor.seconds()
        gaps.append(gap)
        scene.reactor.advance(gap)
        assert len(scene.children.all) == count + 1
    assert gaps == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_a_wait_ends_after_the_start_timeout(stage: Stage) -> None:
    scene = stage()
    got = scene.wait()
    scene.reactor.advance(7.9)
    assert got == []
    scene.reactor.advance(0.1)
    assert unavailable(got).code == "starting"


def test_one_that_does_not_get_ready_is_killed_and_that_counts(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    child = scene.children.last
    scene.reactor.advance(8)
    assert child.signals == [9]
    child.ready()  # too late
    assert scene.supervisor.ready("alice") is None
    child.exit(None, 9)
    change = scene.supervisor.history("alice")[-1]
    assert change.after is State.BACKOFF
    assert "not ready within 8 s" in change.reason


def test_a_cancelled_wait_hears_nothing(stage: Stage) -> None:
    scene = stage()
    got: list[Upstream | Unavailable] = []
    wait = scene.supervisor.wait("alice", got.append)
    wait.cancel()
    scene.children.last.ready()
    wait.cancel()
    assert got == []


def test_a_disabled_tenant_never_has_a_process(stage: Stage) -> None:
    scene = stage(stage.tenant(enabled=False, start=Start.EAGER, port=1))
    assert scene.supervisor.state("alice") is State.DISABLED
    assert unavailable(scene.wait()).code == "disabled"
    assert scene.children.all == []
    assert scene.sockets() == []


def test_an_unknown_tenant_is_a_key_error(stage: Stage) -> None:
    scene = stage()
    for call in (scene.supervisor.ready, scene.supervisor.pid, scene.supervisor.state):
        with pytest.raises(KeyError):
            call("nobody")
    with pytest.raises(KeyError):
        scene.supervisor.wait("nobody", print)


@pytest.mark.parametrize(
    ("policy", "code", "after"),
    [
        (RestartPolicy.ALWAYS, 0, State.BACKOFF),
        (RestartPolicy.ON_FAILURE, 0, State.STOPPED),
        (RestartPolicy.ON_FAILURE, 1, State.BACKOFF),
        (RestartPolicy.NEVER, 0, State.STOPPED),
        (RestartPolicy.NEVER, 1, State.STOPPED),
    ],
)
def test_policies(stage: Stage, policy: RestartPolicy, code: int, after: State) -> None:
    scene = stage(stage.tenant(restart=Restart(policy=policy)))
    scene.wait()
    scene.children.last.ready()
    scene.children.last.exit(code)
    assert scene.supervisor.state("alice") is after


def test_a_status_of_0_before_it_was_ready_is_a_failure(stage: Stage) -> None:
    scene = stage(stage.tenant(restart=Restart(policy=RestartPolicy.ON_FAILURE)))
    scene.wait()
    scene.children.last.exit(0)
    assert scene.supervisor.state("alice") is State.BACKOFF


def test_without_restarts_waiting_requests_learn_it_and_demand_has_to_wait(stage: Stage) -> None:
    restart = Restart(policy=RestartPolicy.NEVER, backoff=1.0, jitter=0.0)
    scene = stage(stage.tenant(restart=restart))
    got = scene.wait()
    scene.children.last.exit(3)
    assert unavailable(got).code == "failed"
    assert unavailable(got).cause == "crash"
    assert "exit status 3" in scene.supervisor.history("alice")[-1].reason
    later = scene.wait()
    assert scene.supervisor.state("alice") is State.BACKOFF
    assert len(scene.children.all) == 1
    scene.reactor.advance(1.0)
    assert len(scene.children.all) == 2
    scene.children.last.ready()
    upstream(later)


def test_only_so_many_start_at_a_time_and_requests_go_first(stage: Stage) -> None:
    names = ["a", "b", "c", "d"]
    scene = stage(*(stage.tenant(n, start=Start.EAGER) for n in names), spawn_concurrency=1)
    started = [child.plan.tenant for child in scene.children.all]
    assert started == ["a"]
    scene.wait("d")
    for _ in range(2):
        scene.children.last.ready()
    scene.children.last.exit(1)
    assert [child.plan.tenant for child in scene.children.all] == ["a", "d", "b", "c"]


def test_a_process_that_cannot_be_started_is_tried_again(stage: Stage) -> None:
    scene = stage(stage.tenant(restart=Restart(backoff=0.1, jitter=0.0)))
    scene.children.failing = True
    got = scene.wait()
    assert scene.supervisor.state("alice") is State.BACKOFF
    assert "temporarily unavailable" in scene.supervisor.history("alice")[-1].reason
    scene.children.failing = False
    scene.reactor.advance(0.1)
    scene.children.last.ready()
    upstream(got)


def test_many_that_fail_at_once_fail_one_after_the_other(stage: Stage) -> None:
    tenants = [
        stage.tenant(f"t{n}", engine=Engine.COMMAND, command=("x",), start=Start.EAGER)
        for n in range(400)
    ]
    scene = stage(*tenants, spawn_concurrency=1)
    scene.children.failing = True
    scene.children.last.exit(1)
    assert {scene.supervisor.state(one.name) for one in tenants} == {State.BACKOFF}


def test_no_address_is_given_once_the_process_is_gone(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    child = scene.children.last
    child.ready()
    reason = child.reaped(1)
    # Its last output is still to be read.
    assert scene.supervisor.ready("alice") is None
    assert scene.supervisor.pid("alice") is None
    got = scene.wait()
    assert got == []
    child._protocol.processEnded(reason)
    scene.reactor.advance(0.05)
    scene.children.last.ready()
    upstream(got)


def test_what_others_take_beyond_drain_is_taken_off_the_grace(stage: Stage) -> None:
    scene = stage(stage.tenant(drain=2.0, stop_grace=1.0))
    scene.wait()
    child = scene.children.last
    child.ready()
    scene.supervisor.about_to_stop()
    scene.reactor.advance(2.4)
    done = scene.supervisor.stopService()
    assert child.signals[0] == 15
    scene.reactor.advance(0.55)
    assert 9 not in child.signals
    scene.reactor.advance(0.1)
    assert child.signals[-1] == 9
    child.exit(None, 9)
    assert done.called


def test_stop_is_term_then_kill(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    child = scene.children.last
    child.ready()
    done = scene.supervisor.stop("alice")
    again = scene.supervisor.stop("alice")
    assert scene.supervisor.ready("alice") is None
    assert child.signals[0] == 15
    scene.reactor.advance(2.9)
    assert 9 not in child.signals
    scene.reactor.advance(0.1)
    assert child.signals[-1] == 9
    assert not done.called
    child.exit(None, 9)
    assert done.called
    assert again.called
    assert scene.supervisor.state("alice") is State.STOPPED
    assert scene.sockets() == []


def test_a_request_during_a_stop_starts_it_again_without_penalty(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    scene.children.last.ready()
    scene.supervisor.stop("alice")
    got = scene.wait()
    assert got == []
    assert len(scene.children.all) == 1
    scene.children.last.exit()
    assert len(scene.children.all) == 2
    scene.children.last.ready()
    upstream(got)


def test_a_stop_of_one_that_waits_for_its_turn(stage: Stage) -> None:
    scene = stage(
        *(stage.tenant(n, start=Start.EAGER) for n in ("a", "b", "c")), spawn_concurrency=1
    )
    assert scene.supervisor.stop("b").called
    assert scene.supervisor.state("b") is State.STOPPED
    scene.children.last.ready()
    assert [child.plan.tenant for child in scene.children.all] == ["a", "c"]


def test_a_stop_during_backoff(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    scene.children.last.ready()
    scene.children.last.exit(1)
    assert scene.supervisor.stop("alice").called
    assert scene.supervisor.state("alice") is State.STOPPED
    assert scene.sockets() == []
    scene.reactor.advance(10)
    assert len(scene.children.all) == 1


def test_a_stop_before_it_is_ready(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    child = scene.children.last
    done = scene.supervisor.stop("alice")
    child.ready()
    assert scene.supervisor.ready("alice") is None
    child.exit()
    assert done.called


def test_while_the_service_stops_nothing_starts(stage: Stage) -> None:
    scene = stage(stage.tenant("alice"), stage.tenant("bob"))
    waiting = scene.wait()
    child = scene.children.last
    done = scene.supervisor.stopService()
    same = scene.supervisor.stopService()
    assert unavailable(waiting).code == "draining"
    assert unavailable(scene.wait("bob")).code == "draining"
    assert unavailable(scene.wait()).code == "draining"
    with pytest.raises(SupervisorError):
        scene.supervisor.startService()
    assert not done.called
    child.exit()
    assert done.called
    assert same.called
    assert len(scene.children.all) == 1
    # It can start anew.
    scene.supervisor.startService()
    got = scene.wait()
    scene.children.last.ready()
    upstream(got)


def test_one_that_dies_by_itself_during_the_services_stop_stays_down(stage: Stage) -> None:
    scene = stage()
    scene.wait()
    scene.children.last.ready()
    done = scene.supervisor.stopService()
    scene.children.last.exit(None, 11)
    assert done.called
    scene.reactor.advance(60)
    assert len(scene.children.all) == 1


def test_a_port_of_its_own_is_kept_and_passed_on(stage: Stage) -> None:
    port = free()
    scene = stage(stage.tenant(port=port))
    with socket.create_connection(("127.0.0.1", port)):
        (reader,) = scene.reactor.getReaders()
        reader.doRead()
        assert scene.supervisor.state("alice") is State.STARTING
        assert scene.reactor.getReaders() == []
        assert scene.children.last.descriptors == {5, 6}
        scene.children.last.ready()
        scene.children.last.exit(None, 9)
        assert scene.reactor.getReaders() == []
        scene.reactor.advance(0.1)
        scene.children.last.ready()
        done = scene.supervisor.stop("alice")
        assert scene.reactor.getReaders() == []
        scene.children.last.exit()
        assert done.called
        assert scene.reactor.getReaders() == [reader]
    assert scene.supervisor.stopService().called
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_a_taken_port_fails_its_tenant_alone_until_it_is_free(stage: Stage) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        scene = stage(stage.tenant("alice", port=port, start=Start.EAGER), stage.tenant("bob"))
        assert scene.supervisor.state("alice") is State.FAILED
        refusal = unavailable(scene.wait())
        assert (refusal.code, refusal.cause, refusal.retry_after) == ("failed", "port taken", 5)
        told = scene.supervisor.history("alice")[-1].reason
        assert f"port {port}" in told
        assert f"pid {os.getpid()}" in told
        got = scene.wait("bob")
        scene.children.last.ready()
        upstream(got)
        scene.reactor.advance(60)
        assert scene.supervisor.state("alice") is State.FAILED
    scene.reactor.advance(5)
    scene.children.last.ready()
    assert scene.supervisor.ready("alice") is not None


def test_a_command_engine_that_refuses_has_to_show_that_it_answers(stage: Stage) -> None:
    scene = stage(stage.tenant("alice", engine=Engine.COMMAND, command=("sq", "{port}", "{key}")))
    got = scene.wait()
    child = scene.children.last
    assert child.told == b"\n"
    assert child.descriptors == set()
    answer_probe(scene)
    there = upstream(got)
    assert there.path is None
    assert str(there.port) in child.plan.argv
    assert there.key in child.plan.argv
    scene.supervisor.refused(there)
    assert scene.supervisor.ready("alice") is None
    assert scene.supervisor.state("alice") is State.UNHEALTHY
    scene.reactor.advance(0.1)
    answer_probe(scene)
    assert scene.supervisor.ready("alice") == there
    scene.supervisor.refused(there)
    scene.reactor.pump([0.5] * 34)
    assert child.signals[0] == signal.SIGTERM
    assert scene.supervisor.history("alice")[-1].cause is Cause.PROBE
    child.exit(None, 15)
    assert there.port not in scene.supervisor._fleet.ports


def test_reports_that_make_no_sense_do_no_harm(stage: Stage) -> None:
    scene = stage()
    got = scene.wait()
    protocol = scene.children.last._protocol
    for piece in (b"\n", b"[]\n", b'{"event": 3}\n', b"[" * 70_000, b"\n", b'{"event": "re'):
        protocol.childDataReceived(4, piece)
    assert got == []
    protocol.childDataReceived(4, b'ady"}\n')
    upstream(got)


def answer_probe(scene: Scene) -> None:
    """Let the last probe have an answer."""
    from twisted.internet.testing import StringTransport

    host, _, factory, *_ = scene.reactor.tcpClients[-1]
    assert host == "127.0.0.1"
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    assert transport.value().startswith(b"OPTIONS / HTTP/1.1\r\n")
    for byte in b"HTTP/1.1 401 No":
        protocol.dataReceived(bytes([byte]))
    assert transport.disconnecting


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestLateConnections:
    """A launcher may connect after `launch` has returned."""

    @pytest.fixture
    def scene(self, stage: Stage) -> Scene:
        scene = stage()
        scene.children.late = True
        return scene

    def test_it_is_ready_as_ever(self, scene: Scene) -> None:
        got = scene.wait()
        assert scene.supervisor.pid("alice") is None
        scene.children.connect()
        assert scene.supervisor.pid("alice") == NO_PID
        assert scene.children.last.told.startswith(b"\n{")
        scene.children.last.ready()
        assert isinstance(got[0], Upstream)

    def test_one_stopped_before_is_killed_and_never_told_to_go_on(self, scene: Scene) -> None:
        scene.wait()
        stopped: list[object] = []
        scene.supervisor.stop("alice").addCallback(stopped.append)
        assert stopped == []
        scene.children.connect()
        assert scene.children.last.told == b""
        assert scene.children.last.signals == [9]
        scene.children.late = False
        scene.children.last.exit(None, 9)
        assert stopped == [None]

    def test_one_that_is_too_late_is_killed(self, scene: Scene) -> None:
        scene.wait()
        scene.reactor.advance(8.0)
        scene.children.connect()
        assert scene.children.last.told == b""
        assert scene.children.last.signals == [9]
        scene.children.last.exit(None, 9)
        assert scene.supervisor.state("alice") is State.BACKOFF
        assert "not ready within 8 s" in scene.supervisor.history("alice")[-1].reason

    def test_a_late_failure_is_tried_again(self, scene: Scene) -> None:
        got = scene.wait()
        scene.children.fail()
        assert scene.supervisor.state("alice") is State.BACKOFF
        assert "Too many open files" in scene.supervisor.history("alice")[-1].reason
        scene.reactor.advance(0.05)
        scene.children.connect()
        scene.children.last.ready()
        assert isinstance(got[0], Upstream)

    def test_a_late_failure_ends_a_stop(self, scene: Scene) -> None:
        scene.wait()
        stopped: list[object] = []
        scene.supervisor.stop("alice").addCallback(stopped.append)
        scene.children.late = False
        scene.children.fail()
        assert stopped == [None]


class TestHolding:
    """Requests are held for `start_timeout` while it is starting, else for `queue_timeout`."""

    @pytest.fixture
    def scene(self, stage: Stage) -> Scene:
        scene = stage(
            stage.tenant(
                health=Health(start_timeout=6.0),
                queue_timeout=2.0,
                restart=Restart(backoff=3.0, jitter=0.0),
                stop_grace=5.0,
            )
        )
        scene.wait()
        return scene

    def test_a_start_may_take_longer_than_the_queue_holds(self, scene: Scene) -> None:
        got = scene.wait()
        scene.reactor.advance(5.9)
        assert got == []
        scene.children.last.ready()
        upstream(got)
        assert len(scene.children.all) == 1

    def test_in_a_backoff_it_ends_sooner(self, scene: Scene) -> None:
        scene.reactor.advance(1.0)
        scene.children.last.exit(1)
        got = scene.wait()
        scene.reactor.advance(1.9)
        assert got == []
        scene.reactor.advance(0.1)
        reason = unavailable(got)
        assert (reason.code, reason.retry_after) == ("starting", 1)
        assert scene.supervisor.state("alice") is State.BACKOFF

    def test_during_a_stop_it_ends_sooner(self, scene: Scene) -> None:
        scene.children.last.ready()
        scene.supervisor.stop("alice")
        got = scene.wait()
        scene.reactor.advance(2.0)
        reason = unavailable(got)
        assert (reason.code, reason.retry_after) == ("draining", 1)

    def test_and_the_start_behind_it_has_all_its_time(self, scene: Scene) -> None:
        scene.children.last.ready()
        scene.supervisor.stop("alice")
        got = scene.wait()
        scene.reactor.advance(1.9)
        scene.children.last.exit()
        scene.reactor.advance(5.9)
        assert got == []
        scene.children.last.ready()
        upstream(got)

    def test_while_its_health_is_doubted_it_ends_sooner(self, scene: Scene) -> None:
        scene.children.last.ready()
        life = scene.supervisor.lives["alice"]
        life.doubted(Cause.PROBE, "no answer")
        late = scene.wait()
        scene.reactor.advance(1.5)
        in_time = scene.wait()
        scene.reactor.advance(0.5)
        assert unavailable(late).code == "timeout"
        life.recovered("it answers again")
        upstream(in_time)
