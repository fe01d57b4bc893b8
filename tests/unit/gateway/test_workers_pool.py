"""A pool whose slots are leased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from sqsuper.gateway.leases import Lease, Report
from sqsuper.gateway.upstream import Pool
from sqsuper.instances import Unavailable
from sqsuper.testing import FakeConnector, FixedInstances
from tests.unit.gateway.support import UPSTREAM
from tests.unit.gateway.test_upstream import Recorder


class Leased:
    def __init__(self) -> None:
        self.clock = Clock()
        self.said: list[Report] = []
        self.instances = FixedInstances({"alice": UPSTREAM})
        self.lease = Lease("alice", self.said.append, self.clock.seconds, self.clock.callLater)
        self.pool = self.new_pool()

    def new_pool(self) -> Pool:
        return Pool(
            "alice",
            max_inflight=32,
            queue=3,
            queue_timeout=5.0,
            instances=self.instances,
            connector=FakeConnector(),
            seconds=self.clock.seconds,
            later=self.later,
            slots=self.lease,
        )

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]:
        pending = self.clock.callLater(delay, call)
        return lambda: pending.cancel() if pending.active() else None

    def enter(self) -> Any:
        asker = Recorder()
        self.pool.enter(asker)
        return asker

    def order(self, serial: int, slots: int, queue: int = 3, contended: bool = False) -> None:
        self.lease.ordered(serial, slots, queue, contended)


@pytest.fixture
def leased() -> Leased:
    return Leased()


def test_nothing_is_granted_before_there_is_a_lease(leased: Leased) -> None:
    askers = [leased.enter(), leased.enter()]
    assert [asker.told for asker in askers] == [[], []]
    leased.clock.advance(0)
    assert leased.said == [Report("alice", 0, cap=0, demand=2, waiting=2)]
    leased.order(1, 1)
    assert [asker.told for asker in askers] == [["granted 1"], []]
    leased.order(2, 2)
    assert askers[1].told == ["granted 1"]


def test_the_pool_of_a_tenant_that_came_back_has_the_lease_of_the_one_before(
    leased: Leased,
) -> None:
    leased.order(1, 1, queue=1)
    leased.pool.close()
    leased.pool = leased.new_pool()
    askers = [leased.enter() for _ in range(3)]
    assert [asker.told[:1] for asker in askers[:2]] == [["granted 1"], []]
    assert askers[2].told == ["overloaded"]


def test_a_slot_that_is_asked_back_serves_nobody_here(leased: Leased) -> None:
    askers = [leased.enter() for _ in range(3)]
    leased.order(1, 2, contended=True)
    leased.order(1, 1, contended=True)
    assert leased.said[-1].cap == 2
    leased.pool.leave(askers[0])
    # The third one waits: the slot is not this pool's any more.
    assert askers[2].told == []
    assert leased.said[-1] == Report("alice", 1, cap=1, demand=2, waiting=1)
    leased.pool.leave(askers[1])
    assert askers[2].told == ["granted 1"]


def test_a_lower_lease_takes_nothing_from_who_has_a_slot(leased: Leased) -> None:
    askers = [leased.enter() for _ in range(2)]
    leased.order(1, 2)
    leased.order(1, 0)
    assert leased.pool.inflight == 2
    assert leased.lease.cap == 2
    for asker in askers:
        leased.pool.leave(asker)
    assert leased.lease.cap == 0
    assert [report.cap for report in leased.said[-2:]] == [1, 0]


def test_requests_that_wait_for_a_start_are_told_of(leased: Leased) -> None:
    leased.instances.upstreams.clear()
    asker = leased.enter()
    leased.clock.advance(0)
    assert leased.said[-1].waiting == 1
    leased.order(1, 4)
    assert asker.told == []
    leased.instances.settle("alice", UPSTREAM)
    assert asker.told == ["granted 1"]


def test_that_fewer_wait_is_said_too(leased: Leased) -> None:
    leased.order(1, 1)
    leased.enter()
    waiting = [leased.enter() for _ in range(2)]
    leased.clock.advance(1)
    assert leased.said[-1].waiting == 2
    leased.pool.withdraw(waiting[0])
    leased.clock.advance(1)
    assert leased.said[-1].waiting == 1
    leased.clock.advance(5)
    leased.pool.sweep(leased.clock.seconds())
    leased.clock.advance(1)
    assert waiting[1].told == ["overloaded"]
    assert leased.said[-1].waiting == 0


def test_places_to_wait_come_with_the_lease(leased: Leased) -> None:
    leased.order(1, 0, queue=1)
    first, second = leased.enter(), leased.enter()
    assert first.told == []
    assert second.told == ["overloaded"]


def test_a_failed_start_is_said(leased: Leased) -> None:
    leased.instances.upstreams.clear()
    asker = leased.enter()
    leased.clock.advance(1)
    leased.instances.settle("alice", Unavailable("failed", "why", 1))
    leased.clock.advance(1)
    assert asker.told == ["failed"]
    assert leased.said[-1].waiting == 0
