"""A journal's segment files: which are in use, which come next, and which may go."""

from __future__ import annotations

from sqsuper.engine.journal import format as form
from sqsuper.engine.journal.jobs import Preparation, Removal
from sqsuper.engine.journal.segment import Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.recovery import Recovered

# Room behind the group that a segment is made with on the hot path, where none was prepared.
_SMALL_ROOM = 128 << 10
_PAGE = 4096


class Files:
    """The segments of one journal after another (generations) in a data directory.

    `segments`: those in use, oldest first; `spare`: one that was prepared, or None. `saved`:
    place to the group up to which a durable record says that a checkpoint saved it.
    """

    __slots__ = (
        "_directory",
        "_disk",
        "_doomed",
        "_index",
        "_kept",
        "_preparing",
        "_random",
        "_removing",
        "_segment_bytes",
        "_void",
        "generation",
        "saved",
        "segments",
        "spare",
    )

    def __init__(
        self,
        disk: Disk,
        directory: int,
        recovered: Recovered,
        *,
        segment_bytes: int,
        random: Callable[[int], bytes],
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._random = random
        self._kept = recovered.kept
        self._index = 0
        self._preparing: Preparation | None = None
        self._removing: Removal | None = None
        # Files that no recovery needs, to be removed in this order
        self._void: list[bytes] = []
        # Files that become void once a new generation is durable
        self._doomed: list[bytes] = []
        (self._doomed if recovered.unsaved() else self._void).extend(recovered.void)
        self.generation = recovered.generation + 1
        self.segments: list[Segment] = []
        self.spare: Segment | None = None
        self.saved: dict[bytes, int] = {}

    @property
    def current(self) -> Segment | None:
        """The segment that the last group went to."""
        return self.segments[-1] if self.segments else None

    @property
    def size(self) -> int:
        """Bytes of the segments in use."""
        return sum(segment.header.size for segment in self.segments)

    def make(self, length: int, number: int, flags: int = 0) -> Segment:
        """Return a segment, not yet on disk, to be created with a payload of `length` bytes."""
        size = 2 * form.HEADER_BYTES + form.framed_bytes(length)
        size = (size + min(_SMALL_ROOM, self._segment_bytes) + _PAGE - 1) & -_PAGE
        if self.spare is not None:
            # Behind the new one in time, but before it in order
            self._discard(self.spare)
            self.spare = None
        return Segment(self._header(size, number, flags))

    def take_spare(self) -> None:
        """The prepared segment is in use now."""
        self.spare = None

    def written(self, segment: Segment) -> None:
        """A group in this segment is durable."""
        if self.current is not segment:
            if self.current is not None:
                self.current.close(self._disk)
            self.segments.append(segment)

    def failed(self, segment: Segment) -> None:
        """A group in this segment failed."""
        if segment not in self.segments:
            # Maybe it is there, or comes back.
            segment.close(self._disk)
            self._doomed.append(segment.name)

    def begin_generation(self) -> None:
        """The next segment begins a new journal; all that there is goes once it is durable."""
        for segment in self._all():
            segment.close(self._disk)
            self._doomed.append(segment.name)
        self.segments = []
        self.spare = None
        self.saved = {}
        self.generation += 1
        self._index = 0

    def generation_is_durable(self) -> None:
        """The new journal's first group is durable."""
        self._void += self._doomed
        self._doomed = []

    def holding(self, segment: Segment) -> list[bytes]:
        """Return the places that a segment is needed for."""
        saved = self.saved
        return [place for place, up_to in segment.last.items() if saved.get(place, -1) < up_to]

    def preparation(self) -> Preparation | None:
        """Return the job of making a spare segment, if it is time."""
        current = self.current
        if (
            self._preparing is not None
            or self.spare is not None
            or current is None
            or current.room > self._segment_bytes // 2
        ):
            return None
        segment = Segment(self._header(self._segment_bytes))
        self._preparing = Preparation(self._disk, self._directory, segment)
        return self._preparing

    def removal(self) -> Removal | None:
        """Return the job of removing what is not needed, if there is anything."""
        if self._removing is not None:
            return None
        names = list(self._void)
        # From the oldest on, without a gap, and never the last: it stays the journal's mark.
        for segment in self.segments[:-1]:
            if self.holding(segment):
                break
            names.append(segment.name)
        if not names:
            return None
        self._removing = Removal(self._disk, self._directory, names)
        return self._removing

    def prepared(self, job: Preparation, newest: Segment | None) -> None:
        """Take over the job that was run; `newest`: the last segment that a group went to."""
        self._preparing = None
        header = job.segment.header
        if (
            job.ready
            and header.generation == self.generation
            and newest is not None
            and newest.header.generation == self.generation
            and newest.header.index < header.index
        ):
            self.spare = job.segment
        else:
            self._discard(job.segment)

    def removed(self, job: Removal) -> None:
        """Take over the job that was run."""
        self._removing = None
        gone = set(job.removed)
        self._void = [name for name in self._void if name not in gone]
        self.segments = [segment for segment in self.segments if segment.name not in gone]
        live = {place for segment in self.segments for place in segment.last}
        self.saved = {place: up_to for place, up_to in self.saved.items() if place in live}

    def close(self) -> None:
        """Close all files."""
        for segment in self._all():
            segment.close(self._disk)

    def remove_all(self) -> None:
        """Remove all files, as every phext is saved. Raises OSError."""
        names = self._void + [segment.name for segment in self._all()]
        if self._kept < self.generation and self.segments:
            # Without a newer one the damaged journal that is kept would count again.
            names.remove(self.segments[-1].name)
        Removal(self._disk, self._directory, names).run()

    def _all(self) -> list[Segment]:
        return self.segments if self.spare is None else [*self.segments, self.spare]

    def _discard(self, segment: Segment) -> None:
        segment.close(self._disk)
        self._void.append(segment.name)

    def _header(self, size: int, first: int = 0, flags: int = 0) -> form.Header:
        self._index += 1
        return form.Header(
            generation=self.generation,
            kept=min(self._kept, self.generation),
            index=self._index,
            size=size,
            salt=int.from_bytes(self._random(8), "big"),
            marker=int.from_bytes(self._random(4), "big") or 1,
            first=first,
            flags=flags,
        )
