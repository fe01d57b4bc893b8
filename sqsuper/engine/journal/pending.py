"""What waits to be sealed into the next group."""

from __future__ import annotations

from sqsuper.engine.journal import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqsuper.engine.journal.identity import Identity


class Pending:
    """Records in their order.

    `touched`: for each place in them the files of ours as they were known before. `last`: for
    each place the group up to which it must be checkpointed before these records may go.
    `saved`: the group up to which a checkpoint recorded here has saved it.
    """

    __slots__ = ("last", "length", "parts", "saved", "touched")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.length = 0
        self.touched: dict[bytes, list[Identity]] = {}
        self.last: dict[bytes, int] = {}
        self.saved: dict[bytes, int] = {}

    def add(self, parts: Iterable[bytes], length: int) -> None:
        """Add records of `length` bytes together."""
        self.parts += parts
        self.length += length

    def add_file(self, kind: int, place: bytes, up_to: int, identity: Identity) -> None:
        """Add a statement on a file."""
        record = records.pack_file(kind, place, up_to, identity)
        self.add((record,), len(record))


def statements(files: Mapping[bytes, list[Identity]]) -> list[bytes]:
    """Return records that state for each place which files of ours may be there."""
    return [
        records.pack_file(records.TARGET if number else records.BASE, place, 0, identity)
        for place, known in files.items()
        for number, identity in enumerate(known)
    ]
