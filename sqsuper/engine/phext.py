"""The phext format: nine delimiters that move a coordinate through text.

A coordinate is one int, its key: nine fields of ten bits, library highest, scroll lowest,
each 1..999, so that keys sort as coordinates do. A document is a dict from key to the
scroll's UTF-8 bytes; empty scrolls are not in it.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_PART = 999
PARTS = 9

# From the library's down to the scroll's (0x1B is text).
DELIMITERS = b"\x01\x1f\x1e\x1d\x1c\x1a\x19\x18\x17"
DIMENSIONS = (
    "library",
    "shelf",
    "series",
    "collection",
    "volume",
    "book",
    "chapter",
    "section",
    "scroll",
)
SCROLL_BREAK = b"\x17"

_BITS = 10
_MASK = (1 << _BITS) - 1
# How far each part's field is shifted, library first.
_SHIFTS = tuple(range(_BITS * (PARTS - 1), -1, -_BITS))
_SHIFT_OF = dict(zip(DELIMITERS, _SHIFTS, strict=True))
# 1.1.1/1.1.1/1.1.1
ORIGIN = sum(1 << shift for shift in _SHIFTS)

_BREAK = re.compile(rb"[\x01\x17-\x1a\x1c-\x1f]")
# A run at a time: files may hold megabytes of delimiters.
_RUN_ABOVE_SCROLL = re.compile(rb"([\x01\x18-\x1a\x1c-\x1f])\1*")
_SCROLL = re.compile(rb"[^\x17]+")
# How far the pattern looks for the next break, and how far what comes after it at a time.
_NEAR_BYTES = 1 << 10
# How many bytes are walked before others have their turn.
_PAUSE_BYTES = 1024
_WINDOW_BYTES = 1 << 18
# Larger sections are not split at once; of their breaks each takes the time of so many bytes.
_SECTION_BYTES = 1 << 20
_BREAK_BYTES = 64
# How many runs of delimiters are walked at a time.
_PAUSE_RUNS = 512


def pack(parts: Iterable[int]) -> int:
    """Return the key of nine parts, library first. Each must be 0..1023."""
    key = 0
    for part in parts:
        key = key << _BITS | part
    return key


def unpack(key: int) -> tuple[int, ...]:
    """Return the nine parts of a key, library first."""
    return tuple(key >> shift & _MASK for shift in _SHIFTS)


def format_key(key: int) -> str:
    """Return a key in SQ's form, `1.1.1/1.1.1/1.1.1`."""
    a, b, c, d, e, f, g, h, i = unpack(key)
    return f"{a}.{b}.{c}/{d}.{e}.{f}/{g}.{h}.{i}"


def find_break(text: bytes, start: int = 0, end: int | None = None) -> int:
    """Return the offset of the first delimiter in `text` from `start` on, before `end`, or -1."""
    last = len(text) if end is None else min(end, len(text))
    match = _BREAK.search(text, start, min(start + _NEAR_BYTES, last))
    if match is not None:
        return match.start()
    # Farther on, one look for each delimiter is thirty times as fast as the pattern.
    start += _NEAR_BYTES
    window = _NEAR_BYTES
    while start < last:
        window = min(2 * window, _WINDOW_BYTES)
        stop = min(start + window, last)
        found = [at for byte in DELIMITERS if (at := text.find(byte, start, stop)) >= 0]
        if found:
            return min(found)
        start = stop
    return -1


def dimension_of(delimiter: int) -> str:
    """Return the name of the dimension that a delimiter (a byte) moves."""
    return DIMENSIONS[DELIMITERS.index(delimiter)]


def advance(key: int, delimiter: int) -> int:
    """Return the key behind a delimiter (a byte), as SQ walks.

    Its dimension goes up by one, but not past 999, and all smaller ones become 1.
    """
    return _advance_by(key, delimiter, 1)


