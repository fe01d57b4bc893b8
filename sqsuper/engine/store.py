"""A tenant's phexts: loaded when asked for, written through on each change."""

from __future__ import annotations

from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.document import Document
from sqsuper.engine.errors import (
    EngineError,
    NotUtf8FileError,
    OverQuotaError,
    PhextTooLargeError,
    ReadError,
)
from sqsuper.engine.utf8 import utf8_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqsuper.engine.directory import File, Signature
    from sqsuper.engine.document import Snapshot

DEFAULT_MAX_LOADED = 64
# How old a measure of the directory may be while the quota is not near.
_USAGE_SECONDS = 5.0


class _Loaded:
    """A document in memory and the file it stands for.

    `own`: the signature of a file whose bytes are not the canonical form, while the document
    is as it was read; else None. `stored`: the file holds the document (it exists).
    """

    __slots__ = ("document", "names", "own", "place", "stored")

    def __init__(self, place: bytes, document: Document) -> None:
        self.place = place
        self.document = document
        self.names: set[str] = set()
        self.own: Signature | None = None
        self.stored = False


class Totals:
    """All phexts together: their number, scrolls and canonical bytes."""

    __slots__ = ("length", "phexts", "scrolls")

    def __init__(self, phexts: int, scrolls: int, length: int) -> None:
        self.phexts = phexts
        self.scrolls = scrolls
        self.length = length


