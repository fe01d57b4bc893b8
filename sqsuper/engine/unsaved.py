"""What no file holds yet: in memory, or of before and only in the journal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqsuper.engine.journal.reading import Texts
    from sqsuper.engine.journal.writer import Journal
    from sqsuper.engine.loaded import Residents


class Unsaved:
    """The unsaved texts of all phexts.

    `waiting`: by place, texts of before whose phext was not opened since. Whoever opens one
    applies them and removes them here.
    """

    __slots__ = ("_journal", "_residents", "waiting")

    def __init__(self, residents: Residents, journal: Journal, waiting: dict[bytes, Texts]) -> None:
        self.waiting = waiting
        self._residents = residents
        self._journal = journal

    def texts(self) -> dict[bytes, dict[int, bytes]]:
        """Return what a fresh journal must carry, by place and key."""
        texts = {}
        for place in self._journal.unsaved_places():
            phext = self._residents.at(place)
            if phext is not None:
                get = phext.document.get
                texts[place] = {key: get(key) for key in self._journal.unsaved(place)}
            else:
                before = self.waiting[place].texts
                texts[place] = {key: before[key] for key in self._journal.unsaved(place)}
        return texts

    def places(self) -> list[bytes]:
        """Return the places of all phexts with changes that no checkpoint has begun to save."""
        return [*self._changed(), *self.waiting]

    def size(self) -> int:
        """Return how many bytes a checkpoint of everything would write."""
        return sum(phext.size for phext in self._residents.all() if phext.since is not None)

    def waiting_size(self) -> int:
        """Return how many bytes of text are `waiting`."""
        return sum(sum(map(len, before.texts.values())) for before in self.waiting.values())

    def _changed(self) -> Iterator[bytes]:
        return (phext.place for phext in self._residents.all() if phext.since is not None)
