"""Changes that need no reading, and several listeners gone over to together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sqsuper.config.model import Config, Tenant
from sqsuper.reloading.gates import Gates
from sqsuper.reloading.outcome import Outcome, Result
from sqsuper.reloading.reading import RefusedError
from sqsuper.slices import Slices
from tests.unit.reloading.test_service import World, config


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def disabled(config: Config) -> Config:
    return attrs.evolve(
        config, tenants=tuple(attrs.evolve(one, enabled=False) for one in config.tenants)
    )


def test_nothing_is_read(world: World) -> None:
    got: list[Outcome] = []
    world.reload.amend(disabled, "me").addCallback(got.append)
    assert world.taken() == ["begins", "prepare ['alice'] []", "admit", "commit prepared", "settle"]
    assert [(one.result, one.trigger) for one in got] == [(Result.APPLIED, "me")]
    assert not world.reload.config.tenants[0].enabled


def test_it_comes_after_a_reload_that_is_under_way_and_before_the_next(world: World) -> None:
    told: list[str] = []
    world.reload.reload().addCallback(lambda _: told.append("first"))
    world.reload.reload().addCallback(lambda _: told.append("next"))
    world.reload.amend(disabled).addCallback(lambda _: told.append("amended"))
    world.reload.amend(lambda one: one).addCallback(lambda _: told.append("again"))
    world.taken()
    world.have_read("alice", "bob")
    # What is amended is what the first brought.
    assert told == ["first", "amended", "again"]
    assert [one.enabled for one in world.reload.config.tenants] == [False, False]
    assert "prepare ['alice', 'bob'] []" in world.taken()
    world.have_read("alice")
    assert told == ["first", "amended", "again", "next"]


def test_what_it_refuses_changes_nothing(world: World) -> None:
    def refuse(_: Config) -> Config:
        raise RefusedError("not so")

    got: list[Outcome] = []
    before = world.reload.config
    world.reload.amend(refuse).addCallback(got.append)
    world.cannot = OSError("taken")
    world.reload.amend(disabled).addCallback(got.append)
    assert [(one.result, one.text) for one in got] == [
        (Result.REFUSED, "not so"),
        (Result.REFUSED, "taken"),
    ]
    assert world.reload.config is before


def test_before_the_start_it_waits(world: World) -> None:
    got: list[Outcome] = []
    world.reload.stopService()
    world.reload.amend(disabled).addCallback(got.append)
    assert not got
    world.reload.startService()
    assert len(got) == 1


class Listening:
    def __init__(self, name: str, steps: list[str], error: Exception | None = None) -> None:
        self.name = name
        self.steps = steps
        self.error = error

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> str:
        self.steps.append(f"prepare {self.name}")
        if self.error is not None:
            raise self.error
        return f"of {self.name}"

    async def commit(self, prepared: Any) -> None:
        self.steps.append(f"commit {prepared}")

    async def withdraw(self, prepared: Any) -> None:
        self.steps.append(f"withdraw {prepared}")


def test_all_or_none(tmp_path: Path) -> None:
    steps: list[str] = []
    one, two = Listening("one", steps), Listening("two", steps)
    gates = Gates([one, two])
    slices = Slices(Clock())

    async def go() -> None:
        await gates.commit(await gates.prepare(config(tmp_path), [], [], slices))

    Deferred.fromCoroutine(go())
    assert steps == ["prepare one", "prepare two", "commit of one", "commit of two"]
    steps.clear()
    two.error = OSError("taken")
    failed: list[Any] = []
    Deferred.fromCoroutine(go()).addErrback(failed.append)
    assert steps == ["prepare one", "prepare two", "withdraw of one"]
    assert failed[0].check(OSError)
