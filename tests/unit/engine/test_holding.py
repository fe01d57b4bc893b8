"""Files that stay as they are while somebody copies them, and what they hold then."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.engine import checkpoints
from sqsuper.engine.checkpoints import Policy
from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.disk import Disk
from sqsuper.engine.holding import Hold
from sqsuper.engine.settling import settle
from tests.unit.engine.driving import NEVER, Opened

EAGER = Policy(idle=0.001, age=0.001, journal=1 << 30)


def phexts(data: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in data.glob("[!.]*.phext")}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    one = Opened(tmp_path, policy=EAGER)
    yield one
    one.close()


def hold(opened: Opened) -> tuple[Hold, int]:
    lost: list[int] = []
    held = Hold(lost.append)
    opened.storage.checkpoints.hold(held)
    opened.until(lambda: bool(lost))
    return held, lost[0]


def test_what_was_acknowledged_is_in_the_files(tmp_path: Path) -> None:
    opened = Opened(tmp_path, policy=NEVER)
    for number in range(5):
        opened.apply(f"p{number}", {0: b"text %d" % number})
    assert phexts(tmp_path) == {}
    held, lost = hold(opened)
    assert lost == 0
    assert phexts(tmp_path) == {f"p{n}.phext": b"text %d" % n for n in range(5)}
    held.release()
    opened.close()


def test_no_file_changes_until_it_is_released(opened: Opened, tmp_path: Path) -> None:
    opened.apply("a", {0: b"before"})
    held, _ = hold(opened)
    opened.apply("a", {0: b"meanwhile"})
    opened.apply("b", {0: b"new"})
    for _ in range(20):
        opened.loop.turn(0.002)
    assert phexts(tmp_path) == {"a.phext": b"before"}
    held.release()
    opened.until(lambda: phexts(tmp_path) == {"a.phext": b"meanwhile", "b.phext": b"new"})


def test_all_phexts_are_of_one_moment(opened: Opened, tmp_path: Path) -> None:
    """Each turn writes the same number to two phexts, one request after the other."""
    opened.apply("a", {0: b"0"})
    opened.apply("b", {0: b"0"})
    for _ in range(5):
        lost: list[int] = []
        held = Hold(lost.append)
        opened.storage.checkpoints.hold(held)
        for number in itertools.count(1):
            text = b"%d" % number
            opened.store.apply(opened.open("a"), {0: text})
            opened.store.apply(opened.open("b"), {0: text})
            opened.loop.turn(0)
            if lost:
                break
        assert lost == [0]
        found = phexts(tmp_path)
        assert found["a.phext"] == found["b.phext"]
        held.release()
        opened.until(lambda: not opened.storage.checkpoints.running)


def test_what_was_recovered_is_in_the_files(tmp_path: Path) -> None:
    before = Opened(tmp_path, policy=NEVER)
    before.apply("a", {0: b"in the journal"})
    before.close()
    assert phexts(tmp_path) == {}
    opened = Opened(tmp_path, policy=NEVER)
    held, lost = hold(opened)
    assert lost == 0
    assert phexts(tmp_path) == {"a.phext": b"in the journal"}
    held.release()
    opened.close()


class Full(Disk):
    """No phext file can be made while `full`."""

    full = False

    def create(self, name: bytes, directory: int) -> int:
        if self.full and name.endswith(b".tmp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(name, directory)


def test_what_cannot_be_saved_is_counted_and_not_lost(tmp_path: Path) -> None:
    disk = Full()
    opened = Opened(tmp_path, disk=disk, policy=NEVER)
    opened.apply("a", {0: b"old"})
    hold(opened)[0].release()
    opened.apply("a", {0: b"new"})
    disk.full = True
    held, lost = hold(opened)
    assert lost == 1
    assert phexts(tmp_path) == {"a.phext": b"old"}
    disk.full = False
    held.release()
    opened.stop()
    assert phexts(tmp_path) == {"a.phext": b"new"}


def test_it_ends_by_itself(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "HOLD_SECONDS", 0.05)
    held, _ = hold(opened)
    opened.apply("a", {0: b"text"})
    opened.until(lambda: phexts(tmp_path) == {"a.phext": b"text"})
    assert held.over


def test_a_stop_ends_it(tmp_path: Path) -> None:
    opened = Opened(tmp_path, policy=NEVER)
    held, _ = hold(opened)
    opened.apply("a", {0: b"text"})
    opened.stop()
    assert held.over
    assert phexts(tmp_path) == {"a.phext": b"text"}


def test_another_one_ends_it(opened: Opened) -> None:
    first, _ = hold(opened)
    second, _ = hold(opened)
    assert first.over
    assert not second.over
    second.release()


def test_settle_leaves_phext_files_alone(tmp_path: Path) -> None:
    before = Opened(tmp_path, policy=NEVER)
    for number in range(3):
        before.apply(f"p{number}", {0: b"text %d" % number})
    before.close()
    directory = DataDirectory(str(tmp_path))
    directory.lock()
    lines: list[str] = []
    assert settle(directory, lines.append)
    directory.close()
    assert lines == []
    assert {file.name for file in tmp_path.iterdir()} == {"p0.phext", "p1.phext", "p2.phext"}


@pytest.mark.parametrize("turns", range(0, 60, 6))
def test_whenever_it_ends_nothing_is_lost(tmp_path: Path, turns: int) -> None:
    """Several phexts are being saved at once, which is so in no other checkpoint."""
    names = [f"p{number}" for number in range(6)]
    opened = Opened(tmp_path, policy=NEVER)
    for name in names:
        opened.apply(name, {0: b"old", 1: b"gone"})
    opened.storage.checkpoints.hold(Hold(lambda _: None))
    for turn in range(turns):
        for name in names:
            opened.store.apply(opened.open(name), {0: b"new %d" % turn, 1: b""})
        opened.loop.turn(0.001)
    opened.close()
    again = Opened(tmp_path, policy=NEVER)
    for name in names:
        assert again.get(name, 0) == (b"new %d" % (turns - 1) if turns else b"old")
        assert again.get(name, 1) == (b"" if turns else b"gone")
    again.stop()
    assert set(phexts(tmp_path)) == {f"{name}.phext" for name in names}
    assert again.lines == []
