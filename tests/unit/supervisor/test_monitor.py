"""Monitoring of many instances, with figures and a clock set by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from sqsuper.config.model import GIB, MIB, Limits, Tenant
from sqsuper.config.model import Monitor as Settings
from sqsuper.supervisor import instance
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Event, Events, Kind
from sqsuper.supervisor.figures import Detail, Figures, Gauge
from sqsuper.supervisor.groups import Group
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.measuring import Measuring
from sqsuper.supervisor.monitor import Monitor, Samples
from sqsuper.supervisor.sampling import Sessions
from sqsuper.supervisor.sweep import Sweep
from tests.unit.supervisor.support import logged, settings, tenant

LIMITS = Limits(memory_soft=GIB, memory_hard=2 * GIB, threads=64)
SHARED = 8 * MIB


@attrs.define
class Reading:
    """One of a table's processes."""

    table: Table
    pid: int

    def figures(self) -> Figures | None:
        assert self in self.table.gauges
        return self.table.figures(self.pid)

    def close(self) -> None:
        self.table.gauges.remove(self)


class Table:
    """The processes there are, and what they use: a sampler and a process table."""

    def __init__(self) -> None:
        self.processes: dict[int, Figures] = {}
        self.memory: dict[int, int] = {}
        self.sessions: dict[int, list[int]] = {}
        self.escaped: list[int] = []
        self.gauges: list[Reading] = []
        self.details = 0
        self.tables = 0

    def put(self, pid: int, *, memory: int = 5 * MIB, threads: int = 1, cpu: float = 0.0) -> None:
        self.processes[pid] = Figures(cpu, threads, memory + SHARED, SHARED)
        self.memory[pid] = memory

    def figures(self, pid: int) -> Figures | None:
        return self.processes.get(pid)

    def gauge(self, pid: int) -> Gauge:
        self.gauges.append(Reading(self, pid))
        return self.gauges[-1]

    def detail(self, pid: int) -> Detail | None:
        self.details += 1
        memory = self.memory.get(pid)
        return None if memory is None else Detail(memory, memory, 9, 1, 2)

    def members(self, leader: int) -> list[int]:
        return self.sessions.get(leader, [])

    def of_groups(self, groups: Iterable[Group]) -> dict[Group, list[int]]:
        self.tables += 1
        return {one: [one.pid, *self.members(one.pid), *self.escaped] for one in groups}


@attrs.define(eq=False)
class Process:
    pid: int | None
    forks: bool = False
    group: Group | None = None


@attrs.define(eq=False)
class Life:
    """A lifecycle that only notes what it is condemned for."""

    tenant: Tenant
    scene: Scene
    process: Any
    state: State = State.STARTING
    condemned: list[tuple[Cause, str]] = attrs.field(factory=list)

    @property
    def pid(self) -> int | None:
        return cast("int | None", self.process.pid)

    def become(self, after: State) -> None:
        change = Change(self.scene.clock.seconds(), self.state, instance.Event.READY, after, "")
        self.state = after
        self.scene.monitor.became(cast("Any", self), change)

    def condemn(self, cause: Cause, reason: str, *, drain: bool) -> None:
        assert drain
        self.condemned.append((cause, reason))
        self.become(State.DRAINING)


class Scene:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.clock.advance(6000.0)
        self.sweep = Sweep(self.clock)
        self.events = Events()
        self.table = Table()
        self.broken = False
        self.times: Callable[[], float] = lambda: 0.0
        self.monitor = Monitor(
            self.clock,
            self.sweep,
            self.events,
            sampler=self.table,
            sessions=cast("Sessions", self.table),
            measuring=Measuring(self.table, self.table.of_groups, self.time),
            in_thread=self.in_thread,
        )

    def time(self) -> float:
        return self.times()

    def in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        return fail(OSError("no thread")) if self.broken else succeed(call())

    def healthy(self, name: str = "alice", pid: int = 100, **changes: Any) -> Life:
        forks = changes.pop("forks", False)
        chosen: dict[str, Any] = {"limits": LIMITS, **changes}
        one = tenant(self.directory, name, settings=settings(**chosen))
        group = Group(name, pid, "", "", "", "marker") if forks else None
        self.table.put(pid)
        life = Life(one, self, Process(pid, forks, group))
        life.become(State.HEALTHY)
        return life

    def run(self, seconds: float) -> None:
        self.clock.pump([0.25] * round(seconds * 4))

    def told(self, kind: Kind = Kind.LIMIT) -> list[Event]:
        return [event for event in self.events.recent if event.kind is kind]

    def samples(self, name: str = "alice") -> Samples:
        return self.monitor.samples(name)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.monitor.stop()
    scene.sweep.stop()
    assert scene.clock.getDelayedCalls() == []
    assert scene.table.gauges == []


