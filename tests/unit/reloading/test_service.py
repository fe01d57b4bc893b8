"""When it is reloaded, in which order, and what is told of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sqsuper.config.diff import Plan
from sqsuper.config.model import Config, Gateway, Origin, Tenant
from sqsuper.reloading.outcome import Outcome, Result
from sqsuper.reloading.reading import RefusedError
from sqsuper.reloading.service import POLL, Reload
from sqsuper.reloading.watch import REST
from sqsuper.slices import Slices
from tests.unit.supervisor.support import logged


def config(directory: Path, *names: str, **more: Any) -> Config:
    file = directory / "tenants.yaml"
    tenants = tuple(Tenant(name, (), directory / name, Origin(file, 1)) for name in names)
    return Config(file=file, data_root=directory, run_dir=directory, tenants=tenants, **more)


class World:
    """The gateway, the supervisor and the reader of one reload, and what each was asked."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.directory = directory
        self.file = directory / "tenants.yaml"
        self.file.write_text("1")
        self.steps: list[str] = []
        self.readings: list[Deferred[Config]] = []
        self.cannot: Exception | None = None
        self.outcomes: list[Outcome] = []
        self.reload = Reload(
            config(directory, "alice"),
            tenants=self,
            gateway=self,
            reactor=self.clock,
            explain=lambda error: str(error) if isinstance(error, OSError) else None,
            read=self,  # type: ignore[arg-type]
            slices=Slices(self.clock, clock=lambda: 0.0),
            clock=lambda: 1000.0 + self.clock.seconds(),
        )
        self.reload.begins.append(lambda: self.steps.append("begins"))
        self.reload.ends.append(self.outcomes.append)
        self.reload.startService()

    async def read(self, running: Config) -> Config:
        self.steps.append("read")
        self.readings.append(Deferred())
        return await self.readings[-1]

    def stop(self) -> None:
        for reading in self.readings:
            if not reading.called:
                reading.errback(RefusedError("it was stopped"))

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> str:
        self.steps.append(f"prepare {[one.name for one in changed]} {list(gone)}")
        if self.cannot is not None:
            raise self.cannot
        return "prepared"

    async def commit(self, prepared: str) -> None:
        self.steps.append(f"commit {prepared}")

    def admit(self, change: Plan) -> Generator[None, None, None]:
        self.steps.append("admit")
        yield

    def settle(self, change: Plan) -> Generator[None, None, None]:
        self.steps.append("settle")
        yield

    def have_read(self, *names: str, **more: Any) -> None:
        self.readings[-1].callback(config(self.directory, *names, **more))
        self.clock.pump([0] * 10)

    def taken(self) -> list[str]:
        steps, self.steps = self.steps, []
        return steps


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def results(world: World) -> list[Result]:
    return [outcome.result for outcome in world.outcomes]


def test_the_order(world: World) -> None:
    done = world.reload.reload()
    got: list[Outcome] = []
    done.addCallback(got.append)
    world.have_read("bob")
    assert world.taken() == [
        *("begins", "read", "prepare ['bob'] ['alice']", "admit", "commit prepared", "settle")
    ]
    (outcome,) = got
    assert (outcome.result, outcome.trigger) == (Result.APPLIED, "the API")
    assert outcome.text == "tenants: 1 added, 1 removed, 0 unchanged"
    assert outcome is world.reload.last
    assert [one.name for one in world.reload.config.tenants] == ["bob"]
    assert world.reload.saying() == ""


def test_nothing_changed(world: World) -> None:
    world.reload.hangup()
    world.have_read("alice")
    assert results(world) == [Result.UNCHANGED]


@pytest.mark.parametrize("how", ["file", "gateway", "defect", "undecidable"])
def test_what_is_refused_changes_nothing_and_is_told_of(world: World, how: str) -> None:
    before = world.reload.config
    with logged() as lines:
        world.reload.hangup()
        if how == "file":
            world.readings[0].errback(RefusedError("f:3: a.b: one", "two"))
        elif how == "gateway":
            world.cannot = OSError("taken")
            world.have_read("bob")
        elif how == "defect":
            world.cannot = KeyError("oops")
            world.have_read("bob")
        else:
            other = attrs.evolve(
                config(world.directory, "alice", "bob"), data_root=world.directory / "new"
            )
            alice, bob = other.tenants
            alice = attrs.evolve(alice, data_dir=world.directory / "new" / "alice")
            bob = attrs.evolve(bob, data_dir=world.directory / "alice")
            world.readings[0].callback(attrs.evolve(other, tenants=(alice, bob)))
            world.clock.pump([0] * 10)
    assert world.reload.config is before
    assert not {"admit", "commit prepared", "settle"} & set(world.taken())
    (outcome,) = world.outcomes
    assert outcome.result is Result.REFUSED
    assert outcome.errors
    for error in outcome.errors:
        assert any(f"reload (SIGHUP) refused: {error}" in line for line in lines)
    assert world.reload.saying().startswith("reload refused, the former configuration runs: ")
    world.cannot = None
    world.reload.hangup()
    world.have_read("alice")
    assert world.reload.saying() == ""


