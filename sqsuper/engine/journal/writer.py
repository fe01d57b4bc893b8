"""The journal as it is written: groups of records, one durable before the next is written."""

from __future__ import annotations

import os

from sqsuper.engine.journal import format as form
from sqsuper.engine.journal import records
from sqsuper.engine.journal.errors import PoisonedError
from sqsuper.engine.journal.files import Files
from sqsuper.engine.journal.group import Group
from sqsuper.engine.journal.jobs import Preparation
from sqsuper.engine.journal.pending import Pending, statements
from sqsuper.engine.journal.tracking import Phext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.identity import Identity
    from sqsuper.engine.journal.jobs import Removal
    from sqsuper.engine.journal.records import Change
    from sqsuper.engine.journal.recovery import Recovered
    from sqsuper.engine.journal.segment import Segment

SEGMENT_BYTES = 4 << 20


class Journal:
    """The writer. All methods but `write` and a job's `run` are called by one thread.

    A turn: `append` and its like for each request, `seal`, `write` the group (in any one
    thread), then `done` or `failed`, and only then answer. Meanwhile further requests append
    to the next group. After `failed` nothing is taken (PoisonedError) until a group made by
    `fresh` is `done`.

    `recovered` is what `recover` found; `start` goes on from it. Each place must have been
    `opened` before it is named to another method, unless `recovered.unsaved()` has it.
    """

    __slots__ = (
        "_carry",
        "_directory",
        "_disk",
        "_files",
        "_number",
        "_pending",
        "_phexts",
        "_restate",
        "_written",
        "durable",
        "poison",
    )

    def __init__(
        self,
        disk: Disk,
        directory: int,
        recovered: Recovered,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._files = Files(disk, directory, recovered, segment_bytes=segment_bytes, random=random)
        self._number = recovered.number
        self._pending = Pending()
        self._written: Group | None = None
        # Places named in the group before for the first time in its segment: their files are
        # stated again in the next one, so that the loss of one group hides no phext.
        self._restate: dict[bytes, list[Identity]] = {}
        self._phexts: dict[bytes, Phext] = {}
        self._carry = recovered.unsaved()
        for place, phext in self._carry.items():
            self._phexts[place] = found = Phext(list(phext.known))
            found.unsaved.update(phext.texts)
            found.weight = sum(map(len, phext.texts.values()))
        self.durable = self._number - 1
        """The number of the last group that is done."""
        self.poison: BaseException | None = None
        """Why nothing is taken, or None."""

    def start(self) -> None:
        """Make what was recovered durable in a journal of our own, and remove the old one.

        Writes and waits. Raises OSError; nothing is lost then, and it may be tried again.
        """
        if self._carry:
            group = self.fresh({place: found.texts for place, found in self._carry.items()})
            try:
                self.write(group)
            except BaseException as error:
                self.failed(group, error)
                raise
            self.done(group)
        removal = self.removal()
        if removal is not None:
            try:
                removal.run()
            finally:
                self.finish(removal)

    # Phexts and their files

    def opened(self, place: bytes, identity: Identity) -> None:
        """Tell which file a phext was read from: before its first write, and after re-reading.

        If the file is none of ours (`is_ours`), unsaved texts of this phext are void from here
        on: save them first, durably (`conflict.save`), and seal soon. Raises PoisonedError.
        """
        self._check()
        phext = self._phexts.get(place)
        pending = self._pending
        if phext is None:
            self._phexts[place] = Phext([identity])
            self._state_again(place)
            if place not in pending.touched:
                return  # stated with its first write
        elif identity in phext.known:
            phext.found(identity)
            return
        else:
            pending.touched.setdefault(place, phext.known)
            phext.replaced(identity)
            pending.saved[place] = self._number - 1
            pending.last.pop(place, None)
        pending.add_file(records.BASE, place, 0, identity)

    def _state_again(self, place: bytes) -> None:
        # What was said of the file before the phext was forgotten may not be true any more.
        self._restate.pop(place, None)
        if self._files.current is not None:
            self._files.current.stated.discard(place)
        if self._written is not None:
            self._written.segment.stated.discard(place)

    def is_ours(self, place: bytes, identity: Identity) -> bool:
        """Whether a file is one that a phext's unsaved texts belong over."""
        phext = self._phexts.get(place)
        return phext is None or identity in phext.known

    def forget(self, place: bytes) -> None:
        """Forget a phext whose file holds everything, as it is dropped from memory.

        Does nothing while it has unsaved texts or is being checkpointed.
        """
        phext = self._phexts.get(place)
        if phext is None or not phext.is_saved or phext.in_flight is not None:
            return
        del self._phexts[place]

    def unsaved(self, place: bytes) -> set[int]:
        """Return the keys of a phext whose texts its file may lack."""
        phext = self._phexts.get(place)
        return set() if phext is None else phext.keys()

    def unsaved_places(self) -> list[bytes]:
        """Return the places of all phexts that have unsaved texts."""
        return [place for place, phext in self._phexts.items() if not phext.is_saved]

    # Writes

    def append(self, changes: Sequence[Change]) -> int:
        """Add one request's changes, all or none: (place, key, resulting text) each.

        Returns the number of the group: they are durable when that is done. Raises
        PoisonedError.
        """
        if self.poison is not None:
            raise PoisonedError(self.poison)
        number = self._number
        pending = self._pending
        for place, key, text in changes:
            phext = self._phexts[place]
            phext.unsaved.add(key)
            phext.weight += len(text)
            if pending.last.get(place) != number:
                pending.last[place] = number
                pending.touched.setdefault(place, phext.known)
        parts, length = records.pack_write(changes)
        pending.parts += parts
        pending.length += length
        return number

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait to be sealed; 0 if nothing does."""
        return self._pending.length

    # Checkpoints

    def begin_checkpoint(self, place: bytes) -> int:
        """Begin a checkpoint of a phext as it is in memory now; return its `up_to`.

        Its file may be renamed into place only once the `target` of it is durable: then the
        writes that are still on their way are durable too. One at a time for each phext. Best
        with nothing pending: writes that are not sealed yet remain unsaved afterwards.
        """
        self._phexts[place].begin(keep=place in self._pending.last)
        return self._number - 1

    def target(self, place: bytes, up_to: int, identity: Identity) -> int:
        """Record the file that the checkpoint is about to rename into place.

        Returns the number of the group that must be done (not failed) before the rename. Raises
        PoisonedError; ValueError if `fresh` ended the checkpoint, as what it wrote may hold
        writes that failed.
        """
        self._check()
        phext = self._phexts.get(place)
        if phext is None or phext.in_flight is None:
            raise ValueError(place)
        pending = self._pending
        pending.touched.setdefault(place, phext.known)
        if identity not in phext.known:
            phext.known.append(identity)
        pending.last[place] = max(pending.last.get(place, 0), up_to)
        pending.add_file(records.TARGET, place, up_to, identity)
        return self._number

    def checkpointed(self, place: bytes, up_to: int, identity: Identity) -> None:
        """Record that the checkpoint's file is in place: renamed, and its directory synced."""
        phext = self._phexts.get(place)
        if phext is None:
            return  # ended by `fresh` and forgotten since
        if self.poison is None:
            pending = self._pending
            pending.touched.setdefault(place, phext.known)
            pending.saved[place] = max(pending.saved.get(place, -1), up_to)
            pending.add_file(records.CHECKPOINTED, place, up_to, identity)
        phext.saved(identity)

    def abandon_checkpoint(self, place: bytes) -> None:
        """End a checkpoint that failed, at whatever step."""
        phext = self._phexts.get(place)
        if phext is not None:
            phext.abandon()

    # Groups

    def seal(self) -> Group | None:
        """Take what is pending as the next group to write; None if there is nothing to do now.

        While a group is being written there is nothing to do either.
        """
        pending = self._pending
        if self._written is not None or not pending.parts or self.poison is not None:
            return None
        segment, stating, creates = self._choose()
        length = pending.length + sum(map(len, stating))
        parts = stating + pending.parts
        group = Group(self._number, segment, parts, length, pending, creates=creates)
        restate = {
            place: self._phexts[place].known
            for place in pending.touched
            if place not in segment.stated and place in self._phexts
        }
        segment.stated.update(pending.touched, self._restate)
        self._restate = restate
        self._pending = Pending()
        self._take(group)
        return group

    def write(self, group: Group) -> None:
        """Write a group and return when it is durable. Raises OSError: then it `failed`."""
        if group.creates:
            group.segment.create(self._disk, self._directory, group.data())
        else:
            group.segment.write(self._disk, group.offset, group.data())

    def done(self, group: Group) -> None:
        """Tell that `write` returned: the group's changes may be acknowledged."""
        self._written = None
        self.durable = group.number
        files = self._files
        files.written(group.segment)
        last = group.segment.last
        for place, up_to in group.last.items():
            last[place] = max(last.get(place, 0), up_to)
        files.saved.update(group.saved)
        if group.renews:
            self.poison = None
            self._carry = {}
            files.generation_is_durable()

    def failed(self, group: Group, error: BaseException) -> None:
        """Tell that `write` raised: neither this group nor what is pending is acknowledged.

        The caller undoes both in memory; then `fresh`.
        """
        self._written = None
        self.poison = error
        self._files.failed(group.segment)
        self._pending = Pending()

    def fresh(self, texts: Mapping[bytes, Mapping[int, bytes]]) -> Group:
        """Return a group that starts a new journal, to be written like any other.

        `texts`: for each of `unsaved_places` the acknowledged texts of its `unsaved` keys
        (empty: removed). Once the group is done all older segments are void, whatever is in
        them: what failed cannot come back. What is pending is dropped, running checkpoints end.
        Raises ValueError while a group is being written, or if a place is missing.
        """
        missing = [place for place in self.unsaved_places() if place not in texts]
        if self._written is not None or missing:
            raise ValueError(missing)
        for phext in self._phexts.values():
            phext.abandon()
        files = self._files
        files.begin_generation()
        self.poison = self.poison or RuntimeError("the new journal is not yet durable")
        known = {place: self._phexts[place].known for place in texts}
        parts = statements(known)
        for place, changes in texts.items():
            parts += records.pack_write([(place, key, text) for key, text in changes.items()])[0]
        length = sum(map(len, parts))
        segment = files.make(length, self._number, form.CARRIES if texts else 0)
        segment.stated.update(texts)
        self._pending = Pending()
        carried = Pending()
        carried.last = dict.fromkeys(texts, self._number)
        group = Group(self._number, segment, parts, length, carried, creates=True, renews=True)
        self._restate = known
        self._take(group)
        return group

    def _take(self, group: Group) -> None:
        group.segment.position += group.size
        self._number += 1
        self._written = group

    def _choose(self) -> tuple[Segment, list[bytes], bool]:
        """Return the segment for what is pending, what to state first there, whether it is new."""
        files = self._files
        for segment in (files.current, files.spare):
            if segment is not None:
                stating = self._statements(segment.stated)
                length = self._pending.length + sum(map(len, stating))
                if form.framed_bytes(length) <= segment.room:
                    if segment is files.spare:
                        files.take_spare()
                    return segment, stating, False
        stating = self._statements(frozenset())
        length = self._pending.length + sum(map(len, stating))
        return files.make(length, self._number), stating, True

    def _statements(self, stated: set[bytes] | frozenset[bytes]) -> list[bytes]:
        known = dict(self._restate)
        for place, before in self._pending.touched.items():
            if place not in stated:
                known[place] = before
        return statements(known)

    def _check(self) -> None:
        if self.poison is not None:
            raise PoisonedError(self.poison)

    # Files

    @property
    def size(self) -> int:
        """Bytes of all segments that are in use."""
        return self._files.size

    @property
    def unsaved_bytes(self) -> int:
        """Bytes of text written since, for each phext, its last checkpoint began."""
        return sum(phext.weight for phext in self._phexts.values())

    def oldest(self) -> list[bytes]:
        """Return the places whose checkpoint is needed for the oldest segment to go.

        Empty while there is but one.
        """
        segments = self._files.segments
        return self._files.holding(segments[0]) if len(segments) > 1 else []

    def preparation(self) -> Preparation | None:
        """Return the job of making the next segment ahead of need, or None if it is not time.

        `run` it in another thread, then `finish` it here.
        """
        return None if self.poison is not None else self._files.preparation()

    def removal(self) -> Removal | None:
        """Return the job of removing segments that nothing needs, or None if there are none.

        `run` it in another thread, then `finish` it here.
        """
        return self._files.removal()

    def finish(self, job: Preparation | Removal) -> None:
        """Take over a job that was run, whether or not it raised."""
        if isinstance(job, Preparation):
            written = self._written
            self._files.prepared(job, self._files.current if written is None else written.segment)
        else:
            self._files.removed(job)

    def close(self, *, remove: bool) -> bool:
        """End the journal; with `remove` its files go, and True is returned, if all is saved.

        All is saved if every phext is checkpointed and the records of that are durable: seal
        and write first. Waits. Raises OSError; the journal is then recovered at the next start.
        """
        files = self._files
        files.close()
        if (
            not remove
            or self.poison is not None
            or self._carry
            or self._pending.parts
            or self._written is not None
            or any(files.holding(segment) for segment in files.segments)
        ):
            return False
        files.remove_all()
        return True
