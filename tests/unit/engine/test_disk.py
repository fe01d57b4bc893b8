"""Syncs that reach the medium: macOS needs another call for that; here it is forced."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from sqsuper.engine.disk import Disk
from tests.unit.engine.driving import Opened

FULL_SYNC = 51


class FullSync(Disk):
    _full_sync = FULL_SYNC


class Calls:
    """All calls that sync, in order; `error`: what the full one says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.error = 0
        self._fcntl = fcntl.fcntl
        self._sync = {name: getattr(os, name) for name in ("fsync", "fdatasync")}
        monkeypatch.setattr(fcntl, "fcntl", self.full)
        monkeypatch.setattr(os, "fsync", lambda fd: self.plain("fsync", fd))
        monkeypatch.setattr(os, "fdatasync", lambda fd: self.plain("fdatasync", fd))

    def full(self, fd: int, command: int, *rest: int) -> object:
        if command != FULL_SYNC:
            return self._fcntl(fd, command, *rest)
        self.made.append("full")
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return 0

    def plain(self, name: str, fd: int) -> None:
        self.made.append(name)
        self._sync[name](fd)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.mark.parametrize("sync", ["fsync", "fdatasync"])
class TestOneSync:
    def test_full(self, tmp_path: Path, calls: Calls, sync: str) -> None:
        with (tmp_path / "f").open("wb") as file:
            getattr(FullSync(), sync)(file.fileno())
        assert calls.made == ["full"]

    def test_where_the_file_system_has_none(self, tmp_path: Path, calls: Calls, sync: str) -> None:
        calls.error = errno.ENOTSUP
        with (tmp_path / "f").open("wb") as file:
            getattr(FullSync(), sync)(file.fileno())
        assert calls.made == ["full", "fsync"]

    def test_a_failure_is_one(self, tmp_path: Path, calls: Calls, sync: str) -> None:
        calls.error = errno.EIO
        with (tmp_path / "f").open("wb") as file, pytest.raises(OSError, match="Input/output"):
            getattr(FullSync(), sync)(file.fileno())
        assert calls.made == ["full"]

    def test_elsewhere_there_is_no_such_call(
        self, tmp_path: Path, calls: Calls, sync: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Disk, "_full_sync", None)
        with (tmp_path / "f").open("wb") as file:
            getattr(Disk(), sync)(file.fileno())
        assert calls.made == [sync]


def test_no_sync_of_an_engine_stops_short(tmp_path: Path, calls: Calls) -> None:
    opened = Opened(tmp_path, disk=FullSync())
    opened.apply("a", {1 << 10: b"x"})
    opened.settle()
    opened.stop()
    assert set(calls.made) == {"full"}
    assert len(calls.made) > 4
