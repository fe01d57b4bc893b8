"""The store: what is in memory, in the journal and in files, when all is well and when not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqsuper.engine import saving, store
from sqsuper.engine.answer import Answer
from sqsuper.engine.api import Api
from sqsuper.engine.checkpoints import Policy
from sqsuper.engine.coordinates import Reading
from sqsuper.engine.disk import Disk
from sqsuper.engine.errors import (
    NoSpaceError,
    OverQuotaError,
    PhextTooLargeError,
    ReadError,
    WriteError,
)
from sqsuper.engine.loaded import Unloaded
from sqsuper.engine.phext import ORIGIN
from sqsuper.engine.request import Request
from sqsuper.engine.store import MAX_VERSIONS
from tests.unit.engine.driving import NEVER, Opened, tree
from tests.unit.engine.failing import FailingDisk

Open = Callable[..., Opened]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    return data


@pytest.fixture
def opened(data: Path) -> Iterator[Open]:
    """Open a storage on `data`; whatever is still open at the end is closed."""
    all_of_them: list[Opened] = []

    def make(**options: Any) -> Opened:
        all_of_them.append(Opened(data, **options))
        return all_of_them[-1]

    yield make
    for each in all_of_them:
        each.close()


# Every call of a write: the first one makes a segment, the second one appends to it.
FIRST = [("create", 1), ("write", 1), ("write", 2), ("fsync", 1), ("rename", 1), ("fsync", 2)]
SECOND = [("pwrite", 1), ("fdatasync", 1)]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TestFailedWrites:
    @pytest.mark.parametrize("code", [*FULL, errno.EIO, errno.EROFS])
    @pytest.mark.parametrize("existing", [True, False])
    @pytest.mark.parametrize(
        ("call", "nth", "second"),
        [*((*where, False) for where in FIRST), *((*where, True) for where in SECOND)],
    )
    def test_leave_memory_and_disk_as_they_were(
        self,
        data: Path,
        opened: Open,
        *,
        call: str,
        nth: int,
        second: bool,
        code: int,
        existing: bool,
    ) -> None:
        if existing:
            (data / "t.phext").write_bytes(b"old")
        disk = FailingDisk(call, nth, code)
        storage = opened(disk=disk)
        if second:
            storage.apply("other", {ORIGIN: b"x"})
        storage.get("t", ORIGIN)
        disk.armed = True
        expected = NoSpaceError if code in FULL else WriteError
        with pytest.raises(WriteError) as caught:
            storage.apply("t", {ORIGIN: b"new", ORIGIN + 5: b"x"})
        assert disk.fired
        assert type(caught.value) is expected
        assert caught.value.status == (507 if code in FULL else 500)
        assert storage.get("t", ORIGIN) == (b"old" if existing else b"")
        assert storage.get("t", ORIGIN + 5) == b""
        assert ("t" in storage.store.names()) is existing
        # The next one works once the journal is renewed, and what failed does not come back.
        storage.until(lambda: storage.commits.error is None)
        storage.apply("u", {ORIGIN: b"new"})
        storage.stop()
        files = {"u.phext": b"new"} | ({"t.phext": b"old"} if existing else {})
        assert tree(data) == files | ({"other.phext": b"x"} if second else {})
        assert not [name for name in os.listdir(data) if name.startswith(".")]

    def test_all_of_a_turn_fail_together_newest_undone_first(
        self, data: Path, opened: Open
    ) -> None:
        disk = FailingDisk("fdatasync", 1, errno.EIO)
        storage = opened(disk=disk)
        storage.apply("t", {ORIGIN: b"one"})
        disk.armed = True
        outcomes: list[BaseException | None] = []
        for text in (b"two", b"three"):
            group = storage.store.apply(storage.open("t"), {ORIGIN: text})
            storage.commits.wait(group, outcomes.append)
        assert storage.get("t", ORIGIN) == b"three"
        storage.until(lambda: len(outcomes) == 2)
        assert [type(error) for error in outcomes] == [OSError, OSError]
        assert storage.get("t", ORIGIN) == b"one"

    def test_writes_are_refused_until_the_journal_is_renewed(
        self, data: Path, opened: Open
    ) -> None:
        class Broken(Disk):
            broken = False

            def fdatasync(self, fd: int) -> None:
                if self.broken:
                    raise OSError(errno.EIO, "broken")
                super().fdatasync(fd)

            def fsync(self, fd: int) -> None:
                if self.broken:
                    raise OSError(errno.EIO, "broken")
                super().fsync(fd)

        disk = Broken()
        storage = opened(disk=disk)
        storage.apply("t", {ORIGIN: b"kept"})
        disk.broken = True
        with pytest.raises(WriteError):
            storage.apply("t", {ORIGIN: b"lost"})
        for _ in range(3):
            storage.loop.turn(0)
            with pytest.raises(WriteError):
                storage.apply("t", {ORIGIN: b"lost too"})
        assert storage.get("t", ORIGIN) == b"kept"
        disk.broken = False
        storage.until(lambda: storage.commits.error is None)
        storage.apply("t", {ORIGIN + 1: b"more"})
        storage.close()
        again = opened()
        assert again.get("t", ORIGIN) == b"kept"
        assert again.get("t", ORIGIN + 1) == b"more"

    def test_a_start_that_cannot_write_still_reads(self, data: Path, opened: Open) -> None:
        class Full(Disk):
            full = True

            def create(self, name: bytes, directory: int) -> int:
                if self.full:
                    raise OSError(errno.ENOSPC, "full")
                return super().create(name, directory)

        storage = opened()
        storage.apply("t", {ORIGIN: b"kept"})
        storage.apply("u", {ORIGIN: b"mine"})
        storage.close()
        (data / "u.phext").write_bytes(b"theirs")
        disk = Full()
        again = opened(disk=disk)
        assert "the journal could not be written: [Errno 28] full" in again.lines
        assert again.get("t", ORIGIN) == b"kept"
        for name in ("t", "u", "u"):
            with pytest.raises(NoSpaceError):
                again.apply(name, {ORIGIN: b"lost"})
        assert sorted(tree(data)) == ["u.phext"]
        again.close()
        third = opened(disk=disk)
        disk.full = False
        third.until(lambda: third.commits.error is None)
        third.apply("t", {ORIGIN + 1: b"more"})
        assert third.get("u", ORIGIN) == b"theirs"
        third.stop()
        files = tree(data)
        assert files.pop("t.phext") == b"kept\x17more"
        assert files.pop("u.phext") == b"theirs"
        assert list(files.values()) == [b"mine"]

    @pytest.mark.parametrize(
        ("call", "nth"),
        [("create", 1), ("write", 1), ("fsync", 1), ("rename", 1), ("fsync", 2), ("lstat", 1)],
    )
    def test_a_failed_checkpoint_loses_nothing(
        self, data: Path, opened: Open, call: str, nth: int
    ) -> None:
        (data / "t.phext").write_bytes(b"old")
        disk = FailingDisk(call, nth, errno.EIO)
        storage = opened(disk=disk, policy=Policy(idle=0.01))
        storage.open("t")
        storage.store.apply(storage.open("t"), {ORIGIN: b"new"})
        storage.commits.flush()
        storage.until(lambda: not storage.storage._worker.busy)
        disk.armed = True
        storage.until(lambda: tree(data).get("t.phext") == b"new" and storage.commits.idle)
        storage.stop()
        assert tree(data) == {"t.phext": b"new"}


@pytest.mark.parametrize("call", ["open_read", "fstat", "read", "lstat"])
def test_a_failed_read_is_an_error_and_nothing_is_remembered(
    data: Path, opened: Open, call: str
) -> None:
    (data / "t.phext").write_bytes(b"text")
    disk = FailingDisk(call, 1, errno.EIO)
    storage = opened(disk=disk)
    disk.armed = True
    with pytest.raises(ReadError):
        storage.get("t", ORIGIN)
    assert storage.store.loaded == 0
    assert storage.get("t", ORIGIN) == b"text"


class TestJournal:
    def test_writes_are_in_the_journal_and_come_back(self, data: Path, opened: Open) -> None:
        (data / "t.phext").write_bytes(b"old\x17kept")
        storage = opened()
        storage.apply("t", {ORIGIN: b"new"})
        storage.apply("fresh", {ORIGIN + 3: b"x"})
        assert tree(data) == {"t.phext": b"old\x17kept"}
        storage.close()
        again = opened()
        assert again.store.names() == ["fresh", "t"]
        assert again.get("t", ORIGIN) == b"new"
        assert again.get("t", ORIGIN + 1) == b"kept"
        totals = again.run(again.store.totals())
        assert (totals.phexts, totals.scrolls) == (2, 3)
        again.stop()
        assert tree(data) == {"t.phext": b"new\x17kept", "fresh.phext": b"\x17\x17\x17x"}
        assert sorted(os.listdir(data)) == ["fresh.phext", "t.phext"]

    def test_what_was_never_opened_again_is_saved_too(self, data: Path, opened: Open) -> None:
        storage = opened()
        for name in "abc":
            storage.apply(name, {ORIGIN: name.encode()})
        storage.close()
        again = opened(policy=Policy(idle=0.01), max_loaded=1)
        again.until(lambda: len(tree(data)) == 3)
        again.close()

    @pytest.mark.parametrize("policy", [Policy(idle=0.02), Policy(idle=1e6, age=0.02)])
    def test_files_are_written_after_a_while(
        self, data: Path, opened: Open, policy: Policy
    ) -> None:
        storage = opened(policy=policy)
        storage.apply("t", {ORIGIN: b"one"})
        assert tree(data) == {}
        storage.until(lambda: tree(data) == {"t.phext": b"one"})
        storage.apply("t", {ORIGIN: b"two"})
        storage.until(lambda: tree(data) == {"t.phext": b"two"})

    def test_files_are_written_past_so_much_journal(self, data: Path, opened: Open) -> None:
        storage = opened(policy=Policy(idle=1e6, age=1e6, journal=1 << 20))
        number = 0
        while not tree(data):
            number += 1
            storage.apply("t", {ORIGIN: b"%d" % number * 1000})
            assert number < 1000
        for number in range(500):
            storage.apply("t", {ORIGIN: b"x%d" % number * 5000})
        journal = [entry for entry in data.iterdir() if entry.name.startswith(".journal-")]
        assert sum(entry.stat().st_size for entry in journal) < 8 << 20

    def test_a_file_that_someone_else_changed_is_kept_beside_ours(
        self, data: Path, opened: Open
    ) -> None:
        (data / "t.phext").write_bytes(b"old")
        storage = opened(policy=Policy(idle=0.05))
        storage.apply("t", {ORIGIN: b"ours"})
        (data / "t.phext").write_bytes(b"theirs")
        storage.until(lambda: len(tree(data)) == 2)
        (kept,) = data.glob(".t.conflict-*.phext")
        assert kept.read_bytes() == b"ours"
        storage.until(lambda: storage.get("t", ORIGIN) == b"theirs")
        assert any(kept.name in line for line in storage.lines)
        storage.apply("t", {ORIGIN: b"more"})
        storage.stop()
        assert (data / "t.phext").read_bytes() == b"more"

    def test_a_file_changed_while_no_engine_ran(self, data: Path, opened: Open) -> None:
        (data / "t.phext").write_bytes(b"old")
        storage = opened()
        storage.apply("t", {ORIGIN: b"ours"})
        storage.close()
        (data / "t.phext").write_bytes(b"theirs")
        again = opened()
        assert again.get("t", ORIGIN) == b"theirs"
        (kept,) = data.glob(".t.conflict-*.phext")
        assert kept.read_bytes() == b"ours"
        again.close()
        assert opened().get("t", ORIGIN) == b"theirs"

    def test_load_keeps_what_is_unsaved(self, data: Path, opened: Open) -> None:
        (data / "t.phext").write_bytes(b"old")
        storage = opened()
        storage.apply("t", {ORIGIN: b"ours"})
        storage.run(storage.store.load("t"))
        assert storage.get("t", ORIGIN) == b"ours"
        (data / "t.phext").write_bytes(b"theirs")
        storage.run(storage.store.load("t"))
        assert storage.get("t", ORIGIN) == b"theirs"
        (kept,) = data.glob(".t.conflict-*.phext")
        assert kept.read_bytes() == b"ours"
        storage.close()
        assert opened().get("t", ORIGIN) == b"theirs"

    def test_a_removed_file_comes_back_whole(self, data: Path, opened: Open) -> None:
        (data / "t.phext").write_bytes(b"one\x17two")
        storage = opened()
        storage.apply("t", {ORIGIN: b"new"})
        (data / "t.phext").unlink()
        storage.stop()
        assert tree(data) == {"t.phext": b"new\x17two"}

    def test_damage_stops_the_phexts_it_may_concern(self, data: Path, opened: Open) -> None:
        storage = opened()
        for number in range(5):
            storage.apply("hit", {ORIGIN: b"a-text-to-be-damaged-%d" % number})
        storage.close()
        (data / "other.phext").write_bytes(b"fine")
        (segment,) = [path for path in data.glob(".journal-*") if path.stat().st_size < 1 << 20]
        content = segment.read_bytes()
        segment.write_bytes(content.replace(b"damaged-2", b"DAMAGED-2"))
        again = opened()
        with pytest.raises(Exception, match="damaged"):
            again.get("hit", ORIGIN)
        assert any("damaged" in line for line in again.lines)
        again.stop()
        assert (data / "other.phext").read_bytes() == b"fine"


class TestMemory:
    def test_least_recently_used_goes_first(self, data: Path, opened: Open) -> None:
        for name in "abc":
            (data / f"{name}.phext").write_bytes(b"old " + name.encode())
        storage = opened(max_loaded=2)
        for name in "aba":
            storage.get(name, ORIGIN)
        storage.get("c", ORIGIN)
        assert storage.store.loaded == 2
        for name in "abc":
            (data / f"{name}.phext").write_bytes(b"new " + name.encode())
        assert storage.get("a", ORIGIN) == b"old a"
        assert storage.get("c", ORIGIN) == b"old c"
        assert storage.get("b", ORIGIN) == b"new b"

    def test_what_is_unsaved_is_saved_before_it_goes(self, data: Path, opened: Open) -> None:
        storage = opened(max_loaded=1)
        for number in range(40):
            storage.apply(f"p{number}", {ORIGIN: b"%d" % number})
        storage.until(lambda: storage.store.loaded == 1)
        assert len(tree(data)) >= 39
        for number in range(40):
            assert storage.get(f"p{number}", ORIGIN) == b"%d" % number

    def test_two_names_of_one_file_are_one_document(self, data: Path, opened: Open) -> None:
        (data / "a.phext").write_bytes(b"old")
        (data / "b.phext").symlink_to("a.phext")
        storage = opened()
        assert storage.get("b", ORIGIN) == b"old"
        storage.apply("a", {ORIGIN: b"new"})
        assert storage.get("b", ORIGIN) == b"new"
        assert storage.store.loaded == 1
        assert storage.run(storage.store.totals()).scrolls == 1
        assert storage.store.names() == ["a", "b"]
        storage.settle()
        assert (data / "b.phext").is_symlink()
        (data / "a.phext").write_bytes(b"newer")
        storage.run(storage.store.load("b"))
        assert storage.get("a", ORIGIN) == b"newer"

    def test_totals_notice_changed_files(self, data: Path, opened: Open) -> None:
        (data / "a.phext").write_bytes(b"one")
        storage = opened()
        totals = storage.run(storage.store.totals())
        assert (totals.scrolls, totals.length) == (1, 3)
        (data / "a.phext").write_bytes(b"one\x17three")
        totals = storage.run(storage.store.totals())
        assert (totals.scrolls, totals.length) == (2, 9)
        assert storage.store.loaded == 0

    def test_large_files_are_read_in_steps_once_for_all_who_wait(
        self, data: Path, opened: Open
    ) -> None:
        (data / "t.phext").write_bytes(b"\x18".join([b"x" * 1000] * 900))
        reads: list[int] = []

        class Counting(Disk):
            def read(self, fd: int, count: int) -> bytes:
                if count > 100_000:
                    reads.append(count)
                return super().read(fd, count)

        storage = opened(disk=Counting())
        with pytest.raises(Unloaded) as caught:
            storage.store.open("t")
        ends = []
        for number in range(3):

            def job(number: int = number) -> Any:
                yield from storage.store.loading(caught.value)
                ends.append(number)

            storage.storage.turns.run(job())
        storage.until(lambda: len(ends) == 3)
        assert storage.store.open("t").document.count == 900
        assert reads.count(900_900) == 1

    def test_versions_are_bounded_and_readers_of_one_share_it(
        self, data: Path, opened: Open
    ) -> None:
        storage = opened()
        readers = []
        for number in range(MAX_VERSIONS):
            storage.apply("t", {ORIGIN: b"%d" % number})
            readers.append(storage.run(storage.store.snapshot("t"))[0])
        assert storage.run(storage.store.snapshot("t"))[0] is readers[-1]
        storage.apply("t", {ORIGIN: b"newest"})
        job = storage.store.snapshot("t")
        gate = next(job)
        assert gate is not None
        opened_gates: list[bool] = []
        gate.wait(lambda: opened_gates.append(True))
        assert not opened_gates
        del readers[0]
        assert opened_gates
        snapshot, _group = storage.run(job)
        assert b"".join(snapshot.pieces()) == b"newest"


class TestBounds:
    def test_writes_wait_while_much_is_not_yet_on_its_way(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = opened()
        monkeypatch.setattr(store, "_MOST_PENDING", 10_000)
        api = Api(storage.store, Reading(False))
        target = b"/api/v2/insert?p=t&c=1.1.1/1.1.1/1.1.1"
        made = [api.answer(Request(b"POST", target, b"x" * 6000, n, [])) for n in range(9)]
        assert [isinstance(each, Answer) for each in made] == [True] * 2 + [False] * 7
        for each in made[2:]:
            assert not isinstance(each, Answer)
            answer = storage.run(each)
            assert answer.body == b"Inserted 6000 bytes"
            assert storage.durable(answer.after) is None
        assert storage.get("t", ORIGIN) == b"x" * 54_000

    def test_an_error_while_changing_is_undone(self, opened: Open) -> None:
        storage = opened(max_phext=10)
        storage.apply("t", {ORIGIN: b"text"})
        with pytest.raises(PhextTooLargeError, match="10 allowed"):
            storage.apply("t", {ORIGIN: b"x" * 11, ORIGIN + 1: b"y"})
        assert list(storage.open("t").document.snapshot().items()) == [(ORIGIN, b"text")]

    @pytest.mark.parametrize("saved", [True, False])
    def test_quota_counts_phexts_as_they_will_be_and_other_files(
        self, data: Path, opened: Open, saved: bool
    ) -> None:
        (data / "other").write_bytes(b"x" * 1000)
        storage = opened(quota=3000)
        storage.apply("t", {ORIGIN: b"a" * 1000})
        storage.apply("u", {ORIGIN: b"a" * 900})
        if saved:
            storage.settle()
        with pytest.raises(OverQuotaError) as caught:
            storage.apply("u", {ORIGIN: b"a" * 1001})
        assert (caught.value.size, caught.value.quota) == (3001, 3000)
        with pytest.raises(OverQuotaError):
            storage.apply("v", {ORIGIN: b"a" * 101})
        assert storage.store.names() == ["t", "u"]
        storage.apply("u", {ORIGIN: b"a" * 1000})
        with pytest.raises(OverQuotaError):
            storage.apply("t", {ORIGIN + 1: b"a"})
        storage.apply("t", {ORIGIN: b"a" * 500})
        storage.apply("v", {ORIGIN: b"a" * 500})

    def test_over_quota_what_shrinks_still_works(self, data: Path, opened: Open) -> None:
        (data / "t.phext").write_bytes(b"a" * 2000)
        storage = opened(quota=1000)
        storage.apply("t", {ORIGIN: b"b" * 1999})
        with pytest.raises(OverQuotaError):
            storage.apply("t", {ORIGIN: b"b" * 2000})
        storage.apply("t", {ORIGIN: b""})
        storage.apply("t", {ORIGIN: b"b" * 1000})


def test_nothing_is_saved_by_itself_in_these_tests() -> None:
    assert NEVER.due(0.0, 0.0) > 1e5


def test_side_files_of_a_killed_engine_go_when_the_journal_is_read(
    data: Path, opened: Open
) -> None:
    (data / ".sqsuper-journal-0000000100000002.tmp").write_bytes(b"half")
    opened()
    assert os.listdir(data) == []


class TestSaving:
    def test_pieces_are_joined_up_to_a_size_and_a_number(self) -> None:
        tiny, large = [b"x"] * 20, b"y" * (1 << 18)
        sizes = [len(piece) for piece in saving.gathered([*tiny, large, *tiny[:3]])]
        assert sizes == [8, 8, 4, 1 << 18, 3]

    def test_what_is_handed_is_written_once(self) -> None:
        handed = saving.Handed()
        handed.piece = b"x"
        assert list(handed) == [b"x"]
        assert list(handed) == []