def test_samples_of_the_last_ten_minutes_and_of_each_minute(scene: Scene) -> None:
    assert len(scene.samples("nobody").recent) == 0
    scene.healthy()
    for second in range(900):
        scene.table.put(100, memory=(5 + second // 60) * MIB, cpu=second * 0.3, threads=2)
        scene.run(1)
    samples = scene.samples()
    assert len(samples.recent) == 120
    at = samples.recent.at
    assert all(4.5 <= late - early <= 5.5 for early, late in itertools.pairwise(at))
    assert all(cpu == pytest.approx(0.3, rel=0.1) for cpu in samples.recent.cpu)
    assert set(samples.recent.threads) == {2}
    assert len(samples.minutes) == 14
    assert samples.minutes.memory[-1] == pytest.approx(18 * MIB, rel=0.1)
    assert samples.detail is not None
    assert samples.detail.descriptors == 9
    assert samples.processes == 1


def test_the_first_sample_has_no_cpu_and_no_shared_memory(scene: Scene) -> None:
    scene.table.put(100)
    scene.healthy(monitor=Settings(interval=1.0, detail=600.0))
    scene.table.put(100, memory=7 * MIB, cpu=50.0)
    scene.run(1.25)
    series = scene.samples().recent
    assert list(series.memory) == [7 * MIB]
    assert list(series.cpu) == [0.0]


def test_between_details_what_came_is_counted(scene: Scene) -> None:
    scene.healthy(monitor=Settings(interval=1.0, detail=20.0))
    scene.run(30)
    details = scene.table.details
    assert 1 <= details <= 2
    figures = scene.table.processes[100]
    scene.table.processes[100] = attrs.evolve(figures, resident=figures.resident + 3 * MIB)
    scene.run(2)
    assert scene.samples().recent.memory[-1] == 8 * MIB


def test_over_the_hard_limit_it_is_condemned_at_once_with_the_reason(scene: Scene) -> None:
    life = scene.healthy(monitor=Settings(interval=5.0, detail=3600.0))
    scene.run(20)
    assert life.condemned == []
    scene.table.put(100, memory=int(2.1 * GIB))
    scene.run(6)
    reason = "memory 2.1 GiB over memory_hard 2 GiB"
    assert life.condemned == [(Cause.MEMORY, reason)]
    (event,) = scene.told()
    assert (event.tenant, event.cause, event.text) == ("alice", "memory limit", reason)
    assert event.at == pytest.approx(scene.clock.seconds(), abs=6)
    scene.run(30)
    assert len(life.condemned) == 1
    assert len(scene.told()) == 1


def test_what_is_shared_does_not_count(scene: Scene) -> None:
    life = scene.healthy()
    scene.table.put(100, memory=GIB // 2)
    figures = scene.table.processes[100]
    scene.table.processes[100] = attrs.evolve(figures, resident=3 * GIB)
    scene.run(200)
    assert life.condemned == []
    assert scene.told() == []
    assert scene.table.details > 30  # each time a closer look


def test_a_look_that_takes_long_is_not_taken_each_time(scene: Scene, tmp_path: Path) -> None:
    times = iter(range(10_000))
    scene.times = lambda: next(times) * 0.5
    scene.healthy()
    scene.table.put(100, memory=int(0.9 * GIB))
    scene.run(300)
    assert scene.table.details <= 300 / 25 + 1


def test_the_soft_limit_warns_once(scene: Scene) -> None:
    life = scene.healthy()
    scene.table.put(100, memory=int(1.2 * GIB))
    with logged() as lines:
        scene.run(100)
    (event,) = scene.told()
    assert event.cause == "memory_soft"
    assert sum("over memory_soft" in line for line in lines) == 1
    assert life.condemned == []
    scene.table.put(100, memory=int(0.5 * GIB))
    scene.run(70)
    scene.table.put(100, memory=int(1.2 * GIB))
    scene.run(70)
    assert len(scene.told()) == 2


def test_too_many_threads(scene: Scene) -> None:
    life = scene.healthy()
    scene.table.put(100, threads=65)
    scene.run(6)
    assert life.condemned == [(Cause.THREADS, "65 threads over threads 64")]


def test_what_it_forked_counts(scene: Scene) -> None:
    life = scene.healthy(forks=True)
    for pid in range(101, 105):
        scene.table.put(pid, threads=12, memory=30 * MIB)
    scene.table.sessions[100] = [101, 102, 103, 104]
    scene.run(70)
    samples = scene.samples()
    assert samples.recent.threads[-1] == 49
    assert samples.processes == 5
    assert samples.detail is not None
    assert samples.detail.memory == 125 * MIB
    assert samples.detail.descriptors == 45
    assert samples.recent.memory[-1] == 125 * MIB
    assert life.condemned == []
    scene.table.put(105, threads=16)
    scene.table.sessions[100].append(105)
    scene.run(6)
    assert life.condemned == [(Cause.THREADS, "65 threads over threads 64")]


def test_a_fork_bomb_is_not_looked_at_process_by_process(scene: Scene) -> None:
    life = scene.healthy(forks=True)
    scene.table.sessions[100] = list(range(1000, 9000))
    scene.run(6)
    assert life.condemned == [(Cause.THREADS, "8001 threads over threads 64")]


def test_what_left_the_session_is_found_by_its_marker(scene: Scene) -> None:
    life = scene.healthy(forks=True)
    scene.table.escaped = [200]
    scene.table.put(200, threads=64)
    scene.run(5.5)
    assert life.condemned == []
    scene.run(65)
    assert life.condemned == [(Cause.THREADS, "65 threads over threads 64")]


def test_one_process_table_for_many(scene: Scene) -> None:
    for n in range(100):
        scene.healthy(f"t{n}", 1000 + n, forks=True)
    scene.run(120)
    assert scene.table.details >= 150
    assert scene.table.tables <= 120


def test_steady_growth_is_told_with_an_estimate(scene: Scene) -> None:
    life = scene.healthy()
    for minute in range(60):
        scene.table.put(100, memory=(700 + 4 * minute) * MIB)
        scene.run(60)
    (event,) = scene.told()
    assert event.cause == "memory growth"
    assert "240 MiB an hour" in event.text
    assert isinstance(event.facts["seconds"], float)
    assert 3600 < event.facts["seconds"] < 8 * 3600
    assert life.condemned == []


def test_growth_of_a_former_process_does_not_count(scene: Scene) -> None:
    for start in range(4):
        life = scene.healthy(pid=100 + start)
        for minute in range(19):
            scene.table.put(100 + start, memory=(500 + 4 * minute + 80 * start) * MIB)
            scene.run(60)
        life.become(State.STOPPING)
    assert scene.told() == []


def test_a_new_process_keeps_what_was_sampled(scene: Scene) -> None:
    life = scene.healthy()
    scene.run(100)
    before = len(scene.samples().recent)
    life.become(State.STOPPING)
    scene.run(100)
    assert len(scene.samples().recent) == before
    assert scene.samples().detail is None
    assert scene.monitor.memory("alice") is None
    life.process = Process(101)
    scene.table.put(101)
    life.become(State.HEALTHY)
    scene.run(10)
    assert len(scene.samples().recent) >= before + 2
    assert scene.monitor.memory("alice") == 5 * MIB
    scene.monitor.forget_all_but({"alice"})
    assert len(scene.samples().recent) >= before + 2
    scene.monitor.forget_all_but(set())
    assert len(scene.samples().recent) == 0


def test_one_that_has_ended_is_not_measured(scene: Scene) -> None:
    life = scene.healthy()
    life.process.pid = None
    scene.run(20)
    assert len(scene.samples().recent) == 0
    assert scene.monitor.cpu(life.process) is None
    life.process.pid = 100
    del scene.table.processes[100]
    scene.run(20)
    assert len(scene.samples().recent) == 0
    assert scene.monitor.cpu(life.process) is None


def test_cpu_of_all_that_it_forked(scene: Scene) -> None:
    life = scene.healthy(forks=True)
    scene.table.put(100, cpu=1.0)
    scene.table.put(101, cpu=2.5)
    scene.table.sessions[100] = [101, 102]
    assert scene.monitor.cpu(life.process) == 3.5


def test_without_a_thread_it_tries_again(scene: Scene) -> None:
    scene.healthy()
    scene.broken = True
    with logged() as lines:
        scene.run(70)
    assert any("a measurement failed" in line for line in lines)
    scene.broken = False
    scene.run(10)
    assert scene.samples().detail is not None


def test_the_quota_warns(scene: Scene) -> None:
    life = scene.healthy(quota_mb=100)
    for storage in (None, "x", 89 * MIB, 90 * MIB, 95 * MIB):
        scene.monitor.pulse(life, {"storage": storage})
    (event,) = scene.told(Kind.QUOTA)
    assert event.text == "data 90 MiB of quota_mb 100 MiB"
