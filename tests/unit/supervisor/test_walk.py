"""The files of a data directory, as they are counted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from sqsuper.engine import directory
from sqsuper.supervisor import walk


def fill(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * count)
    return path


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def found(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(walk, "_BY_DESCRIPTOR", False)


@pytest.mark.usefixtures("found")
def test_what_counts(tmp_path: Path) -> None:
    root = tmp_path / "data"
    fill(root / "a.phext", 10)
    fill(root / ".phext", 200)
    fill(root / "deep" / "er" / "b.txt", 3000)
    fill(root / ".sqsuper-lock", 40_000)
    fill(root / "deep" / ".journal-1", 500_000)
    outside = fill(tmp_path / "outside" / "big", 6_000_000)
    (root / "link.phext").symlink_to(outside)
    (root / "elsewhere").symlink_to(outside.parent)
    (root / "up").symlink_to(root)
    os.mkfifo(root / "pipe.phext")
    assert sum(walk.sizes(root)) == 3210
    # Each entry is a step, also one that takes nothing.
    assert len(list(walk.sizes(root))) == 11


@pytest.mark.usefixtures("found")
def test_a_directory_that_is_a_link_itself_or_not_there(tmp_path: Path) -> None:
    fill(tmp_path / "data" / "a.phext", 7)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert sum(walk.sizes(tmp_path / "link")) == 7
    assert list(walk.sizes(tmp_path / "nothing")) == []
    assert list(walk.sizes(tmp_path / "data" / "a.phext")) == []


@pytest.mark.usefixtures("found")
def test_what_vanishes_takes_nothing(tmp_path: Path) -> None:
    for number in range(3):
        fill(tmp_path / f"d{number}" / "file", 1)
    sizes = walk.sizes(tmp_path)
    next(sizes)
    for number in range(3):
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / f"d{number}" / "file").unlink()
            (tmp_path / f"d{number}").rmdir()
    assert sum(sizes) == 0


def test_it_goes_no_deeper_than_it_may(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(walk.MAX_DEPTH + 3):
        fill(path / "file", 1)
        path /= "d"
    assert sum(walk.sizes(tmp_path)) == walk.MAX_DEPTH + 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nobody tells of descriptors")
def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "b" / "c", 1)
    before = len(descriptors())
    sizes = walk.sizes(tmp_path)
    next(sizes)
    next(sizes)
    assert len(descriptors()) > before
    sizes.close()
    assert len(descriptors()) == before
    assert sum(walk.sizes(tmp_path)) == 1
    assert len(descriptors()) == before


def test_what_is_not_charged_is_what_the_engine_does_not_charge() -> None:
    assert walk.NOT_CHARGED == directory._NOT_CHARGED
