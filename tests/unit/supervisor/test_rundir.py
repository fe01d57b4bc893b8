"""Directories: made private, refused when others can write to them, locked."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sqsuper.supervisor import rundir
from sqsuper.supervisor.errors import DirectoryError, RunDirInUseError, UnsafeDirectoryError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_private(tmp_path: Path) -> None:
    rundir.ensure(tmp_path / "a" / "b", 0o700)
    assert mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a") == 0o700


@pytest.mark.parametrize("before", [0o755, 0o770, 0o500])
def test_an_existing_directory_of_ours_gets_its_mode(tmp_path: Path, before: int) -> None:
    place = tmp_path / "d"
    place.mkdir()
    place.chmod(before)
    rundir.ensure(place, 0o700)
    assert mode(place) == 0o700


def test_a_directory_for_everyone_is_refused_and_left(tmp_path: Path) -> None:
    place = tmp_path / "d"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(UnsafeDirectoryError, match="everyone"):
        rundir.ensure(place, 0o700)
    with pytest.raises(UnsafeDirectoryError):
        rundir.check(place)
    assert mode(place) == 0o777


@root_only
def test_a_directory_of_another_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "d"
    place.mkdir()
    os.chown(place, 12345, -1)
    with pytest.raises(UnsafeDirectoryError, match="uid 12345"):
        rundir.ensure(place, 0o700)
    with pytest.raises(UnsafeDirectoryError):
        rundir.check(place)
    rundir.check(place, (12345, 12345))


@root_only
def test_a_directory_that_a_foreign_group_can_write_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "d"
    place.mkdir()
    os.chown(place, -1, 12345)
    place.chmod(0o770)
    with pytest.raises(UnsafeDirectoryError, match="group 12345"):
        rundir.ensure(place, 0o700)


@root_only
def test_a_tenants_directory_is_given_to_its_user(tmp_path: Path) -> None:
    place = tmp_path / "d"
    rundir.ensure(place, 0o700, (12345, 12346))
    found = place.stat()
    assert (found.st_uid, found.st_gid, mode(place)) == (12345, 12346, 0o700)
    rundir.ensure(place, 0o700, (12345, 12346))


@root_only
@pytest.mark.parametrize("link", ["home/sq", "home"])
def test_nothing_is_given_away_by_a_link_that_the_user_can_change(
    tmp_path: Path, link: str
) -> None:
    victim = tmp_path / "victim"
    (victim / "sq").mkdir(parents=True)
    theirs = tmp_path / "theirs"
    place = theirs / "home" / "sq"
    (theirs / link).parent.mkdir(parents=True)
    (theirs / link).symlink_to(victim)
    os.chown(theirs, 12345, 12345)
    os.chown(place.parent, 12345, 12345, follow_symlinks=False)
    for directory in (victim, victim / "sq"):
        directory.chmod(0o755)
    with pytest.raises(UnsafeDirectoryError, match="uid 12345"):
        rundir.ensure(place, 0o700, (12345, 12345))
    for directory in (victim, victim / "sq"):
        assert (directory.stat().st_uid, mode(directory)) == (0, 0o755)


@root_only
def test_in_a_users_home_its_own_directory_is_taken_and_none_is_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    with pytest.raises(UnsafeDirectoryError, match="make it yourself"):
        rundir.ensure(home / "sq", 0o700, (12345, 12345))
    assert not (home / "sq").exists()
    (home / "sq").mkdir()
    os.chown(home / "sq", 12345, 12345)
    rundir.ensure(home / "sq", 0o700, (12345, 12345))
    assert mode(home / "sq") == 0o700


@root_only
def test_an_operators_link_is_followed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "data").symlink_to("./disk/../disk")
    rundir.ensure(tmp_path / "data" / "alice", 0o700, (12345, 12345))
    assert (disk / "alice").stat().st_uid == 12345
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UnsafeDirectoryError):
        rundir.ensure(tmp_path / "loop" / "alice", 0o700, (12345, 12345))


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(DirectoryError):
        rundir.ensure(tmp_path / "f", 0o700)
    with pytest.raises(DirectoryError):
        rundir.ensure(tmp_path / "f" / "below", 0o700)


def test_a_missing_directory_is_not_unsafe(tmp_path: Path) -> None:
    rundir.check(tmp_path / "none")


def test_one_holder_at_a_time_and_the_second_learns_who(tmp_path: Path) -> None:
    lock = rundir.Lock(tmp_path, "x.lock")
    with pytest.raises(RunDirInUseError) as raised:
        rundir.Lock(tmp_path, "x.lock")
    assert raised.value.pid == os.getpid()
    assert str(os.getpid()) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert mode(tmp_path / "x.lock") == 0o600
    lock.release()
    lock.release()
    rundir.Lock(tmp_path, "x.lock").release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys, os; from pathlib import Path; from sqsuper.supervisor.rundir import Lock;"
        "lock = Lock(Path(sys.argv[1]), 'x.lock'); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)
    assert ended.returncode == -9
    assert (tmp_path / "x.lock").read_text().strip().isdigit()
    rundir.Lock(tmp_path, "x.lock").release()
