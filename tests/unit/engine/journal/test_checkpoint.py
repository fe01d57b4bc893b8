"""Replacing phext files in steps, and saving what conflicts."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from sqsuper.engine.disk import Disk
from sqsuper.engine.journal import conflict
from sqsuper.engine.journal.checkpoint import Replacement
from sqsuper.engine.phext import explode
from tests.crash.disk import DIRECTORY
from tests.unit.engine.journal.support import K1, K3, A, disk_with


def test_a_piece_a_step_and_nothing_in_place_before_the_end() -> None:
    disk = disk_with({A: b"old"})
    pieces = [b"one", b"two" * 1000, b"three"]
    given: list[bytes] = []

    def source() -> Iterator[bytes]:
        for piece in pieces:
            given.append(piece)
            yield piece

    replacement = Replacement(disk, DIRECTORY, A, b".tmp", source())
    assert given == []
    for count in range(1, 4):
        assert replacement.step()
        assert len(given) == count
    assert disk.files()[A] == b"old"
    assert not replacement.step()
    assert disk.open_files == 0
    text = b"".join(pieces)
    assert replacement.identity == (len(text), xxhash.xxh3_128_digest(text))
    assert disk.lose_power().files()[A] == b"old"
    replacement.place()
    assert disk.files() == disk.lose_power().files() == {A: text}
    replacement.abandon()
    assert disk.files() == {A: text}


def finish(replacement: Replacement) -> None:
    while replacement.step():
        pass
    replacement.place()


@pytest.mark.parametrize("kind", ["create", "write", "fsync", "rename"])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(kind: str) -> None:
    disk = disk_with({A: b"old"})
    disk.fail = lambda called, count: errno.ENOSPC if called == kind else 0
    replacement = Replacement(disk, DIRECTORY, A, b".tmp", [b"new"])
    with pytest.raises(OSError, match="space"):
        finish(replacement)
    replacement.abandon()
    replacement.abandon()
    assert disk.files() == {A: b"old"}
    assert disk.open_files == 0


def test_what_has_the_temporary_name_is_not_touched() -> None:
    disk = disk_with({A: b"old", b".tmp": b"mine"})
    replacement = Replacement(disk, DIRECTORY, A, b".tmp", [b"new"])
    with pytest.raises(FileExistsError):
        replacement.step()
    replacement.abandon()
    assert disk.files() == {A: b"old", b".tmp": b"mine"}


def test_files_are_private(tmp_path: Path) -> None:
    disk = Disk()
    directory = disk.open_root(str(tmp_path))
    try:
        replacement = Replacement(disk, directory, b"a.phext", b".tmp", [b"x"])
        finish(replacement)
    finally:
        os.close(directory)
    assert os.listdir(tmp_path) == ["a.phext"]
    assert (tmp_path / "a.phext").stat().st_mode & 0o777 == 0o600


class TestConflict:
    def test_both_are_kept(self) -> None:
        disk = disk_with({A: b"theirs"})
        name = conflict.save(
            disk, DIRECTORY, A, b".tmp", {K3: b"three", K1: b"one"}, now=1_700_000_000.5
        )
        assert name == b".a.conflict-20231114T221320Z.phext"
        files = disk.lose_power().files()
        assert files[A] == b"theirs"
        assert explode(files[name]) == {K1: b"one", K3: b"three"}
        assert set(files) == {A, name}

    def test_two_in_one_second(self) -> None:
        disk = disk_with({})
        names = [
            conflict.save(disk, DIRECTORY, A, b".tmp", {K1: b"%d" % count}, now=0)
            for count in range(3)
        ]
        assert len(set(names)) == 3
        assert sorted(disk.files().values()) == [b"0", b"1", b"2"]

    def test_removals_alone_need_no_file(self) -> None:
        disk = disk_with({})
        assert conflict.save(disk, DIRECTORY, A, b".tmp", {K1: b""}, now=0) is None
        assert disk.files() == {}

    def test_long_names_fit(self) -> None:
        disk = disk_with({})
        name = conflict.save(disk, DIRECTORY, b"n" * 249 + b".phext", b".tmp", {K1: b"x"}, now=0)
        assert name is not None
        assert len(name) == 255
        assert name.endswith(b".conflict-19700101T000000Z.phext")

    def test_a_failure_leaves_nothing(self) -> None:
        disk = disk_with({})
        disk.fail = lambda kind, count: errno.ENOSPC if kind == "fsync" else 0
        with pytest.raises(OSError, match="space"):
            conflict.save(disk, DIRECTORY, A, b".tmp", {K1: b"x"}, now=0)
        assert disk.files() == {}


def test_the_journal_is_lean() -> None:
    code = (
        "import sys;"
        "import sqsuper.engine.journal.writer, sqsuper.engine.journal.recovery;"
        "import sqsuper.engine.journal.checkpoint, sqsuper.engine.journal.conflict;"
        "print(*{'typing', 'dataclasses', 'logging', 'asyncio', 'twisted', 'threading', 'phext'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
