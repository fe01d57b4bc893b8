"""The simulated disk: it answers as the real one does, and loses what no sync covers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from sqsuper.engine.disk import Disk
from tests.crash.disk import DIRECTORY, SimulatedDisk, Stopped

Told = list[object]


def told(call: Callable[[], object]) -> object:
    """What a call returns, or its errno."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    while data:
        data = data[disk.write(fd, data) :]


def pwrite_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    while data:
        count = disk.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def names(disk: Disk, directory: int) -> list[str]:
    path: int = directory
    return sorted(entry.name for entry in disk.scan(path))


def a_life(disk: Disk, directory: int) -> Told:
    seen: Told = []
    fd = disk.create(b".a", directory)
    write_all(disk, fd, b"one two")
    write_all(disk, fd, b" three")
    pwrite_all(disk, fd, b"TWO", 4)
    pwrite_all(disk, fd, b"end", 20)
    disk.fdatasync(fd)
    disk.fsync(fd)
    disk.close(fd)
    seen.append(told(lambda: disk.create(b".a", directory)))
    seen.append(told(lambda: disk.open_read(b"none", directory)))
    seen.append(told(lambda: disk.lstat(b"none", directory)))
    seen.append(told(lambda: disk.unlink(b"none", directory)))
    seen.append(told(lambda: disk.rename(b"none", b"b", directory)))
    disk.rename(b".a", b"b", directory)
    disk.fsync(directory)
    fd = disk.open_read(b"b", directory)
    seen += [
        disk.pread(fd, 5, 4),
        disk.pread(fd, 9, 50),
        disk.read(fd, 5),
        disk.read(fd, 100),
        disk.read(fd, 100),
    ]
    status = disk.fstat(fd)
    seen += [status.st_size, stat.S_ISREG(status.st_mode), stat.S_IMODE(status.st_mode)]
    seen.append(disk.lstat(b"b", directory).st_ino == status.st_ino)
    other = disk.create(b"c", directory)
    write_all(disk, other, b"new")
    disk.close(other)
    disk.rename(b"c", b"b", directory)
    # The file that was replaced lives while it is open.
    seen.append(disk.lstat(b"b", directory).st_ino == status.st_ino)
    disk.close(fd)
    fd = disk.open_read(b"b", directory)
    seen.append(disk.read(fd, 100))
    disk.close(fd)
    seen.append(names(disk, directory))
    disk.unlink(b"b", directory)
    seen.append(names(disk, directory))
    return seen


def test_answers_as_the_real_one(tmp_path: Path) -> None:
    real = Disk()
    directory = real.open_root(str(tmp_path))
    try:
        expected = a_life(real, directory)
    finally:
        os.close(directory)
    for seed in range(20):
        disk = SimulatedDisk(Random(seed))
        assert a_life(disk, DIRECTORY) == expected
        assert disk.open_files == 0


def after_power_losses(prepare: Callable[[SimulatedDisk], object]) -> list[dict[bytes, bytes]]:
    found = []
    for seed in range(60):
        disk = SimulatedDisk(Random(seed), {b"old": b"o" * 1500})
        prepare(disk)
        found.append(disk.lose_power().files())
    return found


class TestLosing:
    def test_what_is_synced_stays(self) -> None:
        def prepare(disk: SimulatedDisk) -> None:
            fd = disk.create(b"new", DIRECTORY)
            write_all(disk, fd, b"n" * 1500)
            disk.fdatasync(fd)
            disk.rename(b"new", b"old", DIRECTORY)
            disk.fsync(DIRECTORY)

        assert all(files == {b"old": b"n" * 1500} for files in after_power_losses(prepare))

    def test_sectors_are_lost_one_by_one(self) -> None:
        def prepare(disk: SimulatedDisk) -> None:
            fd = disk.create(b"new", DIRECTORY)
            write_all(disk, fd, bytes(1536))
            disk.fsync(fd)
            disk.fsync(DIRECTORY)
            pwrite_all(disk, fd, b"n" * 1200, 100)

        kept = {
            tuple(data[sector * 512 + 100 : sector * 512 + 101] for sector in range(3))
            for data in (files[b"new"] for files in after_power_losses(prepare))
        }
        assert kept == {
            (a, b, c) for a in (b"\0", b"n") for b in (b"\0", b"n") for c in (b"\0", b"n")
        }

    def test_names_are_lost_one_by_one(self) -> None:
        def prepare(disk: SimulatedDisk) -> None:
            for name in (b"x", b"y"):
                disk.fsync(disk.create(name, DIRECTORY))
            disk.unlink(b"old", DIRECTORY)

        kept = {tuple(sorted(files)) for files in after_power_losses(prepare)}
        assert len(kept) == 8

    def test_a_rename_without_a_sync_of_the_file_may_leave_it_empty(self) -> None:
        def prepare(disk: SimulatedDisk) -> None:
            write_all(disk, disk.create(b"new", DIRECTORY), b"n" * 1500)
            disk.rename(b"new", b"old", DIRECTORY)
            disk.fsync(DIRECTORY)

        assert any(files[b"old"] == b"" for files in after_power_losses(prepare))

    def test_a_failed_sync_covers_nothing_and_later_ones_neither(self) -> None:
        def prepare(disk: SimulatedDisk) -> None:
            fd = disk.create(b"new", DIRECTORY)
            write_all(disk, fd, bytes(512))
            disk.fsync(fd)
            disk.fsync(DIRECTORY)
            pwrite_all(disk, fd, b"n" * 512, 0)
            disk.fail = lambda kind, count: errno.EIO if kind == "fdatasync" else 0
            with pytest.raises(OSError, match="error"):
                disk.fdatasync(fd)
            disk.fail = lambda kind, count: 0
            disk.fdatasync(fd)

        assert {files[b"new"][:1] for files in after_power_losses(prepare)} == {b"\0", b"n"}

    def test_a_kill_loses_nothing(self) -> None:
        disk = SimulatedDisk(Random(1))
        write_all(disk, disk.create(b"new", DIRECTORY), b"n")
        disk.restart()
        assert disk.files() == {b"new": b"n"}


def test_the_world_stops_after_a_call() -> None:
    disk = SimulatedDisk(Random(1))
    fd = disk.create(b"a", DIRECTORY)
    disk.stop = disk.calls + 1
    with pytest.raises(Stopped):
        disk.rename(b"a", b"b", DIRECTORY)
    for call in (
        lambda: disk.write(fd, b"x"),
        lambda: disk.unlink(b"b", DIRECTORY),
        lambda: disk.fsync(DIRECTORY),
        lambda: disk.create(b"c", DIRECTORY),
    ):
        with pytest.raises(Stopped):
            call()
    assert disk.files() == {b"b": b""}
