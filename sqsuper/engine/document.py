"""One phext in memory, and views of it that stay as they are while it changes."""

from __future__ import annotations

from _weakref import ref  # what weakref is made of, without its start time
from bisect import bisect_left

from sqsuper.engine import phext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Snapshot:
    """A document at one moment: `keys` ascending, `scrolls` by key. Never changed."""

    __slots__ = ("__weakref__", "keys", "scrolls")

    def __init__(self, keys: Sequence[int], scrolls: Mapping[int, bytes]) -> None:
        self.keys = keys
        self.scrolls = scrolls

    @property
    def length(self) -> int:
        """The canonical form's length in bytes."""
        return phext.imploded_length(self.keys, self.scrolls)

    def pieces(self) -> Iterator[bytes]:
        """Iterate over the canonical form."""
        return phext.implode_pieces(self.keys, self.scrolls)


class Document:
    """A phext's scrolls. No empty scroll is kept."""

    __slots__ = ("_keys", "_scrolls", "_snapshot", "length")

    def __init__(self, text: bytes = b"") -> None:
        """Read `text`, which is UTF-8."""
        self._scrolls = phext.explode(text)
        self._keys = sorted(self._scrolls)
        # Weak: a change copies only while somebody still reads.
        self._snapshot: ref[Snapshot] | None = None
        self.length = phext.imploded_length(self._keys, self._scrolls)
        """The canonical form's length in bytes."""

    def __len__(self) -> int:
        return len(self._scrolls)

    def get(self, key: int) -> bytes:
        """Return a scroll's text; empty when there is none."""
        return self._scrolls.get(key, b"")

    def snapshot(self) -> Snapshot:
        """Return the document as it is now. Those of one version are one object."""
        snapshot = None if self._snapshot is None else self._snapshot()
        if snapshot is None:
            snapshot = Snapshot(self._keys, self._scrolls)
            self._snapshot = ref(snapshot)
        return snapshot

    def pieces(self) -> Iterator[bytes]:
        """Iterate over the canonical form; the document must not change meanwhile."""
        return phext.implode_pieces(self._keys, self._scrolls)

    def apply(self, changes: Mapping[int, bytes]) -> dict[int, bytes]:
        """Set scrolls (an empty text removes one) and return what undoes it by `apply`."""
        if self._snapshot is not None and self._snapshot() is not None:
            # Readers of the old version keep their dict and list.
            self._scrolls = dict(self._scrolls)
            self._keys = list(self._keys)
        self._snapshot = None
        scrolls, keys = self._scrolls, self._keys
        undo = {}
        for key, text in changes.items():
            old = scrolls.get(key, b"")
            undo[key] = old
            if text:
                if not old:
                    keys.insert(bisect_left(keys, key), key)
                scrolls[key] = text
            elif old:
                del keys[bisect_left(keys, key)]
                del scrolls[key]
        self.length = phext.imploded_length(keys, scrolls)
        return undo