def overflows(key: int, delimiter: int) -> bool:
    """Whether a delimiter (a byte) would lead past 999."""
    return (key >> _SHIFT_OF[delimiter] & _MASK) >= MAX_PART


def explode(text: bytes) -> dict[int, bytes]:
    """Read a phext in linear time.

    Where more delimiters follow than a dimension has room for, several scrolls fall on one
    coordinate: the last one stays (as SQ).
    """
    scrolls: dict[int, bytes] = {}
    for keys, texts, _end in sections(text):
        scrolls.update(zip(keys, texts, strict=True))
    return scrolls


def sections(text: bytes) -> Iterator[tuple[Sequence[int], list[bytes], int]]:
    """Read a phext section by section: keys, as many texts, and the offset where it ended.

    A large section comes in pieces, and now and then there is nothing, so that others have their
    turn. Within a section keys ascend; a section's may lie before, or be, those of an earlier one
    where delimiters lead past 999. Texts are not empty; sections may be.
    """
    key = ORIGIN
    start = runs = 0
    # A run that two windows have parts of counts as two.
    for window in range(0, len(text), _WINDOW_BYTES):
        for match in _RUN_ABOVE_SCROLL.finditer(text, window, window + _WINDOW_BYTES):
            end = match.start()
            if end > start:
                yield from _section_of(text, start, end, key)
            start = match.end()
            key = _advance_by(key, text[end], start - end)
            runs += 1
            if not runs % _PAUSE_RUNS:
                yield (), [], start
        yield (), [], start
    if start < len(text):
        yield from _section_of(text, start, len(text), key)


def _section_of(
    text: bytes, start: int, end: int, key: int
) -> Iterator[tuple[Sequence[int], list[bytes], int]]:
    # A large section comes in several pieces.
    if end - start < _SECTION_BYTES:
        yield *_section(text[start:end], key), end
        return
    keys: list[int] = []
    texts: list[bytes] = []
    last = key + MAX_PART - 1
    size = 0
    while start < end:
        found = text.find(SCROLL_BREAK, start, end)
        stop = end if found < 0 else found
        if stop > start:
            place = min(key, last)
            if keys and keys[-1] == place:
                texts[-1] = text[start:stop]
            else:
                keys.append(place)
                texts.append(text[start:stop])
        size += stop - start + _BREAK_BYTES
        key += 1
        start = stop + 1
        if size >= _WINDOW_BYTES:
            yield keys, texts, min(start, end)
            keys, texts, size = [], [], 0
    yield keys, texts, end


def _section(text: bytes, key: int) -> tuple[Sequence[int], list[bytes]]:
    # Here `key` is the section's first scroll.
    if SCROLL_BREAK not in text:
        return (key,), [text]
    if b"\x17\x17" not in text and len(text) < _SECTION_BYTES:
        texts = text.split(SCROLL_BREAK)
        # Empty ones at both ends are left.
        if texts[0] and texts[-1] and len(texts) <= MAX_PART:
            return range(key, key + len(texts)), texts
    keys = []
    texts = []
    last = key + MAX_PART - 1
    position = 0
    for match in _SCROLL.finditer(text):
        key += match.start() - position
        position = match.end()
        if key <= last:
            keys.append(key)
            texts.append(match[0])
        elif keys and keys[-1] == last:
            texts[-1] = match[0]
        else:
            keys.append(last)
            texts.append(match[0])
    return keys, texts


def _advance_by(key: int, delimiter: int, count: int) -> int:
    """Return the key behind `count` equal delimiters (bytes)."""
    shift = _SHIFT_OF[delimiter]
    key += min(count, MAX_PART - (key >> shift & _MASK)) << shift
    return key >> shift << shift | ORIGIN & ((1 << shift) - 1)


