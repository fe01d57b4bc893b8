"""A group of records: what one sync makes durable."""

from __future__ import annotations

from sqsuper.engine.journal import format as form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.journal.pending import Pending
    from sqsuper.engine.journal.segment import Segment


class Group:
    """Sealed records on their way to the disk. `number`: what `append` returned for them.

    `size`: bytes in the segment. `last`, `saved`: as in `Pending`. `creates`: the segment is
    made with it. `renews`: it begins a new journal.
    """

    __slots__ = (
        "_length",
        "_parts",
        "creates",
        "last",
        "number",
        "offset",
        "renews",
        "saved",
        "segment",
        "size",
    )

    def __init__(
        self,
        number: int,
        segment: Segment,
        parts: list[bytes],
        length: int,
        pending: Pending,
        *,
        creates: bool,
        renews: bool = False,
    ) -> None:
        self.number = number
        self.segment = segment
        self.offset = segment.position
        self._parts = parts
        self._length = length
        self.size = form.framed_bytes(length)
        self.last = pending.last
        self.saved = pending.saved
        self.creates = creates
        self.renews = renews

    def data(self) -> bytearray:
        """Return the group's bytes; to be asked for by who writes them: they may be many."""
        return form.frame(self.segment.header, self.number, self._parts, self._length)
