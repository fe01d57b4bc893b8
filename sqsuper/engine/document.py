"""One phext in memory, and views of it that stay as they are while it changes.

Scrolls stand in blocks of a few hundred, in order. A snapshot is a list of blocks; while
anybody holds one, a change copies the block that it falls in, never the document.
"""

from __future__ import annotations

from _weakref import ref  # what weakref is made of, without its start time
from bisect import bisect_left, bisect_right

from sqsuper.engine import phext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

BLOCK = 256
# A block of larger texts is not written as one piece.
_PIECE_BYTES = 1 << 18
# How much is read between two pauses.
_STEP_BYTES = 1 << 18
_STEP_SCROLLS = 4096


class Snapshot:
    """A document at one moment; never changed.

    `count`: of scrolls. `length`: of the canonical form, in bytes.
    """

    __slots__ = ("__weakref__", "_keys", "_texts", "count", "length")

    def __init__(
        self, keys: list[list[int]], texts: list[list[bytes]], count: int, length: int
    ) -> None:
        """Each of `keys` is a block's, ascending; `texts` as many."""
        self._keys = keys
        self._texts = texts
        self.count = count
        self.length = length

    def blocks(
        self, low: int = 0, high: int | None = None
    ) -> Iterator[tuple[list[int], list[bytes]]]:
        """Iterate over blocks of keys and texts; with `low`, `high` only what lies within."""
        if not low and high is None:
            yield from zip(self._keys, self._texts, strict=True)
            return
        for keys, texts in zip(self._keys, self._texts, strict=True):
            if keys[-1] < low:
                continue
            if high is not None and keys[0] > high:
                return
            start = bisect_left(keys, low)
            end = len(keys) if high is None else bisect_right(keys, high)
            if start < end:
                yield keys[start:end], texts[start:end]

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Iterate over (key, text), ascending."""
        for keys, texts in self.blocks():
            yield from zip(keys, texts, strict=True)

    def pieces(self) -> Iterator[bytes]:
        """Iterate over the canonical form, about a block a piece; large texts are not copied."""
        before = phext.ORIGIN
        for keys, texts in self.blocks():
            if phext.is_run(keys[0], keys[-1], len(keys)) and sum(map(len, texts)) <= _PIECE_BYTES:
                yield phext.delimiters_between(before, keys[0]) + phext.SCROLL_BREAK.join(texts)
            else:
                yield from phext.write_pieces(zip(keys, texts, strict=True), before)
            before = keys[-1]


class Building:
    """A document that is being read, scroll by scroll."""

    __slots__ = ("_keys", "_last", "_odd", "_texts")

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._texts: list[bytes] = []
        self._last = 0
        # Once keys come out of order: all, by key
        self._odd: dict[int, bytes] | None = None

    def add(self, keys: Iterable[int], texts: list[bytes], first: int, last: int) -> None:
        """Take scrolls, ascending; of several calls' at one key the last one stays."""
        if self._odd is None and first > self._last:
            self._keys.extend(keys)
            self._texts.extend(texts)
            self._last = last
            return
        if self._odd is None:
            self._odd = dict(zip(self._keys, self._texts, strict=True))
        self._odd.update(zip(keys, texts, strict=True))

    def __len__(self) -> int:
        return len(self._keys) if self._odd is None else len(self._odd)

    def end(self) -> tuple[list[int], list[bytes]]:
        """Return keys, ascending, and texts."""
        if self._odd is not None:
            self._keys = sorted(self._odd)
            self._texts = [self._odd[key] for key in self._keys]
        return self._keys, self._texts


