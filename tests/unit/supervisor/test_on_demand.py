"""Lazy tenants over time, without processes: idle, refused for memory, knocked at their port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed

from sqsuper.config.model import Health, HostMemory, Start
from sqsuper.supervisor import service
from sqsuper.supervisor.hostmemory import Memory
from sqsuper.supervisor.instance import State
from tests.running import free_port
from tests.unit.supervisor.staging import Scene, Stage, staged, unavailable, upstream

# These children answer no probes.
UNASKED = Health(interval=1e6)


class Reader:
    """Memory that a test sets, in percent."""

    left = 100

    def read(self) -> Memory:
        return Memory(self.left, 100)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader()
    monkeypatch.setattr(service, "MemoryReader", lambda: reader)
    return reader


@pytest.fixture
def stage(short_dir: Path, memory: Reader) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


def pass_(scene: Scene, seconds: float) -> None:
    scene.reactor.pump([0.25] * int(4 * seconds))


def test_stopped_when_unused_and_started_again_by_a_request(stage: Stage) -> None:
    scene = stage(stage.tenant(idle_stop=60.0, health=UNASKED))
    got = scene.wait()
    child = scene.children.last
    child.ready()
    there = upstream(got)
    pass_(scene, 50)
    scene.supervisor.used(there)
    scene.supervisor.used(there, ago=5)  # as another worker saw it
    pass_(scene, 59)
    assert scene.supervisor.state("alice") is State.HEALTHY
    scene.supervisor.used(there, ago=59)
    pass_(scene, 2)
    assert child.signals[0] == 15
    assert scene.states()[-2:] == ["draining", "stopping"]
    again = scene.wait()  # held, not refused
    child.exit()
    assert again == []
    scene.children.last.ready()
    assert upstream(again).epoch > there.epoch


def test_a_request_under_way_keeps_it(stage: Stage) -> None:
    scene = stage(stage.tenant(idle_stop=10.0, health=UNASKED))
    ends: list[Deferred[None]] = []

    def quiet(name: str) -> Deferred[None]:
        ends.append(Deferred())
        return ends[-1]

    scene.supervisor.drain_by(quiet)
    scene.wait()
    scene.children.last.ready()
    pass_(scene, 100)
    assert scene.supervisor.state("alice") is State.HEALTHY
    scene.supervisor.drain_by(lambda _: succeed(None))
    for end in ends:
        end.callback(None)
    pass_(scene, 9)
    assert scene.supervisor.state("alice") is State.HEALTHY
    pass_(scene, 2)
    assert scene.supervisor.state("alice") is State.STOPPING


def test_its_own_port_is_asked_about(stage: Stage) -> None:
    scene = stage(stage.tenant(idle_stop=10.0, port=free_port()))
    scene.wait()
    child = scene.children.last
    child.ready()

    def pong(requests: int) -> None:
        child.report(
            {
                "event": "pong",
                "ping": int(child.told.rpartition(b'ping": ')[2].rstrip(b"}\n")),
                "lag": 0.0,
                "requests": requests,
                "bytes": 0,
                "inflight": 0,
                "storage": None,
            }
        )

    for second in range(1, 60):
        pass_(scene, 1)
        if b"ping" in child.told:
            pong(second // 2)
    assert scene.supervisor.state("alice") is State.HEALTHY
    for _ in range(12):
        pass_(scene, 1)
        if scene.supervisor.state("alice") is State.HEALTHY:
            pong(29)
    assert child.signals[0] == 15


def test_no_cold_start_without_memory(stage: Stage, memory: Reader) -> None:
    scene = stage(stage.tenant(), host_memory=HostMemory(stop_idle=None, refuse=0.1))
    memory.left = 9
    refusal = unavailable(scene.wait())
    assert (refusal.code, refusal.retry_after) == ("overloaded", 5)
    assert scene.states() == []
    memory.left = 11
    scene.reactor.advance(0.25)
    got = scene.wait()
    scene.children.last.ready()
    upstream(got)
    # What runs is served, however little there is; and what ends comes back.
    memory.left = 1
    scene.reactor.advance(1)
    upstream(scene.wait())
    scene.children.last.exit(3)
    got = scene.wait()
    scene.reactor.advance(1)
    scene.children.last.ready()
    upstream(got)
    restarted = scene.supervisor.restart("alice")
    scene.children.last.exit()
    scene.children.last.ready()
    assert restarted.called


def test_eager_ones_start_all_the_same(stage: Stage, memory: Reader) -> None:
    memory.left = 1
    scene = stage(
        stage.tenant(start=Start.EAGER), host_memory=HostMemory(stop_idle=None, refuse=0.1)
    )
    scene.children.last.ready()
    assert scene.supervisor.state("alice") is State.HEALTHY


def test_who_waits_for_a_turn_is_turned_down_when_memory_ends(stage: Stage, memory: Reader) -> None:
    names = ("a", "b", "c")
    scene = stage(
        *map(stage.tenant, names),
        spawn_concurrency=1,
        host_memory=HostMemory(stop_idle=None, refuse=0.1),
    )
    first, second, third = map(scene.wait, names)
    memory.left = 9
    scene.reactor.advance(1)
    scene.children.last.ready()
    upstream(first)
    assert {unavailable(second).code, unavailable(third).code} == {"overloaded"}
    assert len(scene.children.all) == 1
    assert scene.states("b") == ["starting", "stopping", "stopped"]


def test_a_connection_to_its_port_waits_for_memory(stage: Stage, memory: Reader) -> None:
    port = free_port()
    scene = stage(stage.tenant(port=port), host_memory=HostMemory(stop_idle=None, refuse=0.1))
    memory.left = 9
    (reader,) = scene.reactor.getReaders()
    with socket.create_connection(("127.0.0.1", port), 10):
        reader.doRead()
        assert scene.reactor.getReaders() == []
        scene.reactor.advance(4.9)
        assert scene.reactor.getReaders() == []
        memory.left = 11
        scene.reactor.advance(0.2)
        (reader,) = scene.reactor.getReaders()
        reader.doRead()
    scene.children.last.ready()
    assert scene.supervisor.state("alice") is State.HEALTHY
