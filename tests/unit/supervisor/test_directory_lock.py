"""The lock on a command engine's data directory: the same that the embedded engine takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.errors import LockedError
from sqsuper.supervisor.directory_lock import DirectoryLock
from sqsuper.supervisor.errors import DirectoryError, DirectoryLockedError


def test_an_engine_and_we_keep_each_other_out(tmp_path: Path) -> None:
    engine = DataDirectory(str(tmp_path))
    try:
        engine.lock()
        with pytest.raises(DirectoryLockedError) as raised:
            DirectoryLock(tmp_path)
        assert raised.value.pid == os.getpid()
        assert f"pid {os.getpid()}" in str(raised.value)
        engine.close()
        ours = DirectoryLock(tmp_path)
        late = DataDirectory(str(tmp_path))
        with pytest.raises(LockedError):
            late.lock(seconds=0.0)
        ours.release()
        ours.release()
        late.lock(seconds=0.0)
        late.close()
    finally:
        engine.close()


def test_by_whatever_path_it_is_one_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    ours = DirectoryLock(tmp_path / "data")
    with pytest.raises(DirectoryLockedError):
        DirectoryLock(tmp_path / "link")
    ours.release()


def test_no_child_inherits_it(tmp_path: Path) -> None:
    ours = DirectoryLock(tmp_path)
    assert not os.get_inheritable(ours._fd)
    ours.release()


def test_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(DirectoryError):
            DirectoryLock(tmp_path / name)