class Document:
    """A phext's scrolls. No empty scroll is kept.

    `count`: of scrolls. `length`: the canonical form's in bytes. `released`: called when a
    snapshot is no longer used, from where it was dropped.
    """

    __slots__ = (
        "_current",
        "_firsts",
        "_keys",
        "_live",
        "_shared",
        "_texts",
        "count",
        "length",
        "released",
    )

    def __init__(self, text: bytes = b"") -> None:
        """Read `text`, which is UTF-8."""
        # Weak: a change copies only while somebody still reads.
        self._live: list[ref[Snapshot]] = []
        self._current: ref[Snapshot] | None = None
        self._shared = False
        self.released: Callable[[], None] | None = None
        for _ in self.reading(text):
            pass

    def reading(self, text: bytes) -> Iterator[None]:
        """Read `text` in place of what is here, step by step; for a document without readers."""
        building = Building()
        position = scrolls = 0
        for keys, texts, end in phext.sections(text):
            if texts:
                building.add(keys, texts, keys[0], keys[-1])
            if not texts or end - position > _STEP_BYTES or len(building) - scrolls > _STEP_SCROLLS:
                position, scrolls = end, len(building)
                yield
        yield from self._lay(*building.end())

    def gathering(self, scrolls: Mapping[int, bytes]) -> Iterator[None]:
        """Take `scrolls` (none empty) in place of what is here; otherwise as `reading`."""
        keys = sorted(scrolls)
        yield
        yield from self._lay(keys, [scrolls[key] for key in keys])

    def _lay(self, all_keys: list[int], all_texts: list[bytes]) -> Iterator[None]:
        starts = range(0, len(all_keys), BLOCK)
        self._keys = [all_keys[start : start + BLOCK] for start in starts]
        self._texts = [all_texts[start : start + BLOCK] for start in starts]
        self._firsts = all_keys[::BLOCK]
        self.count = len(all_keys)
        yield
        self.length = 0
        before = phext.ORIGIN
        for index, keys in enumerate(self._keys):
            self.length += _length(before, keys, self._texts[index])
            before = keys[-1]
            if index % 64 == 63:
                yield

    def __len__(self) -> int:
        return self.count

    @property
    def versions(self) -> int:
        """How many versions readers hold."""
        return len(self._live)

    @property
    def current(self) -> bool:
        """Whether a reader of the present version exists already."""
        return self._current is not None and self._current() is not None

    def get(self, key: int) -> bytes:
        """Return a scroll's text; empty when there is none."""
        block = bisect_right(self._firsts, key) - 1
        if block < 0:
            return b""
        keys = self._keys[block]
        index = _place(keys, self._firsts[block], key)
        return self._texts[block][index] if index < len(keys) and keys[index] == key else b""

    def snapshot(self) -> Snapshot:
        """Return the document as it is now. Those of one version are one object."""
        snapshot = None if self._current is None else self._current()
        if snapshot is None:
            snapshot = Snapshot(self._keys, self._texts, self.count, self.length)
            self._current = ref(snapshot, self._dropped)
            self._live.append(self._current)
            self._shared = True
        return snapshot

    def _dropped(self, reference: ref[Snapshot]) -> None:
        self._live.remove(reference)
        if self.released is not None:
            self.released()

    def apply(self, changes: Mapping[int, bytes]) -> dict[int, bytes]:
        """Set scrolls (an empty text removes one) and return what undoes it by `apply`."""
        if self._shared:
            # Readers keep their lists of blocks.
            self._keys = self._keys.copy()
            self._texts = self._texts.copy()
            self._shared = False
        self._current = None
        return {key: self._set(key, text) for key, text in changes.items()}

    def _set(self, key: int, text: bytes) -> bytes:
        block = max(0, bisect_right(self._firsts, key) - 1)
        if not self._firsts:
            if text:
                self._firsts, self._keys, self._texts = [key], [[key]], [[text]]
                self.count = 1
                self.length = phext.distance(phext.ORIGIN, key) + len(text)
            return b""
        keys = self._keys[block]
        index = _place(keys, self._firsts[block], key)
        if index < len(keys) and keys[index] == key:
            texts = self._own(self._texts, block)
            old = texts[index]
            if text:
                texts[index] = text
                self.length += len(text) - len(old)
            else:
                self.length -= len(old) + self._detour(block, index, key, index + 1)
                self._remove(block, index)
            return old
        if text:
            self.length += len(text) + self._detour(block, index, key, index)
            self._insert(block, index, key, text)
        return b""

    def _detour(self, block: int, index: int, key: int, following: int) -> int:
        """Return how many more delimiters there are with `key` before `following` than without."""
        keys = self._keys[block]
        before = phext.ORIGIN
        if index:
            before = keys[index - 1]
        elif block:
            before = self._keys[block - 1][-1]
        if following < len(keys):
            after = keys[following]
        elif block + 1 < len(self._keys):
            after = self._keys[block + 1][0]
        else:
            return phext.distance(before, key)
        return (
            phext.distance(before, key) + phext.distance(key, after) - phext.distance(before, after)
        )

    def _own(self, blocks: list[list[bytes]], block: int) -> list[bytes]:
        if not self._live:
            return blocks[block]
        blocks[block] = copy = blocks[block].copy()
        return copy

    def _remove(self, block: int, index: int) -> None:
        self.count -= 1
        self._keys[block] = keys = self._keys[block].copy()
        texts = self._own(self._texts, block)
        del keys[index], texts[index]
        if keys:
            self._firsts[block] = keys[0]
        else:
            del self._keys[block], self._texts[block], self._firsts[block]

    def _insert(self, block: int, index: int, key: int, text: bytes) -> None:
        self.count += 1
        self._keys[block] = keys = self._keys[block].copy()
        texts = self._own(self._texts, block)
        keys.insert(index, key)
        texts.insert(index, text)
        if len(keys) >= 2 * BLOCK:
            # Scrolls that come in order leave full blocks behind them.
            self._keys[block : block + 1] = [keys[:BLOCK], keys[BLOCK:]]
            self._texts[block : block + 1] = [texts[:BLOCK], texts[BLOCK:]]
            self._firsts[block : block + 1] = [keys[0], keys[BLOCK]]
        else:
            self._firsts[block] = keys[0]


def _place(keys: list[int], first: int, key: int) -> int:
    """Return where `key` stands in a block that begins with `first`, or would."""
    # Scrolls mostly follow each other: where that is so from the first, or up to the last, one
    # look finds it, and other keys are left out of the processor's cache.
    index = key - first
    if 0 <= index < len(keys) and keys[index] == key:
        return index
    index = len(keys) - 1 - (keys[-1] - key)
    if 0 <= index < len(keys) and keys[index] == key:
        return index
    return bisect_left(keys, key)


def _length(before: int, keys: list[int], texts: list[bytes]) -> int:
    length = sum(map(len, texts)) + phext.distance(before, keys[0])
    if phext.is_run(keys[0], keys[-1], len(keys)):
        return length + len(keys) - 1
    before = keys[0]
    for key in keys:
        length += phext.distance(before, key)
        before = key
    return length
