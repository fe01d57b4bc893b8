"""Files under the directory's descriptor: links, what is no file, locks, and failing disks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.disk import Disk
from sqsuper.engine.errors import (
    DirectoryError,
    ForbiddenNameError,
    LockedError,
)
from sqsuper.engine.utf8 import utf8_fault


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    return data


@pytest.fixture
def directory(data: Path) -> Iterator[DataDirectory]:
    directory = DataDirectory(str(data))
    yield directory
    directory.close()


def read(directory: DataDirectory, name: str) -> bytes | None:
    file = directory.read(name, directory.place(name))
    return None if file is None else file.data


def replace(directory: DataDirectory, name: str, text: bytes) -> None:
    replace_at(directory, directory.place(name), text)


def replace_at(directory: DataDirectory, place: bytes, text: bytes) -> None:
    file = directory.replacement(place, [text])
    try:
        while file.step():
            pass
        file.place()
    finally:
        file.close()


class TestFiles:
    def test_new_files_are_private_and_durable_names_are_clean(
        self, directory: DataDirectory, data: Path
    ) -> None:
        replace(directory, "t", b"text")
        assert os.listdir(data) == ["t.phext"]
        assert (data / "t.phext").stat().st_mode & 0o777 == 0o600
        assert read(directory, "t") == b"text"
        assert read(directory, "absent") is None

    def test_link_inside_is_followed_and_stays(self, directory: DataDirectory, data: Path) -> None:
        (data / "sub").mkdir()
        (data / "sub" / "target").write_bytes(b"old")
        (data / "a.phext").symlink_to("sub/target")
        (data / "b.phext").symlink_to(data / "a.phext")
        assert read(directory, "b") == b"old"
        replace(directory, "b", b"new")
        assert (data / "a.phext").is_symlink()
        assert (data / "b.phext").is_symlink()
        assert (data / "sub" / "target").read_bytes() == b"new"
        assert os.listdir(data / "sub") == ["target"]

    @pytest.mark.parametrize("absolute", [True, False])
    def test_link_out_is_refused(
        self, directory: DataDirectory, data: Path, tmp_path: Path, absolute: bool
    ) -> None:
        secret = tmp_path / "secret.phext"
        secret.write_bytes(b"secret")
        (data / "t.phext").symlink_to(secret if absolute else "../secret.phext")
        with pytest.raises(ForbiddenNameError):
            directory.place("t")

    def test_link_to_a_neighbour_with_the_same_beginning(
        self, directory: DataDirectory, data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "data2").mkdir()
        (tmp_path / "data2" / "x").write_bytes(b"secret")
        (data / "t.phext").symlink_to("../data2/x")
        with pytest.raises(ForbiddenNameError):
            directory.place("t")

    def test_link_through_a_directory_that_leads_out(
        self, directory: DataDirectory, data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        (data / "up").symlink_to("..")
        (data / "t.phext").symlink_to("up/secret")
        with pytest.raises(ForbiddenNameError):
            directory.place("t")

    @pytest.mark.parametrize("target", [".hidden", ".sqsuper-1-1.tmp", ".sub/x", "t.phext", "."])
    def test_links_to_hidden_files_and_loops(
        self, directory: DataDirectory, data: Path, target: str
    ) -> None:
        (data / ".hidden").write_bytes(b"hidden")
        (data / "t.phext").symlink_to(target)
        with pytest.raises(ForbiddenNameError):
            read(directory, "t")

    def test_dangling_link_inside_is_absent_until_written(
        self, directory: DataDirectory, data: Path
    ) -> None:
        (data / "t.phext").symlink_to("later")
        assert read(directory, "t") is None
        replace(directory, "t", b"x")
        assert (data / "later").read_bytes() == b"x"

    def test_a_link_put_in_place_later_is_not_followed(
        self, directory: DataDirectory, data: Path, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret")
        place = directory.place("t")
        (data / "t.phext").symlink_to(secret)
        with pytest.raises(ForbiddenNameError):
            directory.read("t", place)
        replace_at(directory, place, b"mine")
        assert secret.read_bytes() == b"secret"
        assert not (data / "t.phext").is_symlink()

    def test_a_directory_replaced_by_a_link_is_not_followed(
        self, directory: DataDirectory, data: Path, tmp_path: Path
    ) -> None:
        (data / "sub").mkdir()
        (data / "sub" / "x").write_bytes(b"inside")
        (data / "t.phext").symlink_to("sub/x")
        place = directory.place("t")
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "x").write_bytes(b"secret")
        (data / "sub" / "x").unlink()
        (data / "sub").rmdir()
        (data / "sub").symlink_to(outside)
        with pytest.raises(ForbiddenNameError):
            directory.read("t", place)
        with pytest.raises(OSError, match=r"."):
            replace_at(directory, place, b"mine")
        assert (outside / "x").read_bytes() == b"secret"

    @pytest.mark.parametrize("kind", ["fifo", "directory", "socket", "device"])
    def test_what_is_no_file(self, data: Path, directory: DataDirectory, kind: str) -> None:
        path = data / "t.phext"
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                old = os.getcwd()
                os.chdir(data)
                try:
                    sock.bind("t.phext")
                finally:
                    os.chdir(old)
        else:
            try:
                os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("devices need privileges")
        with pytest.raises(ForbiddenNameError):
            read(directory, "t")

    def test_usage_counts_everything_below_and_follows_nothing(
        self, directory: DataDirectory, data: Path
    ) -> None:
        (data / "a.phext").write_bytes(b"x" * 100)
        (data / "sub").mkdir()
        (data / "sub" / "b").write_bytes(b"x" * 30)
        (data / "l").symlink_to("/usr/bin/env")
        (data / "up").symlink_to("/etc")
        assert directory.usage() == 130 + len("/usr/bin/env") + len("/etc")

    def test_case_folding_file_systems_spell_the_name(self, data: Path) -> None:
        class Folding(Disk):
            """Finds files in any case, as macOS and Windows do."""

            def _fold(self, name: bytes, directory: int) -> bytes:
                for entry in os.listdir(directory):
                    if os.fsencode(entry).lower() == name.lower():
                        return os.fsencode(entry)
                return name

            def lstat(self, name: bytes, directory: int) -> os.stat_result:
                return super().lstat(self._fold(name, directory), directory)

            def open_read(self, name: bytes, directory: int) -> int:
                return super().open_read(self._fold(name, directory), directory)

        (data / "Diary.phext").write_bytes(b"text")
        directory = DataDirectory(str(data), Folding())
        assert read(directory, "Diary") == b"text"
        with pytest.raises(ForbiddenNameError):
            read(directory, "diary")
        assert read(directory, "other") is None
        directory.close()


class TestLock:
    def test_second_engine_is_kept_out_and_told_by_whom(
        self, directory: DataDirectory, data: Path
    ) -> None:
        directory.lock()
        naps: list[float] = []
        other = DataDirectory(str(data))
        with pytest.raises(LockedError) as caught:
            other.lock(5.0, naps.append, lambda: sum(naps))
        other.close()
        assert 5.0 <= sum(naps) < 5.2
        if sys.platform == "linux":
            assert caught.value.holder == os.getpid()
            assert str(os.getpid()) in str(caught.value)

    def test_waits_for_the_one_before(self, directory: DataDirectory, data: Path) -> None:
        directory.lock()
        other = DataDirectory(str(data))
        other.lock(5.0, lambda _seconds: directory.close())
        other.close()

    def test_lock_goes_with_its_process(self, directory: DataDirectory, data: Path) -> None:
        code = (
            "import sys; from sqsuper.engine.directory import DataDirectory;"
            "d = DataDirectory(sys.argv[1]); d.lock(); print('locked', flush=True);"
            "sys.stdin.read()"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"locked\n"
            with pytest.raises(LockedError):
                directory.lock(0.0)
            child.kill()
            child.wait(10)
            directory.lock(5.0)

    def test_side_files_of_a_killed_engine_are_removed(
        self, directory: DataDirectory, data: Path
    ) -> None:
        (data / ".sqsuper-1f-2.tmp").write_bytes(b"half")
        (data / ".other.tmp").write_bytes(b"not ours")
        (data / "t.phext").write_bytes(b"kept")
        directory.lock()
        directory.sweep()
        assert sorted(os.listdir(data)) == [".other.tmp", "t.phext"]

    def test_what_is_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for name in ("file", "absent"):
            with pytest.raises(DirectoryError, match=name):
                DataDirectory(str(tmp_path / name))


def test_short_writes_and_reads_go_on(data: Path) -> None:
    class Slow(Disk):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            return super().write(fd, data[:3])

        def read(self, fd: int, count: int) -> bytes:
            return super().read(fd, min(count, 3))

    directory = DataDirectory(str(data), Slow())
    replace(directory, "t", b"a longer text")
    assert read(directory, "t") == b"a longer text"


def test_order_of_a_durable_write(data: Path) -> None:
    calls: list[str] = []

    class Watched(Disk):
        def fsync(self, fd: int) -> None:
            calls.append(
                "fsync directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "fsync file"
            )
            super().fsync(fd)

        def write(self, fd: int, data: bytes | memoryview) -> int:
            calls.append("write")
            return super().write(fd, data)

        def rename(self, old: bytes, new: bytes, directory: int) -> None:
            calls.append("rename")
            super().rename(old, new, directory)

    replace(DataDirectory(str(data), Watched()), "t", b"x")
    assert calls == ["write", "fsync file", "rename", "fsync directory"]


@pytest.mark.parametrize("filler", [0, 1, (1 << 20) - 1, (1 << 20) - 2, (1 << 20) + 3])
def test_utf8_faults_are_found_across_pieces(filler: int) -> None:
    prefix = "é".encode() + b"x" * filler
    assert utf8_fault(prefix + "漢😀".encode()) is None
    assert utf8_fault(prefix + b"\xe6\xbc") == len(prefix)
    assert utf8_fault(prefix + b"\xe6\xbc" + b"x" * 10) == len(prefix)
    assert utf8_fault(prefix + "😀".encode() + b"\xff") == len(prefix) + 4