def test_reloads_never_overlap_and_who_asks_during_one_gets_the_next(world: World) -> None:
    got: list[tuple[int, Outcome]] = []

    def note(number: int, outcome: Outcome) -> None:
        got.append((number, outcome))

    for number in range(3):
        world.reload.reload().addCallback(partial(note, number))
    assert len(world.readings) == 1
    world.have_read("bob")
    assert [number for number, _ in got] == [0]
    assert len(world.readings) == 2
    world.have_read("bob")
    assert [number for number, _ in got] == [0, 1, 2]
    assert got[1][1] is got[2][1]
    assert results(world) == [Result.APPLIED, Result.UNCHANGED]
    assert len(world.readings) == 2


def test_a_changed_file_is_read_once_at_rest(world: World) -> None:
    world.clock.pump([POLL] * 4)
    world.file.write_text("other")
    world.clock.advance(POLL)
    assert world.readings == []
    world.clock.pump([REST / 3] * 4)
    assert len(world.readings) == 1
    # While one is under way nothing is noticed, and afterwards it is.
    world.file.write_text("yet another")
    world.clock.pump([POLL] * 4)
    world.have_read("bob")
    assert world.outcomes[0].trigger == "a changed file"
    world.clock.pump([REST / 3] * 8)
    assert len(world.readings) == 2


def test_what_a_hangup_read_is_not_read_again(world: World) -> None:
    world.file.write_text("other")
    world.reload.hangup()
    world.have_read("bob")
    world.clock.pump([POLL] * 8)
    assert len(world.readings) == 1


def test_a_plan_does_nothing(world: World) -> None:
    got: list[Plan] = []
    planned = Deferred.fromCoroutine(world.reload.plan())
    planned.addCallback(got.append)
    world.have_read("alice", "bob")
    assert [change.name for change in got[0].tenants] == ["bob"]
    assert world.taken() == ["read"]
    assert world.reload.last is None


def test_a_hangup_before_the_start_is_taken_then(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.reload.stopService()
    world.reload.hangup()
    assert world.readings == []
    world.reload.startService()
    assert len(world.readings) == 1


def test_a_stop_ends_what_is_being_read_and_begins_no_more(world: World) -> None:
    world.reload.hangup()
    world.reload.hangup()
    gone: list[None] = []
    world.reload.stopService().addCallback(gone.append)
    assert gone == [None]
    world.clock.pump([POLL] * 4)
    assert len(world.readings) == 1
    assert world.clock.getDelayedCalls() == []


def test_new_warnings_are_logged_once(world: World) -> None:
    with logged() as lines:
        for _ in range(2):
            world.reload.hangup()
            world.have_read("alice", warnings=("f:1: beware",), gateway=Gateway(idle_timeout=1.0))
    assert sum("f:1: beware" in line for line in lines) == 1


def test_what_waits_for_a_restart_is_said_each_time(world: World) -> None:
    with logged() as lines:
        world.reload.hangup()
        world.have_read("alice", gateway=Gateway(workers=2))
    assert any("gateway.workers needs a restart" in line for line in lines)
    assert world.reload.config.gateway.workers == 1
    assert world.outcomes[0].text.endswith("waiting for a restart of sqsuper: gateway.workers")


def test_one_who_is_told_and_fails_stops_nobody(world: World) -> None:
    def fail(outcome: Outcome) -> None:
        raise ValueError("no")

    world.reload.ends.insert(0, fail)
    with logged() as lines:
        world.reload.hangup()
        world.have_read("alice")
    assert results(world) == [Result.UNCHANGED]
    assert any("told of a reload failed" in line for line in lines)
    world.reload.hangup()
    assert len(world.readings) == 2
