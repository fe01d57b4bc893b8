"""Backup and restore on files, while no service runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sqsuper.admin.files import put_aside
from sqsuper.backup.errors import BackupError, HasDataError, RunningError, TenantError
from sqsuper.backup.offline import backup, restore
from sqsuper.backup.targets import Wish, directory_of
from sqsuper.config.load import load
from sqsuper.config.model import Config
from sqsuper.supervisor import rundir
from sqsuper.supervisor.directory_lock import DirectoryLock
from tests.unit.backup.support import contents, data, unzipped
from tests.unit.engine.driving import NEVER, Opened

DIGEST = "1" * 64
TEXT = f"""\
defaults: {{quota_mb: 1}}
tenants:
  alice: {{token_sha256: ["{DIGEST}"]}}
  bob: {{token_sha256: ["{"2" * 64}"], data_dir: elsewhere/bob}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(TEXT)
    return load(file)


def all_backed_up(config: Config) -> Path:
    return backup(config, config.tenants, kind="all").file


def test_there_and_back(config: Config, tmp_path: Path) -> None:
    data(tmp_path / "data" / "alice", a="hers")
    data(tmp_path / "elsewhere" / "bob", b="his")
    archive = all_backed_up(config)
    assert archive.parent == directory_of(config) == tmp_path / "backups"
    for directory in ("data/alice", "elsewhere/bob"):
        for file in (tmp_path / directory).iterdir():
            file.write_text("spoilt")
    with pytest.raises(HasDataError, match="alice"):
        restore(config, archive, Wish(), put_aside=put_aside)
    done = restore(config, archive, Wish(replace=True), put_aside=put_aside)
    assert [one.directory for one in done] == [
        tmp_path / "data" / "alice",
        tmp_path / "elsewhere" / "bob",
    ]
    assert contents(tmp_path / "data" / "alice") == {"a.phext": b"hers"}
    assert contents(tmp_path / "elsewhere" / "bob") == {"b.phext": b"his"}
    for one in done:
        assert one.aside is not None
        assert set(contents(one.aside).values()) == {b"spoilt"}


def test_data_is_never_away_while_the_disk_works(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = data(tmp_path / "data" / "alice", a="hers")
    archive = all_backed_up(config)
    there: list[bool] = []
    fsync = os.fsync

    def synced(fd: int) -> None:
        there.append(alice.exists())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", synced)
    restore(config, archive, Wish("alice", replace=True), put_aside=put_aside)
    assert there
    assert all(there)


@pytest.fixture
def two_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `elsewhere` be a file system of its own."""
    rename, disk = os.rename, str(tmp_path / "elsewhere")

    def renamed(source: Any, target: Any, **more: Any) -> None:
        if not more and str(source).startswith(disk) != str(target).startswith(disk):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target)
        rename(source, target, **more)

    monkeypatch.setattr(os, "rename", renamed)


@pytest.mark.usefixtures("two_disks")
@pytest.mark.parametrize("has_root", [True, False])
def test_data_on_another_file_system_is_put_aside_there(
    config: Config, tmp_path: Path, has_root: bool
) -> None:
    bob = data(tmp_path / "elsewhere" / "bob", b="his")
    if has_root:
        config.data_root.mkdir(mode=0o700)
    archive = all_backed_up(config)
    (bob / "b.phext").write_text("spoilt")
    (done,) = restore(config, archive, Wish("bob", replace=True), put_aside=put_aside)
    assert contents(bob) == {"b.phext": b"his"}
    assert done.aside is not None
    assert done.aside.parent == tmp_path / "elsewhere" / ".archive"
    assert contents(done.aside) == {"b.phext": b"spoilt"}
    assert sorted(os.listdir(bob.parent)) == [".archive", "bob"]


@pytest.mark.parametrize("disks", [1, 2])
def test_a_switch_that_fails_half_way_loses_nothing(
    config: Config,
    tmp_path: Path,
    disks: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bob = data(tmp_path / "elsewhere" / "bob", b="his")
    archive = all_backed_up(config)
    (bob / "b.phext").write_text("newer")
    if disks == 2:
        request.getfixturevalue("two_disks")
    rename = os.rename

    def renamed(source: Any, target: Any, **more: Any) -> None:
        if more:
            raise OSError(errno.EIO, "broken", source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", renamed)
    with pytest.raises(BackupError, match="broken"):
        restore(config, archive, Wish("bob", replace=True), put_aside=put_aside)
    assert contents(bob) == {"b.phext": b"newer"}
    assert not any(name.startswith(".bob") for name in os.listdir(bob.parent))


def test_a_mount_point_is_told_before_anything_is_unpacked(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = data(tmp_path / "elsewhere" / "bob", b="his")
    archive = all_backed_up(config)
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(bob))
    with pytest.raises(BackupError, match="mount point"):
        restore(config, archive, Wish(replace=True), put_aside=put_aside)
    assert os.listdir(bob.parent) == ["bob"]


def test_under_another_name(config: Config, tmp_path: Path) -> None:
    data(tmp_path / "data" / "alice", a="hers")
    archive = all_backed_up(config)
    for name, where in (("bob", "elsewhere/bob"), ("carol", "data/carol")):
        (done,) = restore(config, archive, Wish("alice", name), put_aside=put_aside)
        assert (done.tenant, done.came_from, done.aside) == (name, "alice", None)
        assert contents(tmp_path / where) == {"a.phext": b"hers"}


@pytest.mark.parametrize("its", ["data/carol", "data/carol/below"])
def test_not_where_the_data_of_another_is(tmp_path: Path, its: str) -> None:
    file = tmp_path / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(TEXT)
    data(tmp_path / "data" / "alice", a="hers")
    archive = all_backed_up(load(file))
    file.write_text(TEXT.replace("elsewhere/bob", its).replace("alice", "dave"))
    with pytest.raises(TenantError, match="data of bob"):
        restore(load(file), archive, Wish("alice", "carol", replace=True), put_aside=put_aside)
    assert not (tmp_path / "data" / "carol").exists()


def test_the_other_name_has_its_quota(config: Config, tmp_path: Path) -> None:
    data(tmp_path / "data" / "alice", a="x" * ((1 << 20) + 1))
    archive = all_backed_up(config)
    with pytest.raises(BackupError, match="quota"):
        restore(config, archive, Wish("alice", "carol"), put_aside=put_aside)
    assert (
        os.listdir(tmp_path / "data") == [".sqsuper.lock", "alice"]
        or not (tmp_path / "data" / "carol").exists()
    )


@pytest.mark.parametrize(
    "wish", [("../x", None), ("alice", "../x"), ("alice", ".x"), (None, "carol"), ("a/b", None)]
)
def test_names_that_cannot_be(wish: tuple[str | None, str | None]) -> None:
    with pytest.raises(BackupError):
        Wish(*wish)


def test_what_a_killed_engine_left_is_in_it(config: Config, tmp_path: Path) -> None:
    alice = data(tmp_path / "data" / "alice")
    engine = Opened(alice, policy=NEVER)
    engine.apply("a", {0: b"in the journal alone"})
    engine.close()
    archive = all_backed_up(config)
    (done,) = restore(config, archive, Wish("alice", "carol"), put_aside=put_aside)
    assert contents(done.directory) == {"a.phext": b"in the journal alone"}


def test_not_while_a_service_runs(config: Config, tmp_path: Path) -> None:
    data(tmp_path / "data" / "alice", a="hers")
    archive = all_backed_up(config)
    lock = rundir.Lock(tmp_path / "data", rundir.DATA_LOCK)
    with pytest.raises(RunningError):
        all_backed_up(config)
    with pytest.raises(RunningError):
        restore(config, archive, Wish(replace=True), put_aside=put_aside)
    lock.release()
    assert contents(tmp_path / "data" / "alice") == {"a.phext": b"hers"}


def test_not_while_an_instance_runs(config: Config, tmp_path: Path) -> None:
    alice = data(tmp_path / "data" / "alice", a="hers")
    archive = all_backed_up(config)
    lock = DirectoryLock(alice)
    made = backup(config, config.tenants, kind="all")
    assert [one.tenant for one in made.contents.missing] == ["alice"]
    assert made.file.name.endswith("-partial.tar.gz")
    with pytest.raises(TenantError, match="alice"):
        backup(config, config.tenants[:1], kind="tenant-alice")
    with pytest.raises(TenantError, match="alice"):
        restore(config, archive, Wish("alice", replace=True), put_aside=put_aside)
    lock.release()
    assert contents(alice) == {"a.phext": b"hers"}


def test_tokens_are_in_no_backup(config: Config, tmp_path: Path) -> None:
    data(tmp_path / "data" / "alice", a="hers")
    assert DIGEST.encode() not in unzipped(all_backed_up(config))
