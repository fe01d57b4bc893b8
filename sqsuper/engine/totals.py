"""What all phexts of a tenant come to, whether or not they are loaded."""

from __future__ import annotations

from sqsuper.engine.document import Document
from sqsuper.engine.errors import EngineError, StoreError
from sqsuper.engine.fetching import AT_ONCE_BYTES, fetch
from sqsuper.engine.loaded import Unloaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.files import File, Signature
    from sqsuper.engine.store import Store
    from sqsuper.engine.turns import Job
    from sqsuper.engine.worker import Worker


class Totals:
    """All phexts together: their number, scrolls and bytes; `group`: to wait for, or 0."""

    __slots__ = ("group", "length", "phexts", "scrolls")

    def __init__(self) -> None:
        self.phexts = 0
        self.scrolls = 0
        self.length = 0
        self.group = 0


class Totalling:
    """Adds up all phexts of a store that can be read; files that did not change are read once."""

    __slots__ = ("_directory", "_measured", "_store", "_worker")

    def __init__(self, store: Store, directory: DataDirectory, worker: Worker) -> None:
        self._store = store
        self._directory = directory
        self._worker = worker
        self._measured: dict[bytes, tuple[Signature, int, int]] = {}

    def run(self) -> Job[Totals]:
        """Add up. Raises DirectoryError."""
        totals = Totals()
        measured = {}
        seen = set()
        for name in self._store.names():
            yield None
            try:
                place = self._directory.place(name)
                if place in seen:
                    continue
                seen.add(place)
                phext = self._store.phext_at(place)
                if phext is None and place in self._store.unsaved.waiting:
                    try:
                        phext = self._store.open_place(place)
                    except Unloaded as missing:
                        yield from self._store.loading(missing)
                        phext = self._store.phext_at(place)
                if phext is not None:
                    count, size = phext.document.count, phext.document.length
                    totals.group = max(totals.group, phext.group)
                else:
                    entry = self._measured.get(place)
                    if entry is None or entry[0] != self._directory.signature(place):
                        entry = yield from self._measuring(name, place)
                    measured[place] = entry
                    _signature, count, size = entry
            except EngineError:
                continue
            totals.phexts += 1
            totals.scrolls += count
            totals.length += size
        self._measured = measured
        return totals

    def _measuring(self, name: str, place: bytes) -> Job[tuple[Signature, int, int]]:
        found: list[File | None] = []
        if (self._directory.size(place) or 0) > AT_ONCE_BYTES:
            yield from self._worker.run(
                lambda: found.append(fetch(self._directory, name, place)[0])
            )
        else:
            found.append(fetch(self._directory, name, place)[0])
        file = found[0]
        if file is None:
            raise StoreError(name, "it is gone")
        document = Document()
        for _ in document.reading(file.data):
            yield None
        return file.signature, document.count, document.length
