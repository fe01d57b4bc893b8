from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import pytest

from sqsuper.gateway.upstream import IDLE_TCP, IDLE_UNIX, Pool
from sqsuper.gateway.upstream_connection import UpstreamConnection
from sqsuper.instances import Unavailable, Upstream
from sqsuper.testing import FakeConnector, FakeWire, FixedInstances
from tests.unit.gateway.support import UPSTREAM


@attrs.define(eq=False)
class Recorder:
    """An `Asker` that records, and may do something when it is told."""

    told: list[str] = attrs.field(factory=list)
    on_granted: Callable[[], None] | None = None
    connection: UpstreamConnection | None = None

    def granted(self, upstream: Upstream) -> None:
        self.told.append(f"granted {upstream.epoch}")
        if self.on_granted is not None:
            self.on_granted()

    def turned_away(self, reason: Unavailable) -> None:
        self.told.append(reason.code)

    def connected(self, connection: UpstreamConnection) -> None:
        self.told.append("connected")
        connection.user = self
        self.connection = connection

    def refused(self, busy: bool) -> None:
        self.told.append("busy" if busy else "refused")

    def crashed(self) -> None:
        self.told.append("crashed")

    def answer_received(self, data: bytes) -> None:
        self.told.append("answer")

    def upstream_drained(self) -> None:
        self.told.append("drained")

    def upstream_ended(self) -> None:
        self.told.append("ended")

    def upstream_lost(self) -> None:
        self.told.append("lost")


class Bench:
    def __init__(self, max_inflight: int = 1, queue: int = 2) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []
        """What is to be called later."""
        self.instances = FixedInstances({"alice": UPSTREAM})
        self.connector = FakeConnector()
        self.pool = Pool(
            "alice",
            max_inflight=max_inflight,
            queue=queue,
            queue_timeout=5.0,
            instances=self.instances,
            connector=self.connector,
            seconds=lambda: self.now,
            later=self.later,
        )

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]:
        self.calls.append(call)
        return lambda: self.calls.remove(call)

    def enter(self, again: bool = False) -> Recorder:
        asker = Recorder()
        self.pool.enter(asker, again)
        return asker

    def kept(self, upstream: Upstream = UPSTREAM) -> FakeWire:
        """Open a connection and put it back to be used again; return its wire."""
        asker = Recorder()
        self.pool.open(asker, upstream)
        (attempt,) = self.connector.undecided()
        wire = attempt.succeed()
        assert asker.connection is not None
        self.pool.take_back(asker.connection, reusable=True)
        return wire


def test_use_is_told_at_once_and_then_once_a_sweep() -> None:
    bench = Bench()
    uses = bench.instances.uses

    def use() -> None:
        asker = Recorder()
        bench.pool.open(asker, UPSTREAM)
        assert asker.connection is not None
        bench.pool.take_back(asker.connection, reusable=True)

    bench.kept()
    assert len(uses) == 1
    use()
    use()
    assert len(uses) == 1
    bench.pool.sweep(0.25)
    assert bench.instances.ages == [0.0, 0.25]
    use()
    bench.now = 0.375
    use()
    bench.pool.sweep(0.5)
    bench.pool.sweep(0.75)
    assert bench.instances.ages == [0.0, 0.25, 0.0, 0.125]
    use()
    assert len(uses) == 5
    # Another instance at once.
    later = Upstream("alice", 2, "KEY2", port=1)
    bench.kept(later)
    assert uses == [*[UPSTREAM] * 5, later]


def test_slots_are_given_in_order_of_asking() -> None:
    bench = Bench(max_inflight=2)
    askers = [bench.enter() for _ in range(5)]
    assert [a.told for a in askers] == [
        ["granted 1"],
        ["granted 1"],
        [],
        [],
        ["overloaded"],
    ]
    bench.pool.leave(askers[0])
    bench.pool.leave(askers[0])  # it has none any more
    assert [a.told for a in askers[2:4]] == [["granted 1"], []]
    bench.pool.withdraw(askers[3])
    bench.pool.leave(askers[1])
    bench.pool.leave(askers[2])
    assert askers[3].told == []
    assert bench.pool.inflight == 0


def test_who_had_a_slot_goes_first_and_is_not_turned_away() -> None:
    bench = Bench(queue=1)
    first = bench.enter()
    waiting = bench.enter()
    again = bench.enter(again=True)
    assert again.told == []
    bench.pool.leave(first)
    assert (again.told, waiting.told) == (["granted 1"], [])


def test_waiting_has_a_limit() -> None:
    bench = Bench()
    bench.enter()
    first = bench.enter()
    bench.now = 3.0
    second = bench.enter(again=True)  # stands before the first, and may wait longer
    bench.now = 5.0
    bench.pool.sweep(bench.now)
    assert (first.told, second.told) == (["overloaded"], [])
    bench.now = 8.0
    bench.pool.sweep(bench.now)
    assert second.told == ["overloaded"]


