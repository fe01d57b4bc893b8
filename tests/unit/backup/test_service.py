"""The daily backup: when it is made, what goes then, and who hears of failures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sqsuper.admin.files import put_aside
from sqsuper.backup import service
from sqsuper.backup.errors import BackupError, EndedError, TenantError, WrongNameError
from sqsuper.backup.schedule import PATIENCE, RETRY
from sqsuper.backup.service import FIRST_LOOK, LOOK, Backups, Standing, Work
from sqsuper.backup.targets import Wish
from sqsuper.config.load import load
from sqsuper.config.model import Backup, Config
from sqsuper.supervisor.directory_lock import DirectoryLock
from sqsuper.supervisor.events import Event, Events, Kind
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.service import Supervisor
from tests.unit.backup.support import MADE, contents, data
from tests.unit.reactors import Immediate

DAY = 86_400.0
# 03:30 of MADE's day
DUE = MADE - MADE % DAY + 3.5 * 3600


@attrs.define
class Life:
    """A tenant whose instance is stopped."""

    tenant: Any
    process: None = None
    processes: tuple[()] = ()
    is_embedded: bool = True
    state: State = State.STOPPED
    course: list[str] = attrs.field(factory=list)

    def suspend(self) -> None:
        self.course.append("suspend")

    def stop(self, reason: str) -> Deferred[None]:
        self.course.append("stop")
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def resume(self) -> None:
        self.course.append("resume")


class World:
    def __init__(self, directory: Path) -> None:
        file = directory / "tenants.yaml"
        file.touch(mode=0o600)
        digest = "1" * 64
        file.write_text(f'tenants: {{alice: {{token_sha256: ["{digest}"]}}}}')
        self.directory = directory
        self.config = attrs.evolve(load(file), backup=Backup("03:30", 2, directory / "shelf"))
        self.now = DUE - 600
        self.reactor = Immediate()
        self.events = Events(lambda: self.now)
        self.lives = {tenant.name: Life(tenant) for tenant in self.config.tenants}
        self.backups = self.made(self.config)

    def made(self, config: Config) -> Backups:
        return Backups(
            config,
            cast("Supervisor", self),
            reactor=self.reactor,
            put_aside=put_aside,
            wall=lambda: self.now,
            zone=timezone.utc,
        )

    def go(self, seconds: float) -> None:
        """Let time pass as `LOOK` sees it."""
        end = self.now + seconds
        while self.now < end:
            step = min(LOOK, end - self.now)
            self.now += step
            self.reactor.advance(step)

    def shelf(self) -> list[str]:
        try:
            return sorted(os.listdir(self.directory / "shelf"))
        except FileNotFoundError:
            return []

    def told(self) -> list[Event]:
        return [event for event in self.events.recent if event.kind is Kind.BACKUP]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    data(tmp_path / "data" / "alice", notes="text")
    yield one
    if one.backups.running:
        one.backups.stopService()
    assert one.reactor.getDelayedCalls() == []


def now(deferred: Deferred[Any]) -> Any:
    """Return what has come of it already; raises what it failed with."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def done(coroutine: Any) -> Any:
    return now(Deferred.fromCoroutine(coroutine))


def test_each_day_and_so_many_kept(world: World) -> None:
    (world.directory / "shelf").mkdir(mode=0o700)
    (world.directory / "shelf" / "daily-20260101T033000Z.tar.gz").touch()
    world.backups.startService()
    world.go(300)
    assert world.shelf() == ["daily-20260101T033000Z.tar.gz"]
    assert world.backups.next_at() == DUE
    world.go(301)
    first = world.shelf()
    assert first[0] == "daily-20260101T033000Z.tar.gz"
    assert first[1].startswith("daily-20260102T03300")
    world.go(DAY)
    assert len(world.shelf()) == 2
    assert world.shelf()[0] == first[1]
    assert world.told() == []


def test_one_that_was_missed_is_made_at_the_start(world: World) -> None:
    world.backups.startService()
    world.reactor.advance(FIRST_LOOK)
    assert [name[:14] for name in world.shelf()] == ["daily-20260102"]


def test_none_without_a_time(world: World) -> None:
    world.backups.apply(attrs.evolve(world.config, backup=Backup()))
    world.backups.startService()
    assert world.reactor.getDelayedCalls() == []
    assert world.backups.next_at() is None
    world.backups.apply(world.config)
    world.reactor.advance(FIRST_LOOK)
    assert len(world.shelf()) == 1


