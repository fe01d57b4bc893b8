"""Which files of a directory a backup takes, kept while others write, and put in place again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sqsuper.backup.archive import Member
from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import HasDataError, TenantError
from sqsuper.backup.live import QUIET, Live
from sqsuper.backup.making import Staged
from sqsuper.backup.staging import Stage
from sqsuper.backup.walking import holds_data, size_of
from tests.unit.backup.support import contents, data


def read(staged: Staged) -> dict[str, bytes]:
    return {one.path: one.content.read() for one in staged.sources()}


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    return data(tmp_path / "alice", a="one", b="two")


class TestStage:
    def test_keeps_what_is_replaced_and_removed(self, alice: Path) -> None:
        stage = Stage("alice", alice)
        (alice / "new").write_text("later")
        os.replace(alice / "new", alice / "a.phext")
        (alice / "b.phext").unlink()
        assert read(stage) == {"a.phext": b"one", "b.phext": b"two"}
        stage.remove()
        assert os.listdir(alice) == ["a.phext"]

    def test_takes_no_room_in_the_quota(self, alice: Path) -> None:
        stage = Stage("alice", alice)
        (kept,) = (name for name in os.listdir(alice) if name.startswith("."))
        assert kept.startswith(".sqsuper-")
        assert all(name.startswith(".sqsuper-") for name in os.listdir(alice / kept))
        assert (alice / kept).stat().st_mode & 0o777 == 0o700
        stage.remove()
        stage.remove()

    def test_without_hard_links(self, alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr("sqsuper.backup.staging.os.link", link)
        stage = Stage("alice", alice)
        (alice / "a.phext").write_text("later")
        assert read(stage)["a.phext"] == b"one"
        stage.remove()

    def test_what_a_killed_one_left_goes(self, alice: Path) -> None:
        left = alice / ".sqsuper-backup-0"
        left.mkdir()
        (left / ".sqsuper-0").touch()
        Stage("alice", alice).remove()
        assert not left.exists()

    def test_hidden_and_strange_files_are_left(self, alice: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        (alice / ".a.conflict-20260101T000000Z.phext").touch()
        (alice / "CON.phext").touch()
        os.mkfifo(alice / "fifo.phext")
        (alice / "away.phext").symlink_to("../secret")
        (alice / "absolute.phext").symlink_to(tmp_path / "secret")
        (alice / "nowhere.phext").symlink_to("not there")
        (alice / "round.phext").symlink_to("round.phext")
        (alice / "hidden.phext").symlink_to(".a.conflict-20260101T000000Z.phext")
        (alice / "directory.phext").symlink_to(".")
        (alice / os.fsdecode(b"\xff.phext")).touch()
        (alice / ".journal-0000000100000001").touch()
        (alice / ".sqsuper-1-1.tmp").touch()
        stage = Stage("alice", alice)
        assert set(read(stage)) == {"a.phext", "b.phext"}
        assert sorted(stage.left) == [
            ".a.conflict-20260101T000000Z.phext",
            "CON.phext",
            "\\xff.phext",
            "absolute.phext",
            "away.phext",
            "directory.phext",
            "fifo.phext",
            "hidden.phext",
            "nowhere.phext",
            "round.phext",
        ]
        stage.remove()

    def test_a_link_inside_stands_for_its_file(self, alice: Path) -> None:
        (alice / "below").mkdir()
        (alice / "below" / "deep.phext").write_text("deep")
        (alice / "link.phext").symlink_to("below/deep.phext")
        stage = Stage("alice", alice)
        found = read(stage)
        assert found["link.phext"] == found["below/deep.phext"] == b"deep"
        assert stage.left == []
        stage.remove()

    def test_what_sq_keeps_without_a_name(self, alice: Path) -> None:
        (alice / ".phext").write_text("nameless")
        stage = Stage("alice", alice)
        assert read(stage)[".phext"] == b"nameless"
        stage.remove()

    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(TenantError, match="alice"):
            Stage("alice", tmp_path / "alice")


def test_size_of(alice: Path) -> None:
    (alice / "a.phext").write_text("x" * 5000)
    assert size_of(alice) == 5003
    assert size_of(alice / "not-there") == 0


@pytest.mark.parametrize(
    ("names", "holds"),
    [((), False), ((".sqsuper-1.tmp",), False), ((".journal-1",), True), (("a.phext",), True)],
)
def test_holds_data(tmp_path: Path, names: Sequence[str], holds: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert holds_data(tmp_path) is holds


class Wall:
    """A clock that goes on when somebody sleeps; `then` is called meanwhile."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.slept = 0.0
        self.then: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.then()


