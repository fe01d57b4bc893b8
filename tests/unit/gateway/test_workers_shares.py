from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqsuper.gateway.leases import Lease, Report
from sqsuper.gateway.shares import Order, Shares, divide


class TestDivide:
    @pytest.mark.parametrize(
        ("total", "demands", "parts"),
        [
            (32, {}, {}),
            (32, {0: 3, 1: 4}, {0: 3, 1: 4}),
            (32, {0: 40, 1: 4}, {0: 28, 1: 4}),
            (32, {0: 40, 1: 40}, {0: 16, 1: 16}),
            (9, {0: 9, 1: 1, 2: 9}, {0: 4, 1: 1, 2: 4}),
            (0, {0: 5}, {0: 0}),
        ],
    )
    def test_nobody_gets_more_than_asked_and_the_rest_is_equal(
        self, total: int, demands: dict[int, int], parts: dict[int, int]
    ) -> None:
        assert divide(total, demands) == parts

    def test_what_is_over_goes_round(self) -> None:
        demands = {0: 5, 1: 5, 2: 5}
        assert [divide(1, demands, turn) for turn in range(3)] == [
            {0: 1, 1: 0, 2: 0},
            {0: 0, 1: 1, 2: 0},
            {0: 0, 1: 0, 2: 1},
        ]

    @given(
        st.integers(0, 50), st.dictionaries(st.integers(0, 5), st.integers(0, 30)), st.integers(0)
    )
    def test_all_is_given_as_far_as_it_is_asked_for(
        self, total: int, demands: dict[int, int], turn: int
    ) -> None:
        parts = divide(total, demands, turn)
        assert sum(parts.values()) == min(total, sum(demands.values()))
        assert all(0 <= parts[key] <= demands[key] for key in demands)
        short = [parts[key] for key in demands if parts[key] < demands[key]]
        assert not short or max(parts.values()) <= min(short) + 1


def slots(orders: list[Order]) -> dict[int, int]:
    return {order.worker: order.slots for order in orders}


class TestShares:
    def test_the_first_who_asks_gets_an_equal_part_in_advance(self) -> None:
        shares = Shares(32, 128, workers=2)
        [order] = shares.report(0, 0, cap=0, demand=1, waiting=1)
        assert (order.worker, order.slots, order.contended) == (0, 16, False)

    def test_all_of_it_when_nobody_else_has_use_for_it(self) -> None:
        shares = Shares(32, 128, workers=2)
        [order] = shares.report(0, 0, cap=0, demand=40, waiting=40)
        assert order.slots == 32

    def test_unused_slots_are_asked_back_and_then_given(self) -> None:
        shares = Shares(32, 128, workers=2)
        shares.report(0, 0, cap=0, demand=32, waiting=0)
        first = slots(shares.report(1, 0, cap=0, demand=10, waiting=10))
        assert first[0] < 32
        assert first.get(1, 0) == 0
        second = shares.report(0, 1, cap=first[0], demand=0, waiting=0)
        assert slots(second)[1] == 10
        assert shares.held <= 32

    def test_what_crossed_a_raise_is_not_believed(self) -> None:
        shares = Shares(10, 128, workers=2)
        shares.report(0, 0, cap=0, demand=4, waiting=0)
        [raised] = shares.report(0, 1, cap=5, demand=8, waiting=0)
        assert (raised.serial, raised.slots) == (2, 8)
        # This was said before the raise was heard.
        shares.report(0, 1, cap=5, demand=6, waiting=0)
        assert shares.held == 8

    def test_a_worker_that_ends_leaves_its_slots_to_the_others(self) -> None:
        shares = Shares(4, 128, workers=2)
        shares.report(0, 0, cap=0, demand=4, waiting=0)
        shares.report(1, 0, cap=0, demand=4, waiting=4)
        assert slots(shares.found(shares.leave_behind(0))) == {1: 4}
        assert shares.leave_behind(0) == 0

    def test_what_a_worker_leaves_behind_is_nobodys_until_it_is_found(self) -> None:
        shares = Shares(8, 128, workers=2)
        shares.report(0, 0, cap=0, demand=6, waiting=0)
        left = shares.leave_behind(0)
        assert (left, shares.held) == (6, 6)
        # Its successor has the same number, and the requests of the one before still run.
        assert slots(shares.report(0, 0, cap=0, demand=8, waiting=8)) == {0: 2}
        assert shares.held == 8
        assert slots(shares.found(left)) == {0: 8}
        assert shares.held == 8

    def test_who_else_waits_takes_from_the_places(self) -> None:
        shares = Shares(1, 4, workers=2)
        shares.report(0, 0, cap=0, demand=4, waiting=3)
        shares.report(1, 0, cap=0, demand=1, waiting=1)
        # Nothing new, so nothing is said.
        assert shares.report(1, 0, cap=0, demand=1, waiting=1) == []
        [told] = [o for o in shares.report(1, 0, cap=0, demand=0, waiting=0) if o.worker == 0]
        assert told.queue == 4

    def test_a_smaller_total_is_reached_as_requests_end(self) -> None:
        shares = Shares(8, 128, workers=2)
        shares.report(0, 0, cap=0, demand=8, waiting=0)
        assert slots(shares.resize(2, 128, 2)) == {0: 2}
        assert shares.held == 8
        shares.report(0, 1, cap=2, demand=2, waiting=0)
        assert shares.held == 2