def test_who_waits_while_the_instance_goes_waits_for_the_next() -> None:
    bench = Bench()
    first = bench.enter()
    waiting = bench.enter()
    del bench.instances.upstreams["alice"]
    bench.pool.leave(first)
    assert bench.instances.waiting("alice") == 1
    bench.instances.settle("alice", Upstream("alice", 2, "KEY2", port=1))
    assert waiting.told == ["granted 2"]


def test_those_who_wait_for_a_start_get_slots_as_there_are() -> None:
    bench = Bench(queue=3)
    bench.instances.upstreams.clear()
    askers = [bench.enter() for _ in range(4)]
    assert askers[3].told == ["overloaded"]
    bench.pool.withdraw(askers[1])
    assert bench.instances.waiting("alice") == 2
    bench.instances.settle("alice", UPSTREAM)
    assert [a.told for a in askers[:3]] == [["granted 1"], [], []]
    bench.pool.leave(askers[0])
    assert askers[2].told == ["granted 1"]


def test_a_long_queue_that_gives_up_at_once_needs_no_deep_stack() -> None:
    bench = Bench(queue=5000)
    first = bench.enter()
    askers = []
    for _ in range(5000):
        asker = Recorder()
        asker.on_granted = partial(bench.pool.leave, asker)
        bench.pool.enter(asker)
        askers.append(asker)
    bench.pool.leave(first)
    assert bench.pool.inflight == 0
    assert all(a.told == ["granted 1"] for a in askers)


def test_a_defect_of_one_exchange_ends_that_one_alone() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    bench = Bench(queue=5)
    first = bench.enter()
    broken = Recorder(on_granted=fail)
    bench.pool.enter(broken)
    sound = bench.enter()
    bench.pool.leave(first)  # hears nothing of it
    assert broken.told == ["granted 1", "crashed"]
    assert sound.told == ["granted 1"]
    assert bench.pool.inflight == 1


def test_an_idle_connection_is_taken_before_a_new_one() -> None:
    bench = Bench()
    wire = bench.kept()
    asker = Recorder()
    bench.pool.open(asker, UPSTREAM)
    assert asker.told == ["connected"]
    assert asker.connection is not None
    assert asker.connection.wire is wire
    assert bench.connector.undecided() == []
    assert bench.instances.uses == [UPSTREAM]


@pytest.mark.parametrize("why", ["gone", "epoch", "bytes", "end", "lost", "idle", "closed"])
def test_a_connection_is_not_taken(why: str) -> None:
    bench = Bench()
    wire = bench.kept()
    wanted = UPSTREAM
    if why == "gone":
        wire.peer_gone = True
    elif why == "epoch":
        wanted = attrs.evolve(UPSTREAM, epoch=2)
    elif why == "bytes":
        wire.receive(b"HTTP/1.1 200 OK")
    elif why == "end":
        wire.end()
    elif why == "lost":
        wire.lose()
    elif why == "closed":
        bench.pool.close()
    else:
        bench.pool.sweep(IDLE_TCP)
        assert wire.state == "open"
        bench.pool.sweep(IDLE_TCP + 0.1)
    asker = Recorder()
    bench.pool.open(asker, wanted)
    assert asker.told == []
    assert wire.state == "aborted"
    (attempt,) = bench.connector.undecided()
    assert attempt.upstream is wanted


def test_connections_over_unix_sockets_are_kept_longer() -> None:
    bench = Bench()
    wire = bench.kept(Upstream("alice", 1, "KEY", path="/s"))
    bench.pool.sweep(IDLE_UNIX)
    assert wire.state == "open"
    bench.pool.sweep(IDLE_UNIX + 0.1)
    assert wire.state == "aborted"


@pytest.mark.parametrize(("stuck", "state"), [(False, "closed"), (True, "aborted")])
def test_what_is_not_kept_is_closed_without_a_wait(stuck: bool, state: str) -> None:
    bench = Bench()
    asker = Recorder()
    bench.pool.open(asker, UPSTREAM)
    wire = bench.connector.undecided()[0].succeed()
    wire.stuck = stuck
    wire.send(b"x")
    assert asker.connection is not None
    bench.pool.take_back(asker.connection, reusable=False)
    assert wire.state == state


def test_the_instance_is_told_of_refusals_alone() -> None:
    bench = Bench()
    asker = Recorder()
    bench.pool.open(asker, UPSTREAM)
    bench.connector.undecided()[0].fail(busy=True)
    assert (asker.told, bench.instances.refusals) == (["busy"], [])
    bench.pool.open(asker, UPSTREAM)
    bench.connector.undecided()[0].fail()
    assert (asker.told, bench.instances.refusals) == (["busy", "refused"], [UPSTREAM])