def tokens(text: bytes) -> Iterator[tuple[int, bytes] | None]:
    """Walk a phext as SQ's tokenizer does: (key, text) in the order of the text.

    None from time to time, however many delimiters there are. Unlike `explode` this gives a
    last, empty token where only delimiters follow, and for an empty text, at the coordinate
    where the tokenizer started for it.
    """
    key = ORIGIN
    position = paused = 0
    while True:
        start = key
        end = find_break(text, position)
        # Leading delimiters
        while end == position:
            key = advance(key, text[position])
            position += 1
            if position - paused >= _PAUSE_BYTES:
                paused = position
                yield None
            end = find_break(text, position)
        if position >= len(text):
            yield start, b""
            return
        yield key, text[position:] if end < 0 else text[position:end]
        if end < 0:
            return
        key = advance(key, text[end])
        position = end + 1
        if position >= len(text):
            return


def delimiters_between(before: int, after: int) -> bytes:
    """Return the fewest delimiters that lead from one key to a later one (nothing if equal)."""
    if before >> _BITS == after >> _BITS:
        return SCROLL_BREAK * (after - before)
    pieces = []
    moved = False
    for index, shift in enumerate(_SHIFTS):
        part = after >> shift & _MASK
        if not moved:
            part -= before >> shift & _MASK
            moved = part > 0
        else:
            part -= 1
        if part:
            pieces.append(DELIMITERS[index : index + 1] * part)
    return b"".join(pieces)


def distance(before: int, after: int) -> int:
    """Return how many delimiters `delimiters_between` gives."""
    if before >> _BITS == after >> _BITS:
        return after - before
    count = 0
    moved = False
    for shift in _SHIFTS:
        part = after >> shift & _MASK
        if moved:
            count += part - 1
        else:
            part -= before >> shift & _MASK
            count += part
            moved = part > 0
    return count


def is_run(first: int, last: int, count: int) -> bool:
    """Whether `count` ascending keys from `first` to `last` follow each other in one section."""
    return last - first == count - 1 and first >> _BITS == last >> _BITS


def implode_pieces(
    keys: Iterable[int], scrolls: Mapping[int, bytes], piece_bytes: int = 65_536
) -> Iterator[bytes]:
    """Write scrolls in the order of `keys` (ascending), in pieces of about `piece_bytes`.

    A scroll of more is a piece of its own, not copied. Empty scrolls are left out.
    """
    return write_pieces(((key, scrolls[key]) for key in keys), ORIGIN, piece_bytes)


def write_pieces(
    scrolls: Iterable[tuple[int, bytes]], before: int, piece_bytes: int = 65_536
) -> Iterator[bytes]:
    """Write scrolls, in ascending order of their keys, as what follows `before`.

    In pieces as `implode_pieces`.
    """
    out: list[bytes] = []
    size = 0
    for key, scroll in scrolls:
        if not scroll:
            continue
        gap = key - before
        # Most gaps are one scroll break; the field of the scroll never carries (1..999).
        delimiters = (
            SCROLL_BREAK
            if gap == 1 and before >> _BITS == key >> _BITS
            else delimiters_between(before, key)
        )
        out.append(delimiters)
        before = key
        if len(scroll) >= piece_bytes:
            if joined := b"".join(out):
                yield joined
            yield scroll
            out.clear()
            size = 0
            continue
        out.append(scroll)
        size += len(delimiters) + len(scroll)
        if size >= piece_bytes:
            yield b"".join(out)
            out.clear()
            size = 0
    if out:
        yield b"".join(out)


def implode(scrolls: Mapping[int, bytes]) -> bytes:
    """Write a document in its one canonical form."""
    return b"".join(implode_pieces(sorted(scrolls), scrolls))


def imploded_length(keys: Iterable[int], scrolls: Mapping[int, bytes]) -> int:
    """Return the length in bytes of what `implode_pieces` gives."""
    size = 0
    before = ORIGIN
    for key in keys:
        length = len(scrolls[key])
        if length:
            size += length + distance(before, key)
            before = key
    return size