class FakePool:
    def __init__(self) -> None:
        self.inflight = 0
        self.waiting = 0
        self.limit = 0
        self.lease: Any = None

    def resize(self, max_inflight: int, queue: int) -> None:
        self.limit = max_inflight
        self.serve()

    def serve(self) -> None:
        while self.waiting and self.inflight < self.limit:
            self.waiting -= 1
            self.inflight += 1

    def arrive(self) -> None:
        if self.inflight < self.limit and not self.waiting:
            self.inflight += 1
        else:
            self.waiting += 1
            self.lease.wanted()

    def finish(self) -> None:
        if self.inflight:
            self.inflight -= 1
            self.lease.released()
            self.serve()

    def give_up(self) -> None:
        if self.waiting:
            self.waiting -= 1
            self.lease.released()


class Fleet:
    """Workers and the division between them, with messages that are on their way for a while."""

    def __init__(self, total: int, workers: int) -> None:
        self.shares = Shares(total, 100, workers)
        self.pools: list[FakePool] = []
        self.up: list[deque[Report]] = [deque() for _ in range(workers)]
        self.down: list[deque[Order]] = [deque() for _ in range(workers)]
        self.calls: list[tuple[float, Any]] = []
        self.now = 0.0
        for number in range(workers):
            pool: Any = FakePool()
            lease = Lease("alice", self.up[number].append, lambda: self.now, self.later)
            lease.serve(pool)
            pool.lease = lease
            self.pools.append(pool)

    def later(self, seconds: float, call: Any) -> None:
        self.calls.append((self.now + seconds, call))

    def advance(self) -> None:
        self.now += 0.01
        due = [call for at, call in self.calls if at <= self.now]
        self.calls = [(at, call) for at, call in self.calls if at > self.now]
        for call in due:
            call()

    def order(self, orders: list[Order]) -> None:
        for order in orders:
            self.down[order.worker].append(order)

    def deliver_up(self, worker: int) -> None:
        if self.up[worker]:
            said = self.up[worker].popleft()
            self.order(
                self.shares.report(
                    worker,
                    said.serial,
                    cap=said.cap,
                    demand=said.demand,
                    waiting=said.waiting,
                )
            )

    def deliver_down(self, worker: int) -> None:
        if self.down[worker]:
            order = self.down[worker].popleft()
            self.pools[worker].lease.ordered(
                order.serial, order.slots, order.queue, order.contended
            )

    def settle(self) -> None:
        for _ in range(60):
            self.advance()
            for worker in range(len(self.pools)):
                while self.up[worker]:
                    self.deliver_up(worker)
            for worker in range(len(self.pools)):
                while self.down[worker]:
                    self.deliver_down(worker)

    def step(self) -> None:
        """Let 10 ms pass: what was said before them is heard in them."""
        said = [(self.deliver_up, n) for n, queue in enumerate(self.up) for _ in queue]
        ordered = [(self.deliver_down, n) for n, queue in enumerate(self.down) for _ in queue]
        self.advance()
        for deliver, worker in (*said, *ordered):
            deliver(worker)

    @property
    def used(self) -> int:
        return sum(pool.inflight for pool in self.pools)

    @property
    def waiting(self) -> int:
        return sum(pool.waiting for pool in self.pools)


