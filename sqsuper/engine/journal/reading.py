"""The groups of one generation, read in order: what they amount to, and what is missing."""

from __future__ import annotations

import os

from sqsuper.engine.journal import format as form
from sqsuper.engine.journal import records
from sqsuper.engine.journal.errors import Damage, RecordError, Torn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.journal.format import Frame, Header
    from sqsuper.engine.journal.identity import Identity
    from sqsuper.engine.journal.records import FileRecord


class Found:
    """A file that was found under a segment's name.

    `header` is None where both its copies are damaged; `is_marked`: at least one is ours.
    """

    __slots__ = ("header", "is_marked", "name")

    def __init__(self, name: bytes, header: Header | None, *, is_marked: bool) -> None:
        self.name = name
        self.header = header
        self.is_marked = is_marked


class Texts:
    """One phext's writes that its file may lack.

    `known`: the files of ours that may be in place; the texts belong over any of them.
    `texts`: each key's last text (empty: removed). `up_to`: the group up to which a checkpoint
    recorded as done has saved it, or -1.
    """

    __slots__ = ("_groups", "known", "texts", "up_to")

    def __init__(self) -> None:
        self.known: list[Identity] = []
        self.texts: dict[int, bytes] = {}
        self.up_to = -1
        self._groups: dict[int, int] = {}

    def write(self, key: int, text: bytes, number: int) -> None:
        """Take a write of a group."""
        self.texts[key] = text
        self._groups[key] = number

    def state(self, record: FileRecord) -> None:
        """Take a statement on the file."""
        identity = record.identity
        if record.kind == records.TARGET:
            if identity not in self.known:
                self.known.append(identity)
        elif record.kind == records.CHECKPOINTED:
            self.known = [identity]
            self.up_to = max(self.up_to, record.up_to)
            self._keep(self.up_to)
        elif identity not in self.known:
            # A file of someone else's was taken over: what was unsaved then is void.
            self.known = [identity]
            self.texts = {}
            self._groups = {}

    def _keep(self, above: int) -> None:
        self._groups = {key: number for key, number in self._groups.items() if number > above}
        self.texts = {key: text for key, text in self.texts.items() if key in self._groups}


class Chain:
    """One generation's segments, read one by one in order, then `end`ed.

    `number`: of the group that would come next. `damage` and `torn`: what is missing of groups
    that were synced once, and of the last one, which was not.
    """

    __slots__ = (
        "_certain",
        "_expected",
        "_named",
        "_rest",
        "_stopped",
        "_suspect",
        "_tail",
        "damage",
        "generation",
        "number",
        "phexts",
        "torn",
    )

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.phexts: dict[bytes, Texts] = {}
        self.damage: list[Damage] = []
        self.torn: list[Torn] = []
        self.number = 1
        self._expected: int | None = None
        # Where reading stopped before the next valid group
        self._suspect: tuple[bytes, int] | None = None
        self._tail: Torn | None = None
        self._certain = False
        self._named: set[bytes] = set()
        self._stopped: dict[bytes, Damage] = {}
        # What stops phexts that no readable group names
        self._rest: Damage | None = None

    def read(self, found: Found, data: bytes) -> None:
        """Take the next segment. Raises RecordError."""
        header = found.header
        if header is None:
            self._suspect = found.name, 0
            self._certain = True
            return
        if self._expected is None and header.first:
            self._expected = header.first
        offset = form.HEADER_BYTES
        while True:
            frame = form.read_frame(data, offset, header)
            if frame is None or not self._follows(frame.number):
                self._stop(found, data, offset, header)
                start = form.find_frame(data, offset, header, self._last())
                if start is None:
                    return
                frame = form.read_frame(data, start, header)
                assert frame is not None
            self._resume(frame.number)
            self._apply(found.name, data, frame)
            offset = frame.next

    def end(self) -> None:
        """Tell what comes of what is missing."""
        if self._certain:
            # A synced segment is lost, and no later group tells how much was in it.
            name, offset = self._suspect or (b"", 0)
            self._lose(name, offset, None)
        elif self._tail is not None:
            self.torn.append(self._tail)
        self.number = self._expected or 1
        if not self.damage:
            return
        last = self.damage[-1]
        self._named = set(self.phexts)
        for place, phext in self.phexts.items():
            # Checkpointed after the last damage, a phext needs nothing of what was lost.
            if last.last is None or phext.up_to < last.last:
                self._stopped[place] = last
        # A phext's file is stated again in the group after the one that names it first: one
        # that no readable group names was in no lost group, if they were lost one by one.
        for damage in self.damage:
            if damage.first is None or damage.first != damage.last:
                self._rest = damage

    def stops(self, place: bytes) -> Damage | None:
        """Return the damage for which a phext must not be served, or None."""
        if not self.damage:
            return None
        if place in self._named:
            return self._stopped.get(place)
        return self._rest

    def _last(self) -> int:
        return 0 if self._expected is None else self._expected - 1

    def _follows(self, number: int) -> bool:
        return self._expected is None or number == self._expected

    def _stop(self, found: Found, data: bytes, offset: int, header: Header) -> None:
        limit = min(len(data), header.size - form.HEADER_BYTES)
        left = len(data[offset:limit].rstrip(b"\0"))
        if self._suspect is None or (left and self._tail is None and not self._certain):
            # Remains of something tell more than the zeros where a segment ended.
            self._suspect = found.name, offset
        if left:
            self._tail = Torn(os.fsdecode(found.name), offset, left)
        if header.flags & form.CARRIES and offset == form.HEADER_BYTES:
            # That group was whole and synced before the segment had its name.
            self._certain = True

    def _resume(self, number: int) -> None:
        expected = self._expected
        headless = self._certain or self._tail is not None
        if (expected is None and headless) or (expected is not None and number != expected):
            name, offset = self._suspect or (b"", 0)
            self._lose(name, offset, number - 1)
        elif self._tail is not None:
            self.torn.append(self._tail)
        self._suspect = None
        self._tail = None
        self._certain = False
        self._expected = number + 1

    def _lose(self, name: bytes, offset: int, last: int | None) -> None:
        self.damage.append(Damage(self.generation, os.fsdecode(name), offset, self._expected, last))

    def _apply(self, name: bytes, data: bytes, frame: Frame) -> None:
        try:
            for record in records.unpack(data[frame.start : frame.end]):
                if isinstance(record, records.Changes):
                    for place, key, text in record.changes:
                        self._phext(place).write(key, text, frame.number)
                else:
                    self._phext(record.place).state(record)
        except records.BadRecord:
            offset = frame.start - form.FRAME_BYTES
            raise RecordError(os.fsdecode(name), offset) from None

    def _phext(self, place: bytes) -> Texts:
        phext = self.phexts.get(place)
        if phext is None:
            phext = self.phexts[place] = Texts()
        return phext
