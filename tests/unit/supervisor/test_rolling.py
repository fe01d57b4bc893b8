"""Rolling restarts: so many at a time, in order, and no further after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from sqsuper.supervisor.instance import RUNNING, State
from sqsuper.supervisor.rolling import Rolled, Rolling
from tests.unit.supervisor.staging import Stage, staged


class Tenants:
    """Their states, and the restarts that are under way."""

    def __init__(self, **states: State) -> None:
        self.states: dict[str, State] = states
        self.under_way: dict[str, Deferred[bool]] = {}
        self.begun: list[str] = []

    def restart(self, tenant: str) -> Deferred[bool]:
        self.begun.append(tenant)
        self.under_way[tenant] = Deferred()
        return self.under_way[tenant]

    def end(self, tenant: str, well: bool, state: State = State.HEALTHY) -> None:
        self.states[tenant] = state
        self.under_way.pop(tenant).callback(well)

    def roll(self, most: int = 1) -> list[Rolled]:
        over: list[Rolled] = []
        rolling = Rolling(self.states, most, state=self.states.get, restart=self.restart)
        rolling.run().addCallback(over.append)
        return over


def healthy(*names: str) -> Tenants:
    return Tenants(**dict.fromkeys(names, State.HEALTHY))


def test_one_after_the_other() -> None:
    tenants = healthy("a", "b", "c")
    over = tenants.roll()
    for number, name in enumerate("abc", 1):
        assert tenants.begun == list("abc"[:number])
        assert over == []
        tenants.end(name, well=True)
    assert over == [Rolled(("a", "b", "c"), (), (), ())]


def test_who_does_not_run_is_skipped() -> None:
    tenants = Tenants(**{state.value: state for state in State})
    tenants.roll(most=20)
    assert set(tenants.begun) == {state.value for state in RUNNING}


def test_no_further_after_a_failure() -> None:
    tenants = healthy("a", "b", "c", "d")
    over = tenants.roll(most=2)
    tenants.end("a", well=False, state=State.BACKOFF)
    assert tenants.begun == ["a", "b"]
    assert over == []
    tenants.end("b", well=True)
    assert over == [Rolled(("b",), (), ("a",), ("c", "d"))]


def test_one_that_could_not_be_replaced_has_failed_though_it_runs() -> None:
    tenants = healthy("a", "b")
    over = tenants.roll()
    tenants.end("a", well=False)
    assert over == [Rolled((), (), ("a",), ("b",))]


@pytest.mark.parametrize("state", [State.STOPPED, State.DISABLED])
def test_one_that_was_stopped_meanwhile_has_not(state: State) -> None:
    tenants = healthy("a", "b")
    over = tenants.roll()
    tenants.end("a", well=False, state=state)
    tenants.end("b", well=True)
    assert over == [Rolled(("b",), ("a",), (), ())]


def test_many_that_are_over_at_once() -> None:
    names = [f"t{n}" for n in range(5000)]
    over: list[Rolled] = []
    Rolling(
        names, 1, state=lambda _: State.HEALTHY, restart=lambda _: succeed(True)
    ).run().addCallback(over.append)
    assert over[0].restarted == tuple(names)


def test_of_nobody() -> None:
    assert Tenants().roll() == [Rolled((), (), (), ())]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["well", "ill", "stopped"]))),
)
def test_never_more_at_a_time_and_each_is_counted_once(
    most: int, ends: list[tuple[int, str]]
) -> None:
    names = [f"t{n}" for n in range(8)]
    tenants = healthy(*names)
    over = tenants.roll(most)
    for which, how in ends:
        assert len(tenants.under_way) <= most
        assert bool(over) == (not tenants.under_way)
        if tenants.under_way:
            name = list(tenants.under_way)[which % len(tenants.under_way)]
            state = State.STOPPED if how == "stopped" else State.BACKOFF
            tenants.end(name, how == "well", State.HEALTHY if how == "well" else state)
    while tenants.under_way:
        tenants.end(next(iter(tenants.under_way)), well=True)
    (told,) = over
    assert sorted(told.restarted + told.skipped + told.failed + told.left) == names


@pytest.fixture
def stage(short_dir: Path) -> Iterator[Stage]:
    with staged(short_dir) as stage:
        yield stage


def test_of_the_service_it_is_of_all_that_run(stage: Stage) -> None:
    scene = stage(*(stage.tenant(name) for name in ("a", "b", "c")))
    for name in ("a", "c"):
        scene.wait(name)
        scene.children.last.ready()
    over: list[Rolled] = []
    scene.supervisor.rolling_restart().addCallback(over.append)
    for number, name in ((0, "a"), (1, "c")):
        new = scene.children.last
        assert len(scene.children.all) == 3 + number
        assert new.plan.tenant == name
        new.stands_by()
        scene.children.all[number].exit(0)
        new.ready()
    assert over == [Rolled(("a", "c"), ("b",), (), ())]
    with pytest.raises(KeyError):
        scene.supervisor.rolling_restart(["nobody"])