class TestLive:
    def live(self, alice: Path, wall: Wall, **options: Any) -> Live:
        return Live("alice", alice, alice.parent, wall=wall, sleep=wall.sleep, **options)

    def test_quiet_files_are_copied_at_once(self, alice: Path) -> None:
        wall = Wall((alice / "b.phext").stat().st_mtime + 60)
        live = self.live(alice, wall)
        assert read(live) == {"a.phext": b"one", "b.phext": b"two"}
        assert (live.moment, wall.slept) == (False, 0)
        live.remove()

    def test_a_file_that_was_just_written_is_waited_for(self, alice: Path) -> None:
        wall = Wall((alice / "b.phext").stat().st_mtime)
        assert read(self.live(alice, wall))["b.phext"] == b"two"
        assert wall.slept >= QUIET

    def test_what_changes_while_it_is_copied_is_copied_again(
        self, alice: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = alice / "a.phext"
        os.utime(file, (1e9, 1e9))
        whole = os.read
        changes = ["first", "then"]

        def reading(fd: int, count: int) -> bytes:
            piece = whole(fd, count)
            if changes:
                file.write_text(changes.pop(0))  # in place, as the real sq does
                os.utime(file, (1e9 + len(changes), 1e9 + len(changes)))
            return piece

        monkeypatch.setattr("sqsuper.backup.live.os.read", reading)
        assert read(self.live(alice, Wall(2e9)))["a.phext"] == b"then"

    def test_one_that_is_never_quiet(self, alice: Path) -> None:
        wall = Wall(2e9)
        wall.then = lambda: os.utime(alice / "a.phext", (wall.now, wall.now))
        wall.then()
        with pytest.raises(TenantError, match=r"a\.phext is written to all the time"):
            read(self.live(alice, wall, patience=5.0))

    def test_one_that_vanishes(self, alice: Path) -> None:
        live = self.live(alice, Wall(2e9))
        (alice / "a.phext").unlink()
        assert set(read(live)) == {"b.phext"}

    def test_one_that_becomes_a_link(self, alice: Path) -> None:
        live = self.live(alice, Wall(2e9))
        (alice / "a.phext").unlink()
        (alice / "a.phext").symlink_to("/etc/passwd")
        assert set(read(live)) == {"b.phext"}


class TestDraft:
    def draft(self, tmp_path: Path) -> Draft:
        draft = Draft("alice", tmp_path / "root" / "alice", None, None)
        draft.take(Member("alice", ("a.phext",), 4, 1e9))(b"back")
        return draft

    def test_in_place_of_nothing(self, tmp_path: Path) -> None:
        assert self.draft(tmp_path).place(None) is None
        assert contents(tmp_path) == {"root/alice/a.phext": b"back"}
        assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700

    def test_in_place_of_an_empty_directory(self, tmp_path: Path) -> None:
        data(tmp_path / "root" / "alice")
        assert self.draft(tmp_path).place(None) is None
        assert contents(tmp_path) == {"root/alice/a.phext": b"back"}

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
    def test_a_full_one_costs_no_descriptor(self, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        draft = self.draft(tmp_path)
        draft.finish()
        assert len(os.listdir("/proc/self/fd")) == before
        draft.discard()
        assert os.listdir(tmp_path / "root") == []

    def test_not_in_place_of_data(self, tmp_path: Path) -> None:
        data(tmp_path / "root" / "alice", a="mine")
        draft = self.draft(tmp_path)
        with pytest.raises(HasDataError):
            draft.place(None)
        draft.discard()
        assert contents(tmp_path) == {"root/alice/a.phext": b"mine"}
        assert os.listdir(tmp_path / "root") == ["alice"]

    def test_what_is_replaced_is_put_aside(self, tmp_path: Path) -> None:
        data(tmp_path / "root" / "alice", a="mine")
        aside = tmp_path / "aside"

        def put_aside() -> Path:
            return Path(shutil.move(tmp_path / "root" / "alice", aside))

        assert self.draft(tmp_path).place(put_aside) == aside
        assert contents(tmp_path) == {"root/alice/a.phext": b"back", "aside/a.phext": b"mine"}

    def test_behind_a_link_of_the_operator(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        data(tmp_path / "disk" / "alice")
        (tmp_path / "root" / "alice").symlink_to(tmp_path / "disk" / "alice")
        self.draft(tmp_path).place(None)
        assert contents(tmp_path / "disk") == {"alice/a.phext": b"back"}
        assert (tmp_path / "root" / "alice").is_symlink()

    def test_what_a_killed_one_left_goes(self, tmp_path: Path) -> None:
        data(tmp_path / "root" / ".alice.restoring-0", a="half")
        self.draft(tmp_path).discard()
        assert os.listdir(tmp_path / "root") == []
