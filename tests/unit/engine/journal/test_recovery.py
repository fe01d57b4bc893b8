"""Recovery of whole, cut and damaged journals: never wrong data, torn or damaged by the rule."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from sqsuper.engine.disk import Disk
from sqsuper.engine.journal import format as form
from sqsuper.engine.journal.errors import RecordError, StoppedError, VersionError
from sqsuper.engine.journal.group import Group
from sqsuper.engine.journal.recovery import NOTHING_KEPT, Recovered, recover
from sqsuper.engine.journal.writer import Journal
from tests.crash.disk import DIRECTORY, SimulatedDisk
from tests.unit.engine.journal.support import (
    K1,
    K2,
    K3,
    NEW,
    OLD,
    OTHER,
    A,
    B,
    C,
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

State = dict[bytes, dict[int, bytes]]


class Sample:
    """A journal of some groups in three segments, with a checkpoint of B up to its middle.

    `groups`: (file, first byte, end, what is unsaved once it is durable) in order.
    """

    def __init__(self) -> None:
        self.disk = disk_with()
        self.groups: list[tuple[bytes, int, int, State]] = []
        self.unsaved: State = {A: {}, B: {}, C: {}}
        self.journal = journal = opened(self.disk, A, B, C, segment_bytes=4096)
        self._put((A, K1, b"a1"), (B, K1, b"b1"))
        self._put((A, K2, b"a2"))
        self._put((B, K2, b"b2" * 30), (A, K1, b""))
        up_to = journal.begin_checkpoint(B)
        journal.target(B, up_to, NEW)
        self._note(commit(journal))
        self._put((B, K3, b"later"))
        journal.checkpointed(B, up_to, NEW)
        del self.unsaved[B][K1], self.unsaved[B][K2]
        self._note(commit(journal))
        self._put((A, K3, b"x" * 5600))
        self._prepare()
        self._put((A, K3, b"y" * 2000))
        self._put((A, K2, b"also there"))
        self._prepare()
        self._put((A, K3, b"z" * 2500))
        self._put((A, K2, b"again"), (B, K1, b"new"))
        self._put((A, K3, b"short"))
        self._put((B, K2, b"last"))
        assert len({file for file, *_ in self.groups}) == 3
        self.files = self.disk.files()

    def _prepare(self) -> None:
        preparation = self.journal.preparation()
        assert preparation is not None
        preparation.run()
        self.journal.finish(preparation)

    def _put(self, *changes: tuple[bytes, int, bytes]) -> None:
        group = put(self.journal, *changes)
        for place, key, text in changes:
            self.unsaved[place][key] = text
        self._note(group)

    def _note(self, group: Group) -> None:
        state = {place: dict(found) for place, found in self.unsaved.items() if found}
        end = group.offset + group.size
        self.groups.append((group.segment.name, group.offset, end, state))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


def stopped(recovered: Recovered, *places: bytes) -> set[bytes]:
    return {place for place in places if not recovered.is_served(place)}


def test_a_whole_journal(sample: Sample) -> None:
    found = reread(sample.disk)
    assert texts(found) == sample.groups[-1][3]
    assert (found.damage, found.torn, found.ignored) == ([], [], [])
    assert found.phexts[A].known == [OLD]
    assert found.phexts[B].known == [NEW]
    assert found.number == len(sample.groups) + 1
    assert found.kept == NOTHING_KEPT
    assert found.void == segments(sample.disk)


def test_nothing_there() -> None:
    found = reread(disk_with({A: b"text"}))
    assert (texts(found), found.damage, found.torn, found.void) == ({}, [], [], [])
    assert found.is_served(A)


def test_every_flipped_byte(sample: Sample) -> None:
    last = len(sample.groups) - 1
    for file in segments(sample.disk):
        whole = sample.files[file]
        for position in range(len(whole)):
            if position % 16 and not any(whole[position - 16 : position + 16]):
                continue  # of long runs of zeros some are enough
            changed = bytearray(whole)
            changed[position] ^= 0xFF if position % 2 else 0x01
            found = reread(sample.disk, {**sample.files, file: bytes(changed)})
            hit = [
                number
                for number, (name, start, end, _state) in enumerate(sample.groups)
                if name == file and start <= position < end
            ]
            where = (file, position)
            if not hit:
                # A header, of which there are two, or zeros
                assert texts(found) == sample.groups[-1][3], where
                assert not found.damage, where
            elif hit == [last]:
                assert texts(found) == sample.groups[-2][3], where
                assert not found.damage, where
                assert [(torn.file.encode(), torn.offset) for torn in found.torn] == [
                    (file, sample.groups[last][1])
                ], where
            else:
                self_number = hit[0] + 1
                (damage,) = found.damage
                assert (damage.first, damage.last) == (self_number, self_number), where
                assert (damage.file.encode(), damage.offset) == (file, sample.groups[hit[0]][1])
                # B was checkpointed up to group 3: it lacks nothing of what was before.
                saved = {B} if self_number <= 3 else set()
                assert stopped(found, A, B, C) == {A, B} - saved, where
                assert texts(found) == {
                    place: wanted
                    for place, wanted in sample.groups[-1][3].items()
                    if place in saved
                }, where


def test_every_truncation(sample: Sample) -> None:
    files = segments(sample.disk)
    for file in files:
        whole = sample.files[file]
        for length in range(len(whole)):
            if length % 16 and not any(whole[length - 16 : length + 16]):
                continue
            found = reread(sample.disk, {**sample.files, file: whole[:length]})
            lost = [
                number
                for number, (name, _start, end, _state) in enumerate(sample.groups)
                if name == file and end > length
            ]
            if length < form.HEADER_BYTES:
                # Neither header is left, so nobody knows what was in it.
                assert stopped(found, A, B, C) == {A, B, C}
            elif not lost:
                assert texts(found) == sample.groups[-1][3]
                assert not found.damage
            elif file == files[-1]:
                assert not found.damage
                assert texts(found) == sample.groups[lost[0] - 1][3]
            else:
                (damage,) = found.damage
                assert (damage.first, damage.last) == (lost[0] + 1, lost[-1] + 1)


def test_a_segment_that_is_missing_in_the_middle_is_damage(sample: Sample) -> None:
    files = segments(sample.disk)
    assert len(files) == 3
    rest = {name: data for name, data in sample.files.items() if name != files[1]}
    found = reread(sample.disk, rest)
    assert len(found.damage) == 1
    # Who was named in the first of two lost groups, no group behind them tells.
    assert stopped(found, A, B, C) == {A, B, C}


class TestDamage:
    def damaged(self, disk: SimulatedDisk, group: Group) -> SimulatedDisk:
        files = disk.files()
        data = bytearray(files[group.segment.name])
        data[group.offset + 20] ^= 1
        files[group.segment.name] = bytes(data)
        return SimulatedDisk(Random(3), files)

    def test_zeroed_frames_are_damage_too(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        first = put(journal, (A, K1, b"1"))
        put(journal, (A, K1, b"2"))
        files = disk.files()
        data = bytearray(files[first.segment.name])
        data[first.offset : first.offset + first.size] = bytes(first.size)
        found = reread(disk, {**files, first.segment.name: bytes(data)})
        assert [(damage.first, damage.last) for damage in found.damage] == [(1, 1)]

    def test_only_what_may_be_lost_stops_and_says_where(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B, C)
        put(journal, (A, K1, b"1"))
        lost = put(journal, (A, K1, b"2"))
        put(journal, (B, K1, b"b"))
        checkpoint(journal, B, NEW)
        put(journal, (B, K2, b"b2"))
        found = recover(self.damaged(disk, lost), DIRECTORY)
        assert stopped(found, A, B, C) == {A}
        assert texts(found) == {B: {K2: b"b2"}}
        with pytest.raises(StoppedError) as caught:
            found.check(A)
        damage = caught.value.damage
        assert damage.file in str(caught.value)
        assert str(damage.offset) in str(caught.value)
        assert (damage.file, damage.offset) == (lost.segment.name.decode(), lost.offset)

    def test_a_checkpoint_of_before_the_damage_does_not_spare(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B)
        put(journal, (B, K1, b"b"))
        up_to = journal.begin_checkpoint(B)
        lost = put(journal, (A, K1, b"a"))
        journal.target(B, up_to, NEW)
        commit(journal)
        journal.checkpointed(B, up_to, NEW)
        commit(journal)
        found = recover(self.damaged(disk, lost), DIRECTORY)
        # Nobody can tell that the lost group held nothing of B.
        assert stopped(found, A, B) == {A, B}

    def test_a_phext_that_only_the_lost_group_named_stops(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B, C)
        put(journal, (A, K1, b"a"))
        lost = put(journal, (B, K1, b"b"))
        put(journal, (A, K1, b"a2"))
        found = recover(self.damaged(disk, lost), DIRECTORY)
        assert stopped(found, A, B, C) == {A, B}

    def test_when_more_than_one_group_is_lost_all_unnamed_phexts_stop(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B)
        put(journal, (A, K1, b"a"))
        lost = put(journal, (B, K1, b"b"))
        also_lost = put(journal, (A, K1, b"a2"))
        put(journal, (A, K1, b"a3"))
        found = recover(self.damaged(self.damaged(disk, lost), also_lost), DIRECTORY)
        assert [(damage.first, damage.last) for damage in found.damage] == [(2, 3)]
        assert stopped(found, A, B, C) == {A, B, C}

    def test_nothing_is_touched_and_the_others_go_on_over_many_starts(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B)
        put(journal, (A, K1, b"1"))
        lost = put(journal, (A, K1, b"2"))
        put(journal, (B, K1, b"b"))
        checkpoint(journal, B, NEW)
        put(journal, (B, K2, b"b2"))
        disk = self.damaged(disk, lost)
        evidence = disk.files()
        for life in range(4):
            found = recover(disk, DIRECTORY)
            assert stopped(found, A, B, C) == {A}
            journal = Journal(disk, DIRECTORY, found)
            journal.start()
            if life == 0:
                assert texts(found) == {B: {K2: b"b2"}}
            if B not in found.phexts or not found.phexts[B].texts:
                journal.opened(B, NEW)
            journal.opened(C, OLD)
            put(journal, (C, K1, b"c%d" % life), (B, K3, b"b%d" % life))
            again = recover(disk, DIRECTORY)
            assert texts(again)[C] == {K1: b"c%d" % life}
            assert texts(again)[B][K3] == b"b%d" % life
            assert stopped(again, A, B, C) == {A}
            if life >= 1:
                # A clean stop: what was damaged stays, and what was saved does not come back.
                for place in (B, C):
                    checkpoint(journal, place, NEW)
                assert journal.close(remove=True)
                assert texts(recover(disk, DIRECTORY)) == {}
                # nor after a start that writes nothing
                Journal(disk, DIRECTORY, recover(disk, DIRECTORY)).start()
                assert texts(recover(disk, DIRECTORY)) == {}
            assert {name: disk.files()[name] for name in evidence} == evidence
            disk.restart()
        for name in segments(disk):
            disk.unlink(name, DIRECTORY)
        assert recover(disk, DIRECTORY).is_served(A)

    def test_of_a_void_journal_counts_no_more(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"1"))
        lost = put(journal, (A, K1, b"2"))
        put(journal, (A, K1, b"3"))
        remains = self.damaged(disk, lost).files()
        opened(disk)
        assert lost.segment.name not in disk.files()
        found = reread(disk, {**remains, **disk.files()})
        assert not found.damage
        assert texts(found) == {A: {K1: b"3"}}

    def test_phexts_that_only_the_lost_first_group_of_a_journal_named(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"1"))
        journal = opened(disk)  # carries A over
        carried = journal._files.segments[0]
        journal.opened(B, OLD)
        put(journal, (B, K1, b"b"))
        files = disk.files()
        data = bytearray(files[carried.name])
        data[form.HEADER_BYTES + 30] ^= 1
        found = reread(disk, {**files, carried.name: bytes(data)})
        assert len(found.damage) == 1
        assert stopped(found, A, B, C) == {A, B}

    def test_at_the_beginning_of_the_first_segment_left(self) -> None:
        disk = disk_with()
        journal = opened(disk, A, B, segment_bytes=4096)
        put(journal, (A, K1, b"1"))
        put(journal, (A, K1, b"1" * 6600))
        preparation = journal.preparation()
        assert preparation is not None
        preparation.run()
        journal.finish(preparation)
        lost = put(journal, (A, K1, b"2" * 2000))
        assert lost.segment is preparation.segment
        checkpoint(journal, A, NEW)
        removal = journal.removal()
        assert removal is not None
        removal.run()
        journal.finish(removal)
        assert segments(disk) == [lost.segment.name]
        put(journal, (B, K1, b"b"))
        found = recover(self.damaged(disk, lost), DIRECTORY)
        # How many groups are lost is not known: before it there may have been others.
        assert [(damage.first, damage.last) for damage in found.damage] == [(None, lost.number)]
        assert stopped(found, A, B, C) == {B, C}

    def test_a_segment_with_both_headers_lost_stops_everything(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"a"))
        (name,) = segments(disk)
        data = bytearray(disk.files()[name])
        data[20] ^= 1
        assert texts(reread(disk, {name: bytes(data)})) == {A: {K1: b"a"}}
        data[-20] ^= 1
        found = reread(disk, {name: bytes(data)})
        assert stopped(found, A, B) == {A, B}

    def test_texts_carried_over_from_an_older_journal_were_whole(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"a"))
        opened(disk)  # carries it
        (name,) = segments(disk)
        data = bytearray(disk.files()[name])
        data[form.HEADER_BYTES + 30] ^= 1
        zeroed = bytes(len(data) - 2 * form.HEADER_BYTES)
        data_without = data[: form.HEADER_BYTES] + zeroed + data[-form.HEADER_BYTES :]
        for changed in (data, data_without):
            found = reread(disk, {name: bytes(changed)})
            assert stopped(found, A, B) == {A, B}


class TestTorn:
    def test_half_a_group_is_cut_told_and_gone_for_good(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"kept"))
        group = put(journal, (A, K1, b"torn" * 100))
        files = disk.files()
        data = bytearray(files[group.segment.name])
        start = group.offset + 200
        data[start : group.offset + group.size] = bytes(group.size - 200)
        disk = SimulatedDisk(Random(4), {group.segment.name: bytes(data)})
        found = recover(disk, DIRECTORY)
        assert texts(found) == {A: {K1: b"kept"}}
        (torn,) = found.torn
        assert (torn.file, torn.offset) == (group.segment.name.decode(), group.offset)
        assert 190 <= torn.bytes <= 200
        assert str(torn.bytes) in str(torn)
        put(opened(disk), (A, K2, b"next"))
        found = recover(disk, DIRECTORY)
        assert texts(found) == {A: {K1: b"kept", K2: b"next"}}
        assert not found.torn

    def test_a_failed_group_does_not_come_back_after_a_fresh_journal(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"acknowledged"))
        journal.append([(A, K1, b"failed"), (A, K2, b"failed")])
        fail(journal, disk)
        # Until then it may: nobody can tell whether it was written.
        assert texts(reread(disk)) == {A: {K1: b"failed", K2: b"failed"}}
        old = disk.files()
        group = journal.fresh({A: {K1: b"acknowledged", K2: b""}})
        journal.write(group)
        journal.done(group)
        put(journal, (A, K3, b"more"))
        wanted = {A: {K1: b"acknowledged", K2: b"", K3: b"more"}}
        assert texts(reread(disk)) == wanted
        # Not even with the old segment whole, or in part, or without it.
        for name in old:
            rest = {kept: data for kept, data in disk.files().items() if kept != name}
            assert texts(reread(disk, rest)) == wanted


class TestOtherFiles:
    def test_none_of_them_harms(self, tmp_path: Path) -> None:
        (tmp_path / ".journal-0000000000000001").mkdir()
        (tmp_path / ".journal-0000000000000002").symlink_to("nowhere")
        (tmp_path / ".journal-0000000000000003").write_bytes(b"")
        (tmp_path / ".journal-0000000000000004").write_bytes(b"my diary\n" * 100)
        (tmp_path / ".journal-0000000000000005").write_bytes(bytes(8192))
        (tmp_path / ".journal-0000000000000006").symlink_to("/etc/passwd")
        os.mkfifo(tmp_path / ".journal-0000000000000007")
        (tmp_path / ".journal-notes").write_bytes(b"x")
        (tmp_path / ".journal-").write_bytes(b"x")
        before = sorted(os.listdir(tmp_path))
        disk = Disk()
        directory = disk.open_root(str(tmp_path))
        try:
            found = recover(disk, directory)
            assert found.ignored == [b".journal-%016x" % number for number in range(1, 8)]
            assert found.is_served(A)
            journal = Journal(disk, directory, found)
            journal.start()
            journal.opened(A, OLD)
            put(journal, (A, K1, b"a"))
            assert texts(recover(disk, directory)) == {A: {K1: b"a"}}
            checkpoint(journal, A, NEW)
            assert journal.close(remove=True)
        finally:
            os.close(directory)
        assert sorted(os.listdir(tmp_path)) == before

    def test_a_copy_of_a_segment_is_not_ours(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"a"))
        (name,) = segments(disk)
        copy = b".journal-00000009" + name[-8:]
        found = reread(disk, {**disk.files(), copy: disk.files()[name]})
        assert found.ignored == [copy]
        assert texts(found) == {A: {K1: b"a"}}
        # and its name is not taken by the next one
        assert found.generation >= 9

    def test_another_version_is_refused_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = disk_with()
        monkeypatch.setattr(form, "VERSION", 7)
        put(opened(disk, A), (A, K1, b"a"))
        monkeypatch.undo()
        before = disk.files()
        with pytest.raises(VersionError, match="version 7") as caught:
            recover(disk, DIRECTORY)
        assert caught.value.version == 7
        assert caught.value.file in str(caught.value)
        assert disk.files() == before

    def test_an_unknown_record_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        journal._pending.add((b"\x63\0\0\0\0",), 5)
        commit(journal)
        with pytest.raises(RecordError):
            recover(disk, DIRECTORY)

    def test_a_disk_that_cannot_be_read_is_no_empty_journal(self) -> None:
        disk = disk_with()
        put(opened(disk, A), (A, K1, b"a"))
        disk.fail = lambda kind, count: errno.EIO if kind == "read" else 0
        with pytest.raises(OSError, match="error"):
            recover(disk, DIRECTORY)


class TestFiles:
    """Which files of a phext are ours."""

    def test_the_one_before_a_checkpoint_and_the_one_it_was_to_leave(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"a"))
        checkpoint(journal, A, NEW, recorded=False)
        assert reread(disk).phexts[A].known == [OLD, NEW]
        opened(disk)
        assert set(reread(disk).phexts[A].known) == {OLD, NEW}

    def test_only_the_new_one_once_it_is_recorded(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"a"))
        checkpoint(journal, A, NEW)
        put(journal, (A, K2, b"b"))
        found = reread(disk)
        assert found.phexts[A].known == [NEW]
        assert texts(found) == {A: {K2: b"b"}}

    def test_absent_is_one_too(self) -> None:
        disk = disk_with()
        journal = opened(disk)
        journal.opened(A, None)
        put(journal, (A, K1, b"a"))
        assert reread(disk).phexts[A].known == [None]

    def test_someone_elses_voids_what_was_before(self) -> None:
        disk = disk_with()
        journal = opened(disk, A)
        put(journal, (A, K1, b"a"))
        assert not journal.is_ours(A, OTHER)
        journal.append([(A, K2, b"gone too")])
        journal.opened(A, OTHER)
        assert journal.unsaved(A) == set()
        put(journal, (A, K3, b"on top"))
        found = reread(disk)
        assert found.phexts[A].known == [OTHER]
        assert texts(found) == {A: {K3: b"on top"}}