ACTIONS = (
    "arrive",
    "arrive",
    "arrive",
    "finish",
    "finish",
    "give_up",
    "up",
    "down",
    "time",
    "turn",
)


@given(
    st.integers(1, 6),
    st.integers(2, 3),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=150),
)
def test_the_sum_is_never_over_and_no_slot_is_lost(
    total: int, workers: int, steps: list[tuple[str, int]]
) -> None:
    fleet = Fleet(total, workers)
    for action, index in steps:
        worker = index % workers
        if action == "up":
            fleet.deliver_up(worker)
        elif action == "down":
            fleet.deliver_down(worker)
        elif action == "time":
            fleet.advance()
        elif action == "turn":
            fleet.order(fleet.shares.rotate())
        else:
            getattr(fleet.pools[worker], action)()
        assert fleet.used <= total
    # Then nothing more comes: whoever waits gets all that is there.
    fleet.settle()
    assert fleet.used <= total
    assert fleet.waiting == 0 or fleet.used == total
    for pool in fleet.pools:
        pool.inflight = pool.waiting = 0
        pool.lease.released()
    fleet.settle()
    for pool in fleet.pools:
        for _ in range(total):
            pool.arrive()
        fleet.settle()
        assert (pool.inflight, pool.waiting) == (total, 0)
        while pool.inflight:
            pool.finish()
        fleet.settle()


def test_one_slot_goes_round_among_those_who_wait() -> None:
    fleet = Fleet(1, 3)
    for pool in fleet.pools:
        for _ in range(50):
            pool.arrive()
    served = [0, 0, 0]
    for _ in range(60):
        fleet.settle()
        for number, pool in enumerate(fleet.pools):
            served[number] += pool.inflight
            pool.finish()
        assert fleet.used <= 1
        fleet.order(fleet.shares.rotate())
    assert min(served) >= 15


def test_a_request_within_the_lease_costs_no_message() -> None:
    fleet = Fleet(32, 2)
    fleet.pools[0].arrive()
    fleet.settle()
    assert fleet.pools[0].inflight == 1
    fleet.pools[0].finish()
    fleet.settle()
    said: list[Any] = []
    fleet.pools[0].lease._say = said.append
    for _ in range(16):
        fleet.pools[0].arrive()
    assert fleet.pools[0].inflight == 16
    for _ in range(16):
        fleet.pools[0].finish()
    fleet.settle()
    assert said == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 40),
    st.integers(2, 5),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4)), max_size=80),
    st.integers(0, 4),
    st.integers(1, 60),
)
def test_unused_slots_move_within_100_ms(
    total: int, workers: int, steps: list[tuple[str, int]], index: int, wanted: int
) -> None:
    fleet = Fleet(total, workers)
    for action, at in steps:
        pool = fleet.pools[at % workers]
        if action in ("arrive", "finish", "give_up"):
            getattr(pool, action)()
        else:
            fleet.step()
    # Whatever came before: now nobody uses any.
    for pool in fleet.pools:
        while pool.waiting:
            pool.give_up()
        while pool.inflight:
            pool.finish()
    busy = fleet.pools[index % workers]
    for _ in range(wanted):
        busy.arrive()
    for _ in range(10):
        fleet.step()
        assert fleet.used <= total
    assert busy.inflight == min(total, wanted)


def test_the_slots_of_a_worker_that_died_move_within_100_ms() -> None:
    fleet = Fleet(8, 2)
    dead, other = fleet.pools
    for _ in range(8):
        dead.arrive()
    fleet.settle()
    for _ in range(8):
        other.arrive()
    fleet.settle()
    assert (dead.inflight, other.inflight) == (8, 0)
    fleet.order(fleet.shares.found(fleet.shares.leave_behind(0)))
    for _ in range(10):
        fleet.step()
    assert other.inflight == 8
