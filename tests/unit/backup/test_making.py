"""An archive is made whole or not at all, with what is missing told."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import ArchiveError, EndedError, NotWrittenError, TenantError
from sqsuper.backup.making import Made, Staged, make, retain
from sqsuper.backup.restoring import unpack, verify
from sqsuper.backup.staging import NoData, Source, Stage
from tests.unit.backup.support import MADE, data


class Half(NoData):
    """A tenant whose second file cannot be read."""

    def __init__(self, directory: Path) -> None:
        self._stage = Stage("bob", directory)

    def sources(self) -> Iterator[Source]:
        for number, source in enumerate(self._stage.sources()):
            if number:
                raise TenantError("bob", "it fell over")
            yield source

    def remove(self) -> None:
        self._stage.remove()


def made(tmp_path: Path, *names: str) -> Made:
    for name in ("alice", "bob"):
        if not (tmp_path / name).exists():
            data(tmp_path / name, a="1", b="2")

    def stage(name: str) -> Staged:
        if name == "carol":
            raise TenantError("carol", "she is away")
        return Half(tmp_path / name) if name == "bob" else Stage(name, tmp_path / name)

    return make(tmp_path / "shelf", "daily", names, stage, made=MADE)


def test_who_cannot_be_copied_is_missing(tmp_path: Path) -> None:
    done = made(tmp_path, "carol", "bob", "alice")
    assert done.file.name == "daily-20260102T030405Z-partial.tar.gz"
    found = verify(done.file)
    assert found == done.contents
    assert [one.tenant for one in found.parts] == ["alice"]
    assert {one.tenant: one.why for one in found.missing} == {
        "carol": "she is away",
        "bob": "it fell over",
    }
    assert sorted(os.listdir(tmp_path / "bob")) == ["a.phext", "b.phext"]


class Spoilt(io.BytesIO):
    """A file on a bad disk."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


class One(NoData):
    """A tenant with one file of four bytes, so it says."""

    def __init__(self, content: io.BytesIO) -> None:
        self._content = content

    def sources(self) -> Iterator[Source]:
        yield Source("a.phext", 4, MADE, self._content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (io.BytesIO(b"abc"), "a.phext became shorter meanwhile"),
        (Spoilt(b"abcd"), "a.phext: Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_costs_only_its_tenant(
    tmp_path: Path, content: io.BytesIO, why: str
) -> None:
    alice = data(tmp_path / "alice", a="1")

    def stage(name: str) -> Staged:
        return One(content) if name == "bob" else Stage(name, alice)

    done = make(tmp_path / "shelf", "all", ["bob", "alice"], stage, made=MADE)
    assert [one.tenant for one in done.contents.parts] == ["alice"]
    assert [(one.tenant, one.why) for one in done.contents.missing] == [("bob", why)]
    assert verify(done.file) == done.contents


def test_what_is_not_whole_is_not_restored(tmp_path: Path) -> None:
    done = made(tmp_path, "alice", "bob")
    root = tmp_path / "root"
    for wanted in ("bob", None):
        with pytest.raises(ArchiveError, match="bob is missing in it: it fell over"):
            unpack(done.file, lambda name: Draft(name, root / name, None, None), wanted)
        assert os.listdir(root) == []


def test_nobody(tmp_path: Path) -> None:
    with pytest.raises(TenantError, match="carol: she is away"):
        made(tmp_path, "carol")
    assert os.listdir(tmp_path / "shelf") == []
    assert verify(made(tmp_path).file).parts == ()


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    alice = data(tmp_path / "alice", a="1")

    def told(_: int) -> None:
        raise EndedError

    with pytest.raises(EndedError):
        make(
            tmp_path / "shelf",
            "all",
            ["alice"],
            lambda name: Stage(name, alice),
            made=MADE,
            told=told,
        )
    assert os.listdir(tmp_path / "shelf") == []
    assert os.listdir(alice) == ["a.phext"]


def test_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir(mode=0o700)
    (tmp_path / "shelf" / ".all.0.making").touch()
    done = made(tmp_path, "alice")
    assert os.listdir(tmp_path / "shelf") == [done.file.name]


def test_not_where_everyone_can_write(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf").chmod(0o777)
    with pytest.raises(NotWrittenError, match="everyone can write"):
        made(tmp_path, "alice")


def test_not_where_there_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "shelf").touch()
    with pytest.raises(NotWrittenError):
        made(tmp_path, "alice")


def test_old_ones_go(tmp_path: Path) -> None:
    for day in range(1, 5):
        (tmp_path / f"daily-2026010{day}T000000Z.tar.gz").touch()
    assert retain(tmp_path, 3) == ["daily-20260101T000000Z.tar.gz"]
    assert len(os.listdir(tmp_path)) == 3