def test_one_that_fails_is_told_and_tried_again(world: World) -> None:
    (world.directory / "shelf").touch()
    world.backups.startService()
    world.reactor.advance(FIRST_LOOK)
    (event,) = world.told()
    assert event.cause == "failed"
    assert str(world.directory / "shelf") in event.text
    (world.directory / "shelf").unlink()
    world.now = DUE + 60  # past the next one that is due, which is no reason to hurry
    assert world.backups.next_at() == DUE - 600 + RETRY
    world.go(RETRY)
    assert len(world.shelf()) == 1
    assert len(world.told()) == 1


def test_a_defect_is_not_repeated_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def broken(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(service, "make", broken)
    world.backups.startService()
    world.go(RETRY - LOOK)
    assert len(tries) == 1
    world.go(2 * LOOK)
    assert len(tries) == 2


def test_one_that_lacks_tenants_is_told(world: World) -> None:
    del world.lives["alice"]
    bob = attrs.evolve(
        world.config.tenants[0], name="bob", data_dir=world.directory / "data" / "bob"
    )
    world.config = attrs.evolve(world.config, tenants=(*world.config.tenants, bob))
    world.lives["bob"] = Life(bob)
    world.backups = world.made(world.config)
    world.backups.startService()
    world.reactor.advance(FIRST_LOOK)
    (name,) = world.shelf()
    assert name.endswith("-partial.tar.gz")
    (event,) = world.told()
    assert (event.cause, "alice: it was removed" in event.text) == ("partial", True)


def test_how_it_stands(world: World) -> None:
    assert world.backups.standing() is None
    world.backups.startService()
    assert world.backups.standing() is None
    world.reactor.advance(FIRST_LOOK)
    assert world.backups.standing() == Standing(DUE - 600, overdue=False)
    world.go(DAY)
    standing = world.backups.standing()
    assert standing is not None
    assert 0 <= (standing.last or 0) - DUE <= LOOK
    del world.lives["alice"]
    world.go(600 + PATIENCE - 100)
    late = world.backups.standing()
    assert late == attrs.evolve(standing, last=int(standing.last or 0))
    world.go(100)
    assert world.backups.standing() == attrs.evolve(late, overdue=True)
    world.backups.apply(attrs.evolve(world.config, backup=Backup()))
    assert world.backups.standing() is None


def test_how_it_stands_when_none_was_ever_made(world: World) -> None:
    (world.directory / "shelf").touch()
    world.backups.startService()
    world.reactor.advance(FIRST_LOOK)
    assert world.backups.standing() == Standing(None, overdue=False)
    world.go(PATIENCE)
    assert world.backups.standing() == Standing(None, overdue=True)


def test_on_request_and_back(world: World) -> None:
    work = Work()
    made = done(world.backups.backup(["alice"], work))
    assert made.file.name.startswith("tenant-alice-")
    assert (work.done, work.total) == (4, 4)
    ((one, size),) = done(world.backups.archives())
    assert (one.name, one.tenant, size) == (made.file.name, "alice", made.bytes)
    work = Work()
    wish = Wish("alice", replace=True)
    (restored,) = done(world.backups.restore(made.file.name, wish, work))
    assert work.done == work.total == made.bytes
    assert contents(restored.directory) == contents(restored.aside) == {"notes.phext": b"text"}
    assert world.lives["alice"].course == ["suspend", "stop", "resume"]


def test_a_place_that_is_taken_is_told_before_anything_stops(world: World) -> None:
    made = done(world.backups.backup(None))
    with pytest.raises(BackupError, match="holds data"):
        done(world.backups.restore(made.file.name, Wish()))
    assert world.lives["alice"].course == []


def test_a_place_where_another_instance_runs(world: World) -> None:
    made = done(world.backups.backup(None))
    lock = DirectoryLock(world.directory / "data" / "alice")
    with pytest.raises(TenantError, match="another instance"):
        done(world.backups.restore(made.file.name, Wish(replace=True)))
    lock.release()
    assert world.lives["alice"].course == ["suspend", "stop", "resume"]


@pytest.mark.parametrize("name", ["", ".", "../x", "/etc/passwd", "all-x.tar.gz"])
def test_only_what_is_on_the_shelf(world: World, name: str) -> None:
    with pytest.raises(WrongNameError):
        done(world.backups.restore(name, Wish()))


def test_a_stop_gives_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.backups.startService()

    def stopping(_: Path) -> int:
        world.backups.stopService()
        return 0

    monkeypatch.setattr(service, "size_of", stopping)
    with pytest.raises(EndedError):
        done(world.backups.backup(None))
    assert world.shelf() == []


def test_a_stop_waits_for_what_is_under_way(world: World) -> None:
    world.backups.startService()
    lock = world.backups._lock
    now(lock.acquire())
    stopped: list[None] = []
    world.backups.stopService().addCallback(stopped.append)
    assert stopped == []
    lock.release()
    assert stopped == [None]
