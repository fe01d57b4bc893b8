from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from sqsuper.config.model import Engine, Origin, Settings, Tenant
from sqsuper.gateway.division import LEFT_BEHIND, ROTATE_INTERVAL, Division
from sqsuper.gateway.shares import Order


class Scene:
    def __init__(self, engine: Engine, slots: int = 4) -> None:
        settings = Settings(max_inflight=slots, engine=engine)
        self.tenant = Tenant("alice", (), Path("/alice"), Origin(Path("c"), 1), settings=settings)
        self.tenants = {"alice": self.tenant}
        self.clock = Clock()
        self.slots: dict[int, int] = {}
        self.division = Division(self.tenants, 2, self.say, self.clock.callLater)

    def say(self, tenant: str, order: Order) -> None:
        assert tenant == "alice"
        self.slots[order.worker] = order.slots

    def ask(self, worker: int, demand: int) -> None:
        self.division.report(worker, "alice", 0, cap=0, demand=demand, waiting=demand)


@pytest.mark.parametrize(
    ("engine", "after"), [(Engine.EMBEDDED, 0.0), (Engine.COMMAND, LEFT_BEHIND)]
)
def test_the_slots_of_a_dead_worker_are_given_on_when_its_requests_are_over(
    engine: Engine, after: float
) -> None:
    scene = Scene(engine)
    scene.ask(0, 4)
    scene.ask(1, 4)
    assert scene.slots.get(1, 0) == 0
    scene.division.gone(0)
    assert scene.slots.get(1, 0) == (0 if after else 4)
    scene.clock.advance(after)
    assert scene.slots[1] == 4


def test_what_cannot_be_divided_goes_round_until_it_is_closed() -> None:
    scene = Scene(Engine.EMBEDDED, slots=1)
    scene.ask(0, 3)
    scene.ask(1, 3)
    before = dict(scene.slots)
    scene.clock.advance(ROTATE_INTERVAL)
    assert scene.slots != before
    scene.division.close()
    assert not scene.clock.getDelayedCalls()


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
