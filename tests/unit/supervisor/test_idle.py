"""Who is stopped for being unused, and when; no process, no time but a clock's."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from sqsuper.config.model import HostMemory, Settings, Start, Tenant
from sqsuper.supervisor.hostmemory import Memory
from sqsuper.supervisor.idle import Idle
from sqsuper.supervisor.instance import Change, Event, State
from tests.unit.supervisor.support import tenant


@attrs.define(eq=False)
class FakeLife:
    """A `Life` that stops at once, or when the test says so."""

    tenant: Tenant
    world: World
    last_used: float = 0.0
    state: State = State.STOPPED
    stops: list[str] = attrs.field(factory=list)

    def start(self) -> None:
        self.last_used = self.world.clock.seconds()
        self.become(State.STARTING, Event.START)
        self.become(State.HEALTHY, Event.READY)

    def become(self, state: State, event: Event) -> None:
        change = Change(self.world.clock.seconds(), self.state, event, state, "")
        self.state = state
        self.world.idle.became(self, change)

    def stop(self, reason: str) -> Deferred[None]:
        self.stops.append(reason)
        self.become(State.DRAINING, Event.DRAIN)
        self.become(State.STOPPED, Event.END)
        self.world.share += self.world.gain
        return succeed(None)


class World:
    """An `Idle` and all that it asks."""

    def __init__(self, directory: Path, settings: HostMemory | None = None) -> None:
        self.clock = Clock()
        self.directory = directory
        self.share = 1.0
        self.gain = 0.0
        self.unread: list[Deferred[None]] = []
        self.busy: set[str] = set()
        self.asked: list[str] = []
        self.own_port: set[str] = set()
        self.idle = Idle(
            settings or HostMemory(None, None),
            reactor=self.clock,
            quiet=self._quiet,
            ask=self._ask,
            read=lambda: Memory(int(self.share * 1000), 1000),
        )
        self.idle.open()

    def _quiet(self, name: str) -> Deferred[None]:
        if name not in self.busy:
            return succeed(None)
        self.unread.append(Deferred())
        return self.unread[-1]

    def _ask(self, name: str) -> bool:
        self.asked.append(name)
        return name in self.own_port

    def life(
        self, name: str = "alice", idle_stop: float | None = 60.0, **changes: object
    ) -> FakeLife:
        settings = Settings(idle_stop=idle_stop, **changes)  # type: ignore[arg-type]
        return FakeLife(tenant(self.directory, name, settings=settings), self)

    def pass_(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_stopped_after_idle_stop_and_not_before(world: World) -> None:
    life = world.life()
    life.start()
    world.pass_(59.5)
    assert life.stops == []
    world.pass_(1)
    assert life.stops == ["unused for 60 s"]
    world.pass_(100)
    assert len(life.stops) == 1
    assert world.clock.getDelayedCalls() == []


def test_each_use_begins_anew(world: World) -> None:
    life = world.life(idle_stop=10.0)
    life.start()
    for _ in range(5):
        world.pass_(8)
        life.last_used = world.clock.seconds()
    assert life.stops == []
    world.pass_(10.5)
    assert len(life.stops) == 1


@pytest.mark.parametrize(
    "life",
    [
        {"idle_stop": None},
        {"idle_stop": 1.0, "start": Start.EAGER},
    ],
)
def test_not_for_eager_ones_and_never(world: World, life: dict[str, object]) -> None:
    one = world.life(**life)  # type: ignore[arg-type]
    one.start()
    world.pass_(1000)
    assert one.stops == []


def test_other_settings_count_at_once(world: World) -> None:
    life = world.life(idle_stop=1000.0)
    life.start()
    world.pass_(30)
    settings = attrs.evolve(life.tenant.settings, idle_stop=20.0)
    life.tenant = attrs.evolve(life.tenant, settings=settings)
    world.pass_(6)
    assert len(life.stops) == 1


def test_a_request_under_way_is_use_until_it_ends(world: World) -> None:
    life = world.life(idle_stop=10.0)
    life.start()
    world.busy.add("alice")
    world.pass_(500)
    assert life.stops == []
    world.busy.clear()
    for done in world.unread:
        done.callback(None)
    world.pass_(9)
    assert life.stops == []
    world.pass_(2)
    assert len(life.stops) == 1


def test_quiet_may_be_told_a_little_later(world: World) -> None:
    life = world.life(idle_stop=10.0)
    life.start()
    world.busy.add("alice")
    world.pass_(10)
    assert len(world.unread) == 1
    world.clock.advance(0.1)
    world.unread[0].callback(None)
    assert len(life.stops) == 1


def test_used_while_it_was_asked(world: World) -> None:
    life = world.life(idle_stop=10.0)
    life.start()
    world.busy.add("alice")
    world.pass_(10.25)
    life.last_used = world.clock.seconds()
    world.unread[0].callback(None)
    assert life.stops == []
    world.busy.clear()
    world.pass_(11)
    assert len(life.stops) == 1


def pong(requests: int = 0, count: int = 0, inflight: int = 0) -> dict[str, object]:
    return {"event": "pong", "requests": requests, "bytes": count, "inflight": inflight}


def test_its_own_port_is_asked_about_before_a_stop(world: World) -> None:
    life = world.life(idle_stop=10.0)
    world.own_port.add("alice")
    life.start()
    world.pass_(10.25)
    assert world.asked == ["alice"]
    assert life.stops == []
    world.idle.pong(life, pong())
    assert len(life.stops) == 1


@pytest.mark.parametrize("use", [pong(requests=1), pong(count=5), pong(inflight=1)])
def test_requests_and_bytes_at_its_own_port_are_use(world: World, use: dict[str, object]) -> None:
    life = world.life(idle_stop=10.0)
    world.own_port.add("alice")
    life.start()
    world.pass_(10.25)
    world.idle.pong(life, use)
    assert life.stops == []
    world.pass_(10.25)
    world.idle.pong(life, {**use, "inflight": 0})
    assert len(life.stops) == 1


def test_pongs_that_nobody_waits_for_count_too(world: World) -> None:
    life = world.life(idle_stop=10.0)
    world.own_port.add("alice")
    life.start()
    for number in range(1, 20):
        world.pass_(5)
        world.idle.pong(life, pong(requests=number))
    assert world.asked == []


def test_what_another_process_served_does_not_count(world: World) -> None:
    life = world.life(idle_stop=1000.0)
    life.start()
    world.idle.pong(life, pong(requests=7))
    life.become(State.STOPPED, Event.END)
    life.start()
    before = life.last_used
    world.pass_(5)
    world.idle.pong(life, pong())
    assert life.last_used == before


def test_one_that_does_not_answer_is_asked_again_and_not_stopped(world: World) -> None:
    life = world.life(idle_stop=10.0)
    world.own_port.add("alice")
    life.start()
    world.pass_(45)
    assert 3 <= len(world.asked) <= 4
    assert life.stops == []


def test_a_late_pong_stops_nobody_whose_request_is_under_way(world: World) -> None:
    life = world.life(idle_stop=10.0)
    world.own_port.add("alice")
    world.busy.add("alice")
    life.start()
    world.pass_(10.25)
    world.idle.pong(life, pong())
    assert life.stops == []


def test_one_that_ends_by_itself_is_forgotten(world: World) -> None:
    life = world.life(idle_stop=10.0)
    world.own_port.add("alice")
    life.start()
    world.pass_(10.25)
    life.become(State.BACKOFF, Event.RETRY)
    world.idle.pong(life, pong())
    world.pass_(30)
    assert life.stops == []
    assert world.clock.getDelayedCalls() == []


def test_an_unhealthy_one_is_left_to_others(world: World) -> None:
    life = world.life(idle_stop=10.0)
    life.start()
    life.become(State.UNHEALTHY, Event.DOUBT)
    world.pass_(30)
    assert life.stops == []
    life.become(State.HEALTHY, Event.RECOVER)
    world.pass_(1)
    assert len(life.stops) == 1


def test_without_memory_the_longest_unused_go_first(tmp_path: Path) -> None:
    world = World(tmp_path, HostMemory(stop_idle=0.2, refuse=None))
    lives = [world.life(name, idle_stop=None) for name in ("a", "b", "c", "d", "e")]
    eager = world.life("eager", start=Start.EAGER)
    for life in (eager, *lives):
        life.start()
        world.pass_(1)
    lives[0].last_used = world.clock.seconds()
    world.pass_(3)
    assert [life.tenant.name for life in lives if life.stops] == []
    world.share, world.gain = 0.19, 0.05
    world.pass_(3)
    assert [life.tenant.name for life in lives if life.stops] == ["b", "c", "d"]
    assert lives[1].stops == [
        "the longest unused, and 19.0% of the memory of the machine is available"
    ]
    world.pass_(10)
    assert [life.tenant.name for life in lives if life.stops] == ["b", "c", "d"]
    assert eager.stops == []


def test_nobody_in_use_goes_for_memory(tmp_path: Path) -> None:
    world = World(tmp_path, HostMemory(stop_idle=0.2, refuse=None))
    busy, recent, asked = (world.life(name, idle_stop=None) for name in ("busy", "recent", "own"))
    world.busy.add("busy")
    world.own_port.add("own")
    for life in (busy, recent, asked):
        life.start()
    world.share = 0.1
    for second in range(20):
        recent.last_used = world.clock.seconds()
        world.pass_(1)
        world.idle.pong(asked, pong(requests=second + 1))
    assert [busy.stops, recent.stops, asked.stops] == [[], [], []]


def test_starts_are_refused_while_memory_is_short(tmp_path: Path) -> None:
    world = World(tmp_path, HostMemory(stop_idle=None, refuse=0.05))
    assert world.idle.refusal() is None
    world.share = 0.04
    world.clock.advance(1)
    refusal = world.idle.refusal()
    assert refusal is not None
    assert (refusal.code, refusal.retry_after) == ("overloaded", 5)
    assert "4.0%" in refusal.reason
    world.idle.apply(HostMemory(None, None))
    assert world.idle.refusal() is None


def test_closed_it_stops_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, HostMemory(stop_idle=0.2, refuse=None))
    lives = [world.life(name, idle_stop=5.0) for name in "ab"]
    for life in lives:
        life.start()
    world.share = 0.1
    world.pass_(3.25)
    world.idle.close()
    count = sum(len(life.stops) for life in lives)
    world.pass_(30)
    assert sum(len(life.stops) for life in lives) == count
    assert world.clock.getDelayedCalls() == []
