from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from sqsuper.config.model import Engine, Origin, Settings, Tenant
from sqsuper.gateway.division import ROTATE_INTERVAL, Division
from sqsuper.gateway.estate import LOOK_INTERVAL
from sqsuper.gateway.shares import Order

PORT = 7001
PATIENCE = 35.0


class Scene:
    """Two workers, one tenant; `seen` are orphans of its instance, as the system tells them."""

    def __init__(self, engine: Engine, slots: int = 4) -> None:
        settings = Settings(max_inflight=slots, engine=engine)
        self.tenant = Tenant("alice", (), Path("/alice"), Origin(Path("c"), 1), settings=settings)
        self.tenants = {"alice": self.tenant}
        self.clock = Clock()
        self.slots: dict[int, int] = {}
        self.seen: set[int] | None = set()
        self.looks = 0
        self.division = Division(self.tenants, 2, self.say, self, self.clock)

    def say(self, tenant: str, order: Order) -> None:
        assert tenant == "alice"
        self.slots[order.worker] = order.slots

    def ask(self, worker: int, demand: int) -> None:
        self.division.report(worker, "alice", 0, cap=0, demand=demand, waiting=demand)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(LOOK_INTERVAL)

    def is_looking(self) -> bool:
        before = self.looks
        self.look(2)
        return self.looks > before

    # division.Remaining

    def port(self, tenant: str) -> int | None:
        assert tenant == "alice"
        return PORT

    def orphaned(self) -> Mapping[int, AbstractSet[int]] | None:
        self.looks += 1
        return None if self.seen is None else {PORT: self.seen, PORT + 1: {1, 2, 3}}

    def patience(self) -> float:
        return PATIENCE


@pytest.fixture
def command() -> Scene:
    """Worker 0 has all four slots, and worker 1 waits for as many."""
    scene = Scene(Engine.COMMAND)
    scene.ask(0, 4)
    scene.ask(1, 4)
    assert scene.slots.get(1, 0) == 0
    return scene


def test_an_embedded_engine_is_done_with_a_dead_workers_requests_at_once() -> None:
    scene = Scene(Engine.EMBEDDED)
    scene.ask(0, 4)
    scene.ask(1, 4)
    scene.division.gone(0)
    assert scene.slots[1] == 4
    assert scene.looks == 0


@pytest.mark.parametrize("seen", [set(), None])
def test_unused_slots_of_a_dead_worker_are_given_on_after_a_moment(
    command: Scene, seen: set[int] | None
) -> None:
    command.seen = seen
    command.division.gone(0)
    command.look()
    assert command.slots.get(1, 0) == 0
    command.look()
    assert command.slots[1] == 4
    assert not command.is_looking()


def test_what_a_command_engine_still_has_open_keeps_its_slots(command: Scene) -> None:
    command.seen = {50001, 50002, 50003}
    command.division.gone(0)
    command.look(2)
    assert command.slots[1] == 1
    command.look(100)
    assert command.slots[1] == 1
    assert command.division.at_work("alice") == 3
    # One is over; the thread that had it may be there for a moment more.
    command.seen = {50001, 50003}
    command.look()
    assert command.slots[1] == 1
    command.look()
    assert command.slots[1] == 2
    assert command.division.at_work("alice") == 2
    command.seen = set()
    command.look(2)
    assert command.slots[1] == 4
    assert command.division.at_work("alice") == 0
    assert not command.is_looking()


def test_what_others_leave_open_later_keeps_nothing(command: Scene) -> None:
    command.seen = {50001}
    command.division.gone(0)
    command.look(2)
    command.seen = {50007, 50008}
    command.look(2)
    assert command.slots[1] == 4


def test_there_are_never_more_kept_than_the_worker_had(command: Scene) -> None:
    command.seen = set(range(50000, 50020))
    command.division.gone(0)
    command.look(3)
    assert command.slots.get(1, 0) == 0
    command.seen = {50000}
    command.look(2)
    assert command.slots[1] == 3


def test_a_request_that_never_ends_keeps_its_slot_as_long_as_one_without_a_client(
    command: Scene,
) -> None:
    command.seen = {50001}
    command.division.gone(0)
    command.look(2)
    command.clock.advance(PATIENCE - 3 * LOOK_INTERVAL)
    assert command.slots[1] == 3
    command.look(2)
    assert command.slots[1] == 4
    assert not command.is_looking()


def test_two_that_die_one_after_the_other_leave_what_each_had() -> None:
    scene = Scene(Engine.COMMAND)
    scene.ask(0, 2)
    scene.ask(1, 2)
    scene.seen = {50001}
    scene.division.gone(0)
    scene.look(1)
    scene.seen = {50001, 50002}
    scene.division.gone(1)
    scene.look(2)
    scene.ask(2, 9)
    # Of the first worker 50001 is left, of the second it cannot be told from 50002.
    assert scene.slots[2] == 1
    scene.seen = set()
    scene.look(2)
    assert scene.slots[2] == 4


def test_what_cannot_be_divided_goes_round_until_it_is_closed() -> None:
    scene = Scene(Engine.EMBEDDED, slots=1)
    scene.ask(0, 3)
    scene.ask(1, 3)
    before = dict(scene.slots)
    scene.clock.advance(ROTATE_INTERVAL)
    assert scene.slots != before
    scene.division.close()
    assert not scene.clock.getDelayedCalls()


def test_nothing_is_looked_for_once_it_is_closed(command: Scene) -> None:
    command.seen = {50001}
    command.division.gone(0)
    command.division.close()
    command.division.gone(1)
    assert not command.clock.getDelayedCalls()


def test_it_is_quiet_once_nothing_is_done_for_dead_workers(command: Scene) -> None:
    fired: list[str] = []
    command.division.quiet("alice").addCallback(lambda _: fired.append("before"))
    assert fired == ["before"]
    command.seen = {50001}
    command.division.gone(0)
    command.division.quiet("bob").addCallback(lambda _: fired.append("bob"))
    command.division.quiet("alice").addCallback(lambda _: fired.append("alice"))
    command.division.quiet().addCallback(lambda _: fired.append("all"))
    command.look(10)
    assert fired == ["before", "bob"]
    command.seen = set()
    command.look(2)
    assert fired == ["before", "bob", "alice", "all"]


def test_nobody_waits_for_quiet_when_it_is_closed(command: Scene) -> None:
    fired: list[None] = []
    command.seen = {50001}
    command.division.gone(0)
    command.division.quiet("alice").addCallback(fired.append)
    command.division.close()
    assert fired == [None]


def test_a_tenant_that_is_gone_gets_nothing() -> None:
    scene = Scene(Engine.EMBEDDED)
    scene.tenants.clear()
    scene.ask(0, 1)
    assert scene.slots == {}


def test_another_total_is_divided_at_once() -> None:
    scene = Scene(Engine.EMBEDDED)
    scene.ask(0, 4)
    scene.division.resize(scene.tenant)
    assert scene.slots == {0: 4}
