"""`sqsuper doctor` on backups: made as they should be, with room for the next, readable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest

from sqsuper.backup.schedule import PATIENCE, last_due, next_due
from sqsuper.backup.shelf import name_of
from sqsuper.cli.examining import backups as examined
from sqsuper.cli.examining.backups import Asked, backups
from sqsuper.cli.examining.finding import Level
from sqsuper.config.load import load
from sqsuper.config.model import Backup, Config
from sqsuper.config.permissions import Account
from tests.running import free_port
from tests.unit.backup.support import archived, data
from tests.unit.cli.conftest import Command, configure

AT = "03:30"
HOUR = 3600.0
DAY = 24 * HOUR
# When none is due, and the last one was some hours ago; in whatever zone this runs.
NOW = next_due(AT, 1_767_323_045.0) + 10 * HOUR


@pytest.fixture
def config(here: Path) -> Config:
    return attrs.evolve(load(configure(here, 1338)), backup=Backup(AT, 7, here / "shelf"))


@pytest.fixture
def shelf(here: Path) -> Iterator[Path]:
    directory = here / "shelf"
    directory.mkdir(mode=0o700)
    yield directory
    directory.chmod(0o700)


def put(shelf: Path, kind: str, ago: float, *, partial: bool = False) -> Path:
    """Put a whole archive there, by its name made so many seconds before `NOW`."""
    source = shelf.parent / "data" / "alice"
    if not source.exists():
        data(source, notes="text")
    made = archived(shelf, source).file
    return made.rename(shelf / name_of(kind, NOW - ago, partial=partial))


def usage(free: int, _: Path) -> tuple[int, int, int]:
    return 0, 0, free


def told(config: Config, asked: Asked | None = None) -> list[tuple[Level, str]]:
    return [(one.level, one.told) for one in backups(config, asked or Asked(NOW, running=True))]


def test_none_is_scheduled(config: Config, shelf: Path) -> None:
    config = attrs.evolve(config, backup=Backup(None, 7, shelf))
    put(shelf, "tenant-alice", HOUR)
    assert told(config)[0] == (Level.WARNING, "none is scheduled")
    put(shelf, "all", HOUR)
    (level, text), (_, readable) = told(config)
    assert level is Level.OK
    assert "was made 1h" in text
    assert readable.startswith("2 archives can be read")
    assert told(config, Asked(NOW + 3 * DAY, running=True))[0][0] is Level.WARNING


def test_the_last_one_is_as_it_should_be(config: Config, shelf: Path) -> None:
    put(shelf, "daily", 10 * HOUR)
    (level, text), (readable, _) = told(config)
    assert (level, readable) == (Level.OK, Level.OK)
    assert "made 10h" in text


@pytest.mark.parametrize(("running", "level"), [(True, Level.BAD), (False, Level.WARNING)])
def test_one_is_overdue(config: Config, shelf: Path, running: bool, level: Level) -> None:
    put(shelf, "daily", NOW - last_due(AT, NOW) + 1)
    put(shelf, "all", HOUR)
    assert told(config, Asked(NOW, running))[0][0] is level
    early = Asked(last_due(AT, NOW) + PATIENCE - 1, running)
    assert told(config, early)[0][0] is Level.OK


def test_none_was_made_yet(config: Config) -> None:
    for running in (True, False):
        ((level, text),) = told(config, Asked(NOW, running))
        assert (level, "no whole one was made yet" in text) == (Level.WARNING, True)


def test_one_lacks_tenants(config: Config, shelf: Path) -> None:
    name = put(shelf, "daily", 10 * HOUR, partial=True).name
    put(shelf, "daily", 20 * HOUR)
    found = told(config)
    assert found[0] == (Level.WARNING, f"{name} lacks tenants")
    assert found[1][0] is Level.BAD


def test_the_directory_cannot_be_written(config: Config, shelf: Path) -> None:
    stranger = Account(os.geteuid() + 1, os.getegid() + 1)
    asked = Asked(NOW, running=True, account=stranger)
    assert (Level.BAD, True) in [
        (one[0], "cannot be written" in one[1]) for one in told(config, asked)
    ]
    ours = attrs.evolve(asked, account=Account(os.geteuid(), os.getegid()))
    assert Level.BAD not in [level for level, _ in told(config, ours)]
    shelf.chmod(0o707)
    assert (Level.BAD, f"everyone can write to {shelf}") in told(config, ours)
    shelf.rmdir()
    shelf.touch()
    assert [level for level, _ in told(config, ours)] == [Level.BAD]


def test_the_next_one_must_have_room(config: Config, shelf: Path) -> None:
    size = put(shelf, "daily", 10 * HOUR).stat().st_size
    for free, level in ((size - 1, Level.BAD), (size, Level.WARNING), (2 * size, None)):
        asked = Asked(NOW, running=True, usage=partial(usage, free))
        found = [level for level, text in told(config, asked) if " are free in " in text]
        assert found == ([] if level is None else [level])


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "directory"])
def test_an_archive_that_cannot_be_read(config: Config, shelf: Path, damage: str) -> None:
    put(shelf, "daily", 34 * HOUR)
    file = put(shelf, "daily", 10 * HOUR)
    content = file.read_bytes()
    if damage == "directory":
        file.unlink()
        file.mkdir()
    else:
        changed = content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
        file.write_bytes({"empty": b"", "cut": content[:-9], "changed": changed}[damage])
    found = told(config)
    (text,) = (text for level, text in found if level is Level.BAD)
    assert text.startswith(f"{file} cannot be read: ")


def test_a_large_one_is_not_read_to_its_end(
    config: Config, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(shelf, "daily", 10 * HOUR)
    file.write_bytes(file.read_bytes()[:-9])
    monkeypatch.setattr(examined, "_READ_FOR", -1.0)
    assert Level.BAD not in [level for level, _ in told(config)]


def test_the_command_tells_of_them(here: Path, command: Command) -> None:
    configure(here, free_port())
    found = command("doctor", "--json").json["findings"]
    assert [one["message"] for one in found if one["area"] == "backups"] == ["none is scheduled"]
