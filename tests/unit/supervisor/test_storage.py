"""When command engines' data is measured, and what follows; by a clock set by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from sqsuper.config.model import MIB, Engine, Monitor, Settings, Tenant
from sqsuper.instances import Full
from sqsuper.supervisor import instance, storage
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.storage import Storage, Stored, full
from tests.unit.supervisor.support import settings, tenant

COMMAND = settings(engine=Engine.COMMAND, quota_mb=1, monitor=Monitor(detail=60.0))


@attrs.define(eq=False)
class Life:
    tenant: Tenant
    state: State = State.STOPPED

    @property
    def is_embedded(self) -> bool:
        return self.tenant.settings.engine is Engine.EMBEDDED


class Scene:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.takes = 0.0
        self.waiting: list[Callable[[], None]] | None = None
        """What is done in the thread, if that is to wait."""
        self.slices = 0
        self.times = 0.0
        self.storage = Storage(self.clock, in_thread=self.in_thread, clock=self.read)
        self.told: list[tuple[str, int]] = []
        self.full: dict[str, Full | None] = {}
        self.storage.listeners.append(lambda life, count: self.told.append((name(life), count)))
        self.storage.watchers.append(self.full.__setitem__)

    def wait(self) -> list[Callable[[], None]]:
        """Do nothing in the thread, but what is called of what this returns."""
        self.waiting = []
        return self.waiting

    def read(self) -> float:
        self.times += self.takes
        return self.times

    def in_thread(self, call: Callable[[], Stored | None]) -> Deferred[Stored | None]:
        self.slices += 1
        if self.waiting is None:
            return succeed(call())
        result: Deferred[Stored | None] = Deferred()
        self.waiting.append(lambda: result.callback(call()))
        return result

    def life(self, of: str = "alice", state: State = State.STOPPED, **changes: Any) -> Life:
        one = tenant(self.directory, of, settings=attrs.evolve(COMMAND, **changes))
        one.data_dir.mkdir(parents=True, exist_ok=True)
        return Life(one, state)

    def fill(self, life: Life, count: int, file: str = "a.phext") -> None:
        path = life.tenant.data_dir / file
        with path.open("wb") as opened:
            opened.truncate(count)

    def become(self, life: Life, after: State) -> None:
        before, life.state = life.state, after
        self.storage.became(life, Change(0.0, before, instance.Event.READY, after, ""))


def name(life: Any) -> str:
    return str(life.tenant.name)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize(
    ("stored", "changes", "code"),
    [
        (Stored(MIB, MIB), {"quota_mb": 1}, None),
        (Stored(MIB + 1, 1), {"quota_mb": 1}, "quota"),
        (Stored(10**12, 1), {"quota_mb": None}, None),
        (Stored(10**12, 2 * MIB), {"quota_mb": None, "max_phext_mb": 2}, None),
        (Stored(10**12, 2 * MIB + 1), {"quota_mb": None, "max_phext_mb": 2}, "phext_too_large"),
        (Stored(3 * MIB, 3 * MIB), {"quota_mb": 2, "max_phext_mb": 2}, "quota"),
    ],
)
def test_what_must_not_grow(stored: Stored, changes: dict[str, Any], code: str | None) -> None:
    found = full(Settings(**changes), stored)
    assert (None if found is None else found.code) == code


def test_only_command_engines_are_measured_at_the_start(scene: Scene) -> None:
    command, embedded = scene.life("alice"), scene.life("bob", engine=Engine.EMBEDDED)
    scene.fill(command, 5)
    scene.fill(embedded, 7)
    scene.storage.attend([command])
    assert scene.told == []
    scene.storage.open([command, embedded])
    assert scene.told == [("alice", 5)]
    scene.become(embedded, State.HEALTHY)
    scene.storage.used("bob")
    scene.clock.advance(100)
    assert scene.told == [("alice", 5)]
    assert scene.full == {}


def test_each_detail_while_it_runs_and_not_after(scene: Scene) -> None:
    life = scene.life()
    scene.storage.open([life])
    scene.become(life, State.HEALTHY)
    assert len(scene.told) == 2
    scene.clock.advance(59)
    assert len(scene.told) == 2
    scene.clock.advance(1)
    assert len(scene.told) == 3
    scene.become(life, State.STOPPED)
    scene.clock.advance(60)
    assert len(scene.told) == 4
    scene.clock.advance(1000)
    assert len(scene.told) == 4


def test_soon_after_a_request_and_not_for_each(scene: Scene) -> None:
    life = scene.life(state=State.HEALTHY)
    scene.storage.open([life])
    scene.fill(life, 8)
    for _ in range(5):
        scene.storage.used("alice")
    scene.clock.advance(storage.AFTER_USE)
    assert scene.told == [("alice", 0), ("alice", 8)]
    scene.clock.advance(10)
    assert len(scene.told) == 2
    scene.storage.used("nobody")


def test_what_takes_long_is_measured_less_often(scene: Scene) -> None:
    scene.takes = 0.1
    life = scene.life(state=State.HEALTHY)
    scene.storage.open([life])
    scene.storage.used("alice")
    scene.clock.advance(0.1 / storage.SHARE - 0.1)
    assert len(scene.told) == 1
    scene.clock.advance(0.1)
    assert len(scene.told) == 2


def test_full_data_is_looked_at_until_it_is_no_more(scene: Scene) -> None:
    life = scene.life()
    scene.fill(life, MIB + 1)
    scene.storage.open([life])
    assert scene.full["alice"] == Full(
        "quota", "over quota: the data is 1048577 bytes of 1048576; nothing changed"
    )
    scene.fill(life, MIB)
    scene.clock.advance(60)
    assert scene.full["alice"] is None
    scene.clock.advance(600)
    assert len(scene.told) == 2


def test_another_quota_and_another_directory(scene: Scene) -> None:
    life = scene.life()
    scene.fill(life, 2 * MIB)
    scene.storage.open([life])
    assert scene.full["alice"] is not None
    life.tenant = attrs.evolve(life.tenant, settings=attrs.evolve(COMMAND, quota_mb=2))
    scene.storage.attend([life])
    assert scene.full["alice"] is None
    assert len(scene.told) == 1
    life.tenant = attrs.evolve(life.tenant, settings=COMMAND)
    scene.storage.attend([life])
    assert scene.full["alice"] is not None
    life.tenant = attrs.evolve(life.tenant, data_dir=scene.directory / "other")
    scene.storage.attend([life])
    assert scene.full["alice"] is None
    assert scene.told == [("alice", 2 * MIB), ("alice", 0)]


def test_what_is_no_command_engine_any_more_may_grow(scene: Scene) -> None:
    life = scene.life(state=State.HEALTHY)
    scene.fill(life, 2 * MIB)
    scene.storage.open([life])
    assert scene.full["alice"] is not None
    embedded = attrs.evolve(COMMAND, engine=Engine.EMBEDDED)
    life.tenant = attrs.evolve(life.tenant, settings=embedded)
    scene.become(life, State.HEALTHY)
    assert scene.full["alice"] is None
    life.tenant = attrs.evolve(life.tenant, settings=COMMAND)
    scene.become(life, State.HEALTHY)
    assert scene.full["alice"] is not None
    scene.storage.attend([])
    assert scene.full["alice"] is None
    assert scene.clock.getDelayedCalls() == []


def test_one_at_a_time_in_pieces(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SLICE", 2)
    waiting = scene.wait()
    alice, bob = scene.life("alice"), scene.life("bob")
    for number in range(5):
        scene.fill(alice, 1, f"{number}.phext")
    scene.storage.open([alice, bob])
    for _ in range(3):
        assert len(waiting) == 1
        assert scene.told == []
        waiting.pop()()
    assert scene.told == [("alice", 5)]
    waiting.pop()()
    assert scene.told == [("alice", 5), ("bob", 0)]
    assert waiting == []


def test_there_is_a_bound(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SLICE", 2)
    monkeypatch.setattr(storage, "MAX_FILES", 4)
    life = scene.life()
    for number in range(9):
        scene.fill(life, 1, f"{number}.phext")
    scene.storage.open([life])
    assert scene.told == [("alice", 4)]
    assert scene.slices == 2


def test_a_request_while_it_is_measured_has_it_measured_again(scene: Scene) -> None:
    waiting = scene.wait()
    life = scene.life(state=State.HEALTHY)
    scene.storage.open([life])
    scene.storage.used("alice")
    waiting.pop()()
    scene.clock.advance(storage.AFTER_USE)
    assert len(waiting) == 1
    waiting.pop()()
    assert len(scene.told) == 2


def test_who_went_away_while_it_was_measured_is_not_told_of(scene: Scene) -> None:
    waiting = scene.wait()
    life, other = scene.life(state=State.HEALTHY), scene.life("bob")
    scene.fill(life, 2 * MIB)
    scene.storage.open([life])
    scene.storage.attend([other])
    waiting.pop()()
    assert scene.told == []
    waiting.pop()()
    assert scene.told == [("bob", 0)]
    scene.storage.close()
    scene.storage.used("bob")
    assert scene.clock.getDelayedCalls() == []
    assert scene.full == {}


def test_a_defect_is_logged_and_others_are_measured(scene: Scene) -> None:
    failing = [True]

    def in_thread(call: Callable[[], Stored | None]) -> Deferred[Stored | None]:
        done: Deferred[Stored | None] = Deferred()
        if failing.pop() if failing else False:
            done.errback(ValueError("a defect"))
        else:
            done.callback(call())
        return done

    scene.storage = Storage(scene.clock, in_thread=in_thread)
    scene.storage.listeners.append(lambda life, count: scene.told.append((name(life), count)))
    scene.storage.open([scene.life("alice"), scene.life("bob")])
    assert scene.told == [("bob", 0)]
