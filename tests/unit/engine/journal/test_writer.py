"""The writer: groups, segments, checkpoints, failures, and what goes when."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from sqsuper.engine.journal.errors import PoisonedError
from sqsuper.engine.journal.recovery import recover
from sqsuper.engine.journal.writer import Journal
from tests.crash.disk import DIRECTORY, SimulatedDisk
from tests.unit.engine.journal.support import (
    K1,
    K2,
    NEW,
    OLD,
    OTHER,
    A,
    B,
    checkpoint,
    commit,
    disk_with,
    fail,
    opened,
    put,
    reread,
    segments,
    texts,
)


def prepare(journal: Journal) -> None:
    job = journal.preparation()
    assert job is not None
    job.run()
    journal.finish(job)


def clear(journal: Journal) -> list[bytes]:
    job = journal.removal()
    if job is None:
        return []
    job.run()
    journal.finish(job)
    return job.removed


def failing(kind: str) -> Callable[[str, int], int]:
    return lambda called, count: errno.ENOSPC if called == kind else 0


def filled(journal: Journal, place: bytes, room: int = 0) -> None:
    """Fill the current segment up, but for `room` bytes."""
    left = journal._files.segments[-1].room - room - 200
    if left > 0:
        put(journal, (place, K2, b"f" * left))


class TestGroups:
    def test_nothing_is_on_disk_before_the_first_write(self) -> None:
        disk = disk_with({A: b"old"})
        journal = opened(disk, A)
        assert journal.seal() is None
        assert list(disk.files()) == [A]
        assert journal.close(remove=True)

    def test_one_sync_makes_all_requests_of_a_turn_durable(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B)
        put(journal, (A, K1, b"0"))
        numbers = {journal.append([(A, K1, b"1")]), journal.append([(B, K1, b"2"), (A, K2, b"")])}
        before = len(disk.log)
        group = commit(journal)
        assert numbers == {group.number} == {journal.durable}
        kinds = [line.split()[1] for line in disk.log[before:]]
        assert kinds.count("fdatasync") == 1
        assert set(kinds) == {"pwrite", "fdatasync"}
        assert texts(reread(disk)) == {A: {K1: b"1", K2: b""}, B: {K1: b"2"}}

    def test_the_next_group_waits_for_the_one_before(self) -> None:
        journal = opened(disk_with(), A)
        first = journal.append([(A, K1, b"1")])
        group = journal.seal()
        assert group is not None
        assert group.number == first
        assert journal.append([(A, K1, b"2")]) == first + 1
        assert journal.seal() is None
        assert journal.pending_bytes > 0
        journal.write(group)
        assert journal.durable < first
        journal.done(group)
        assert commit(journal).number == first + 1
        assert journal.pending_bytes == 0

    def test_an_unopened_phext_is_a_mistake(self) -> None:
        with pytest.raises(KeyError):
            opened(disk_with()).append([(A, K1, b"1")])

    def test_files_are_private_hidden_and_whole(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"1"))
        (name,) = segments(disk)
        assert disk.lstat(name, DIRECTORY).st_mode & 0o777 == 0o600
        assert name.startswith(b".")
        assert set(disk.files()) == {name}


class TestSegments:
    def test_a_prepared_one_is_used_when_the_first_is_full(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        assert journal.preparation() is None  # too early
        filled(journal, A, 100)
        prepare(journal)
        assert journal.preparation() is None  # there is one
        before = len(disk.log)
        group = put(journal, (A, K1, b"2" * 300))
        assert group.segment.name == segments(disk)[1]
        assert "create" not in [line.split()[1] for line in disk.log[before:]]
        assert texts(reread(disk))[A][K1] == b"2" * 300

    def test_without_one_a_group_brings_its_own(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        put(journal, (A, K1, b"2" * 100_000))
        put(journal, (A, K2, b"3"))
        assert len(segments(disk)) == 2
        assert texts(reread(disk)) == {A: {K1: b"2" * 100_000, K2: b"3"}}

    def test_one_that_was_prepared_too_late_is_dropped(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        filled(journal, A)
        job = journal.preparation()
        assert job is not None
        put(journal, (A, K1, b"2" * 5000))
        job.run()
        journal.finish(job)
        put(journal, (A, K2, b"3"))
        assert texts(reread(disk))[A][K2] == b"3"
        assert clear(journal) == [job.segment.name]

    def test_failing_to_prepare_harms_nothing(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        filled(journal, A)
        for kind in ("create", "write", "fsync", "rename"):
            job = journal.preparation()
            assert job is not None
            disk.fail = failing(kind)
            with pytest.raises(OSError, match="space"):
                job.run()
            disk.fail = lambda called, count: 0
            journal.finish(job)
            assert not [name for name in disk.files() if name.endswith(b".tmp")]
        put(journal, (A, K1, b"2" * 1000))
        assert texts(reread(disk))[A][K1] == b"2" * 1000

    def test_they_go_from_the_oldest_on_once_all_in_them_is_checkpointed(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B, segment_bytes=4096)
        put(journal, (A, K1, b"1"), (B, K1, b"1"))
        filled(journal, A)
        put(journal, (A, K1, b"2" * 300))
        first, second = segments(disk)
        assert set(journal.oldest()) == {A, B}
        checkpoint(journal, A, NEW)
        assert journal.oldest() == [B]
        assert clear(journal) == []
        up_to = journal.begin_checkpoint(B)
        journal.target(B, up_to, NEW)
        commit(journal)
        journal.checkpointed(B, up_to, NEW)
        assert clear(journal) == []  # the record is not durable yet
        commit(journal)
        assert clear(journal) == [first]
        # The last one stays.
        assert segments(disk) == [second]
        assert clear(journal) == []
        assert texts(reread(disk)) == {}
        put(journal, (B, K1, b"after"))
        found = reread(disk)
        assert texts(found) == {B: {K1: b"after"}}
        assert found.phexts[B].known == [NEW]

    def test_a_target_of_older_writes_does_not_release_newer_ones(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        up_to = journal.begin_checkpoint(A)
        put(journal, (A, K1, b"2"))
        journal.target(A, up_to, NEW)
        commit(journal)
        journal.checkpointed(A, up_to, NEW)
        commit(journal)
        put(journal, (A, K2, b"3" * 9000))
        assert len(segments(disk)) == 2
        assert journal.oldest() == [A]
        assert clear(journal) == []

    def test_a_file_taken_over_releases_what_was_before_it_and_no_more(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        put(journal, (A, K1, b"2" * 9000))
        journal.opened(A, OTHER)
        put(journal, (A, K2, b"3"))
        put(journal, (A, K2, b"4" * 9000))
        first, second, third = segments(disk)
        assert clear(journal) == [first]
        assert segments(disk) == [second, third]

    def test_a_removal_that_fails_is_tried_again_in_the_same_order(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, segment_bytes=4096)
        for _ in range(3):
            put(journal, (A, K1, b"1" * 9000))
        checkpoint(journal, A, NEW)
        files = segments(disk)
        job = journal.removal()
        assert job is not None
        assert journal.removal() is None  # one at a time
        disk.fail = lambda kind, count: errno.EIO if kind == "fsync" else 0
        with pytest.raises(OSError, match="error"):
            job.run()
        disk.fail = lambda kind, count: 0
        journal.finish(job)
        assert segments(disk) == files[1:]
        assert clear(journal) == files[: len(files) - 1]

    def test_close_leaves_nothing_or_everything(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        assert not journal.close(remove=True)
        assert texts(reread(disk)) == {A: {K1: b"1"}}
        journal = opened(disk)
        checkpoint(journal, A, NEW)
        assert journal.close(remove=True)
        assert disk.files() == {}
        assert disk.open_files == 0


class TestCheckpoints:
    def test_what_came_after_its_beginning_stays_unsaved(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        up_to = journal.begin_checkpoint(A)
        put(journal, (A, K2, b"2"))
        journal.target(A, up_to, NEW)
        commit(journal)
        assert journal.unsaved(A) == {K1, K2}
        journal.checkpointed(A, up_to, NEW)
        commit(journal)
        assert journal.unsaved(A) == {K2}
        assert texts(reread(disk)) == {A: {K2: b"2"}}
        assert journal.unsaved_places() == [A]

    def test_what_was_pending_or_on_its_way_then_is_not_forgotten(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"0"))
        journal.append([(A, K1, b"1")])
        group = journal.seal()
        assert group is not None
        journal.append([(A, K2, b"2")])
        up_to = journal.begin_checkpoint(A)
        assert up_to == group.number
        journal.write(group)
        journal.done(group)
        journal.append([(A, K2, b"3")])
        journal.target(A, up_to, NEW)
        commit(journal)
        journal.checkpointed(A, up_to, NEW)
        commit(journal)
        assert journal.unsaved(A) == {K1, K2}
        assert texts(reread(disk)) == {A: {K2: b"3"}}

    def test_an_abandoned_one_leaves_all_unsaved(self) -> None:
        journal = opened(disk_with(), A)
        put(journal, (A, K1, b"1"))
        journal.begin_checkpoint(A)
        journal.abandon_checkpoint(A)
        assert journal.unsaved(A) == {K1}

    def test_size_and_unsaved_bytes(self) -> None:
        journal = opened(disk_with(), A)
        assert (journal.size, journal.unsaved_bytes) == (0, 0)
        put(journal, (A, K1, b"1" * 1000))
        assert journal.size >= 4096
        assert journal.unsaved_bytes >= 1000
        checkpoint(journal, A, NEW)
        assert journal.unsaved_bytes == 0

    def test_a_dropped_phext_comes_back_with_another_file(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        journal.forget(A)
        assert journal.unsaved(A) == {K1}  # not while it is unsaved
        checkpoint(journal, A, NEW)
        journal.forget(A)
        journal.opened(A, OTHER)
        put(journal, (A, K2, b"2"))
        found = reread(disk)
        assert found.phexts[A].known == [OTHER]
        assert texts(found) == {A: {K2: b"2"}}

    def test_also_when_it_was_dropped_before_its_last_record_was_sealed(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        up_to = checkpoint(journal, A, NEW, recorded=False)
        journal.checkpointed(A, up_to, NEW)
        journal.forget(A)
        commit(journal)
        journal.opened(A, OTHER)
        put(journal, (A, K2, b"2"))
        assert reread(disk).phexts[A].known == [OTHER]

    def test_a_checkpoint_of_a_saved_phext_is_remembered_by_a_fresh_journal(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        checkpoint(journal, A, NEW, recorded=False)
        group = journal.fresh({})
        journal.write(group)
        journal.done(group)
        put(journal, (A, K1, b"1"))
        assert set(reread(disk).phexts[A].known) == {OLD, NEW}


class TestFailure:
    @pytest.mark.parametrize("kind", ["pwrite", "fdatasync"])
    def test_nothing_is_taken_until_a_fresh_journal_is_durable(self, kind: str) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        journal.append([(A, K1, b"2")])
        fail(journal, disk, kind)
        for refused in (
            lambda: journal.append([(A, K1, b"3")]),
            lambda: journal.opened(B, OLD),
            lambda: journal.target(A, 1, NEW),
        ):
            with pytest.raises(PoisonedError) as caught:
                refused()
            assert caught.value.error is journal.poison
        assert journal.seal() is None
        assert not journal.close(remove=True)
        with pytest.raises(ValueError, match=r"a\.phext"):
            journal.fresh({})
        group = journal.fresh({A: {K1: b"1"}})
        with pytest.raises(PoisonedError):
            journal.append([(A, K1, b"3")])
        journal.write(group)
        journal.done(group)
        put(journal, (A, K2, b"3"))
        assert texts(reread(disk)) == {A: {K1: b"1", K2: b"3"}}
        clear(journal)
        assert segments(disk) == [group.segment.name]

    def test_what_was_pending_falls_with_it(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        journal.append([(A, K1, b"2")])
        group = journal.seal()
        assert group is not None
        journal.append([(A, K1, b"3")])
        journal.failed(group, OSError(errno.EIO, "x"))
        assert journal.pending_bytes == 0

    def test_nothing_old_goes_before_the_new_is_durable(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        for _ in range(2):
            group = journal.fresh({A: {K1: b"1"}})
            assert clear(journal) == []
            disk.fail = lambda kind, count: errno.ENOSPC if kind == "write" else 0
            with pytest.raises(OSError, match="space") as caught:
                journal.write(group)
            disk.fail = lambda kind, count: 0
            journal.failed(group, caught.value)
            assert clear(journal) == []
        assert texts(reread(disk)) == {A: {K1: b"1"}}

    def test_a_checkpoint_that_began_before_ends(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        up_to = journal.begin_checkpoint(A)
        group = journal.fresh({A: {K1: b"1"}})
        journal.write(group)
        journal.done(group)
        with pytest.raises(ValueError, match=r"a\.phext"):
            journal.target(A, up_to, NEW)

    def test_not_while_a_group_is_being_written(self) -> None:
        journal = opened(disk_with(), A)
        journal.append([(A, K1, b"1")])
        journal.seal()
        with pytest.raises(ValueError, match=r"\[\]"):
            journal.fresh({A: {K1: b"1"}})

    def test_nothing_old_goes_before_what_it_holds_was_carried_over(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"1"))
        disk.restart()
        journal = Journal(disk, DIRECTORY, recover(disk, DIRECTORY))
        assert journal.removal() is None
        assert not journal.close(remove=True)
        assert texts(reread(disk)) == {A: {K1: b"1"}}

    def test_a_start_that_fails_can_be_tried_again(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"1"))
        disk.restart()
        journal = Journal(disk, DIRECTORY, recover(disk, DIRECTORY))
        disk.fail = lambda kind, count: errno.ENOSPC if kind == "create" else 0
        with pytest.raises(OSError, match="space"):
            journal.start()
        disk.fail = lambda kind, count: 0
        assert texts(reread(disk)) == {A: {K1: b"1"}}
        journal.start()
        assert journal.poison is None
        assert len(segments(disk)) == 1
        assert texts(reread(disk)) == {A: {K1: b"1"}}


def test_numbers_and_files_are_never_used_twice() -> None:
    disk = disk_with()
    seen: set[bytes] = set()
    last = 0
    for life in range(4):
        journal = opened(disk, A) if life == 0 else opened(disk)
        for _ in range(3):
            group = put(journal, (A, K1, b"%d" % life))
            assert group.number > last
            last = group.number
        assert not seen & set(segments(disk))
        seen |= set(segments(disk))
        disk = SimulatedDisk(disk.random, disk.files())