class Store:
    """The phexts of one data directory.

    `max_loaded`: documents kept in memory; the least recently used one is dropped past it.
    `max_phext`: bytes past which no write grows a phext, or None. `quota`: bytes past which
    no write grows the directory, or None. `clock`: monotonic seconds.

    Methods that take a name raise ForbiddenNameError, ReadError and NotUtf8FileError.
    """

    def __init__(
        self,
        directory: DataDirectory,
        *,
        clock: Callable[[], float],
        max_loaded: int = DEFAULT_MAX_LOADED,
        max_phext: int | None = None,
        quota: int | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._max_loaded = max(1, max_loaded)
        self._max_phext = max_phext
        self._quota = quota
        self._by_name: dict[str, _Loaded] = {}
        # In order of use: the first one goes first.
        self._by_place: dict[bytes, _Loaded] = {}
        self._measured: dict[bytes, tuple[Signature, int, int]] = {}
        self._usage = 0
        self._usage_at: float | None = None

    @property
    def loaded(self) -> int:
        """How many documents are in memory."""
        return len(self._by_place)

    def check(self, name: str) -> None:
        """Raise what reading phext `name` would, without reading more than its place."""
        if name not in self._by_name:
            self._directory.place(name)

    def get(self, name: str, key: int) -> bytes:
        """Return a scroll's text; empty when there is none."""
        return self._open(name).document.get(key)

    def snapshot(self, name: str) -> Snapshot:
        """Return a phext as it is now; an absent one is empty."""
        return self._open(name).document.snapshot()

    def own_text(self, name: str) -> tuple[int, Iterator[bytes]] | None:
        """Return length and pieces of the file's own bytes, while they are not the canonical
        form and the file is as it was loaded.

        None: the snapshot says it all.
        """
        loaded = self._open(name)
        if loaded.own is None:
            return None
        pieces = self._directory.stream(loaded.place, loaded.own)
        # The size stands in the signature.
        return None if pieces is None else (loaded.own[2], pieces)

    def load(self, name: str) -> None:
        """Read the file again, whatever is in memory."""
        loaded = self._by_name.get(name)
        if loaded is not None:
            self._drop(loaded)
        self._open(name)

    def apply(self, name: str, change: Callable[[Document], Mapping[int, bytes]]) -> None:
        """Change a phext and return when that is on disk.

        `change` gets the document and returns the resulting text of each scroll it changes.
        On any error memory and disk are as before. Raises WriteError, NoSpaceError,
        OverQuotaError, PhextTooLargeError besides.
        """
        loaded = self._open(name)
        document = loaded.document
        before = document.length
        undo = document.apply(change(document))
        try:
            if self._is_stored(loaded, undo):
                return
            self._check_size(name, loaded, before)
            self._directory.replace(name, loaded.place, document.pieces())
        except BaseException:
            document.apply(undo)
            raise
        loaded.own = None
        self._usage += document.length - (before if loaded.stored else 0)
        loaded.stored = True
        self._keep(name, loaded)

    def names(self) -> list[str]:
        """Return all phexts' names, sorted. Raises DirectoryError."""
        return self._directory.names()

    def totals(self) -> Totals:
        """Add up all phexts that can be read. Raises DirectoryError."""
        scrolls = length = phexts = 0
        measured = {}
        seen = set()
        for name in self.names():
            try:
                place = self._directory.place(name)
                if place in seen:
                    continue
                seen.add(place)
                loaded = self._by_place.get(place)
                if loaded is not None:
                    count, size = len(loaded.document), loaded.document.length
                else:
                    measured[place] = entry = self._measure(name, place)
                    _signature, count, size = entry
            except EngineError:
                continue
            phexts += 1
            scrolls += count
            length += size
        self._measured = measured
        return Totals(phexts, scrolls, length)

    def _measure(self, name: str, place: bytes) -> tuple[Signature, int, int]:
        known = self._measured.get(place)
        if known is not None and known[0] == self._directory.signature(place):
            return known
        file = self._directory.read(name, place)
        if file is None:
            raise ReadError(name, None, "it is gone")
        document = _document(name, file)
        return file.signature, len(document), document.length

    def _open(self, name: str) -> _Loaded:
        loaded = self._by_name.get(name)
        if loaded is not None:
            # Last used, last dropped.
            self._by_place[loaded.place] = self._by_place.pop(loaded.place)
            return loaded
        place = self._directory.place(name)
        loaded = self._by_place.get(place)
        if loaded is not None:
            self._keep(name, loaded)
            return loaded
        file = self._directory.read(name, place)
        if file is None:
            # Not kept: reading what does not exist costs nothing.
            return _Loaded(place, Document())
        loaded = _Loaded(place, _document(name, file))
        loaded.stored = True
        # Delimiters are canonical exactly when they are the fewest.
        if loaded.document.length != len(file.data):
            loaded.own = file.signature
        self._keep(name, loaded)
        return loaded

    def _keep(self, name: str, loaded: _Loaded) -> None:
        loaded.names.add(name)
        self._by_name[name] = loaded
        self._by_place.pop(loaded.place, None)
        self._by_place[loaded.place] = loaded
        while len(self._by_place) > self._max_loaded:
            self._drop(next(iter(self._by_place.values())))

    def _drop(self, loaded: _Loaded) -> None:
        del self._by_place[loaded.place]
        for name in loaded.names:
            del self._by_name[name]
        loaded.names.clear()

    @staticmethod
    def _is_stored(loaded: _Loaded, undo: Mapping[int, bytes]) -> bool:
        document = loaded.document
        unchanged = all(document.get(key) == text for key, text in undo.items())
        if not unchanged:
            return False
        # An absent phext stays absent while it is empty.
        return loaded.own is None and (loaded.stored or not document)

    def _check_size(self, name: str, loaded: _Loaded, before: int) -> None:
        size = loaded.document.length
        if size <= before:
            return
        if self._max_phext is not None and size > self._max_phext:
            raise PhextTooLargeError(name, size, self._max_phext)
        if self._quota is None:
            return
        growth = size - (before if loaded.stored else 0)
        if (
            self._usage_at is None
            or self._clock() - self._usage_at > _USAGE_SECONDS
            or self._usage + growth > self._quota
        ):
            self._usage = self._directory.usage()
            self._usage_at = self._clock()
        if self._usage + growth > self._quota:
            raise OverQuotaError(name, self._usage + growth, self._quota)


def _document(name: str, file: File) -> Document:
    fault = utf8_fault(file.data)
    if fault is not None:
        raise NotUtf8FileError(name, fault)
    return Document(file.data)
