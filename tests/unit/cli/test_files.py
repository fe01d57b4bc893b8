"""New files: private, whole, and of those who must read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sqsuper.cli import files


def test_a_new_file(here: Path) -> None:
    files.write_new(here / "f", b"one")
    assert (here / "f").read_bytes() == b"one"
    assert (here / "f").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        files.write_new(here / "f", b"two")
    assert (here / "f").read_bytes() == b"one"
    assert [path.name for path in here.iterdir()] == ["f"]


def test_directories(here: Path) -> None:
    (here / "a").mkdir(mode=0o755)
    files.make_private(here / "a/b/c")
    modes = [(here / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o700, 0o700]


@pytest.mark.parametrize(("user", "given"), [(0, 2), (1000, 0)])
def test_what_root_makes_is_the_owners(
    user: int, given: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.stat(here)
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: calls.append((uid, gid)))
    files.make_private(here / "d")
    files.write_new(here / "d/f", b"")
    assert calls == [(owner.st_uid, owner.st_gid)] * given
