"""Texts that SQ makes of a whole phext: toc, JSON, checksum, delta, coordinate of a text."""

from __future__ import annotations

import re

import xxhash

from sqsuper.engine import coordinates, phext
from sqsuper.engine.document import Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqsuper.engine.coordinates import Reading
    from sqsuper.engine.document import Snapshot
    from sqsuper.engine.turns import Job

MISSING = b"---sq:Scroll-Missing---"
DEFAULT_LIMIT = 100

_BATCH = 256
_PIECE_BYTES = 1 << 18
# Of a larger scroll, escaped at a time.
_SLICE_BYTES = 1 << 14
_SCROLL_BITS = 10
_SCROLL_MASK = (1 << _SCROLL_BITS) - 1
_TO_ESCAPE = re.compile(rb'[\x00-\x1f"\\]')
# In this order: a backslash is what the others bring in.
_ESCAPES = {
    b"\\": b"\\\\",
    b'"': b'\\"',
    **{b"%c" % byte: b"\\u%04x" % byte for byte in range(0x20)},
    b"\b": b"\\b",
    b"\t": b"\\t",
    b"\n": b"\\n",
    b"\f": b"\\f",
    b"\r": b"\\r",
}
_JSON_END = b'" }\n'
# All of a line of `json_export` but coordinate and text
_JSON_FRAME = len(b',   { "coord": "", "scroll": "') + len(_JSON_END)
_MAX_USIZE = 2**64 - 1
_USIZE = re.compile(rb"\+?[0-9]+")


class Checksum:
    """The xxh3-128 of a text in pieces."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self._state.update(piece)

    def digits(self) -> bytes:
        """Return it as 32 hex digits."""
        return str(self._state.hexdigest()).encode("ascii")


def checksum(pieces: Iterable[bytes]) -> str:
    """Return the xxh3-128 of a text in pieces, as 32 hex digits."""
    state = Checksum()
    for piece in pieces:
        state.update(piece)
    return state.digits().decode("ascii")


def scroll_checksum(scroll: bytes) -> bytes:
    """Return the xxh3-128 of one scroll, as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(scroll).encode("ascii")


def _prefix(key: int) -> bytes:
    """Return all of a coordinate but the scroll's number."""
    return phext.format_key(key).rpartition(".")[0].encode("ascii") + b"."


def toc(snapshot: Snapshot) -> Iterator[bytes]:
    """Iterate over SQ's table of contents: a line a scroll; an empty phext has one too."""
    if not snapshot.count:
        yield b"* %b: \n" % phext.format_key(phext.ORIGIN).encode("ascii")
        return
    section = -1
    prefix = b""
    for keys, texts in snapshot.blocks():
        lines: list[bytes] = []
        size = 0
        for key, text in zip(keys, texts, strict=True):
            if key >> _SCROLL_BITS != section:
                section = key >> _SCROLL_BITS
                prefix = b"* " + _prefix(key)
            end = text.find(b"\n")
            if end < 0:
                lines.append(b"%b%d: %b\n" % (prefix, key & _SCROLL_MASK, text))
            else:
                lines.append(b"%b%d: %b...\n" % (prefix, key & _SCROLL_MASK, text[:end]))
            size += len(text)
            if size >= _PIECE_BYTES:
                yield b"".join(lines)
                lines.clear()
                size = 0
        if lines:
            yield b"".join(lines)


def toc_lengths(snapshot: Snapshot) -> Iterator[int]:
    """Iterate over the lengths of parts of `toc`, in bytes."""
    if not snapshot.count:
        yield len(next(toc(snapshot)))
        return
    section = -1
    prefix = 0
    for keys, texts in snapshot.blocks():
        length = 0
        for key, text in zip(keys, texts, strict=True):
            if key >> _SCROLL_BITS != section:
                section = key >> _SCROLL_BITS
                # `* `, the prefix, `: ` and LF
                prefix = len(_prefix(key)) + 5
            number = key & _SCROLL_MASK
            digits = 1 if number < 10 else 2 if number < 100 else 3
            end = text.find(b"\n")
            length += prefix + digits + (len(text) if end < 0 else end + 3)
        yield length


def json_export(snapshot: Snapshot) -> Iterator[bytes]:
    """Iterate over the JSON form, SQ's in layout, valid for every text.

    As SQ, an empty phext shows one empty scroll.
    """
    yield b"[\n"
    if not snapshot.count:
        yield _json_line(b"", _prefix(phext.ORIGIN), phext.ORIGIN, b"")
    comma = b""
    section = -1
    prefix = b""
    for keys, texts in snapshot.blocks():
        lines: list[bytes] = []
        size = 0
        for key, text in zip(keys, texts, strict=True):
            if key >> _SCROLL_BITS != section:
                section = key >> _SCROLL_BITS
                prefix = _prefix(key)
            if len(text) > _PIECE_BYTES:
                yield b"".join(lines) + _json_start(comma, prefix, key)
                lines.clear()
                yield from map(_escaped, _slices(text))
                lines.append(_JSON_END)
            else:
                lines.append(_json_line(comma, prefix, key, text))
            comma = b","
            size += len(text)
            if size >= _PIECE_BYTES:
                yield b"".join(lines)
                lines.clear()
                size = 0
        if lines:
            yield b"".join(lines)
    yield b"]\n"


def json_lengths(snapshot: Snapshot) -> Iterator[int]:
    """Iterate over the lengths of parts of `json_export`, in bytes."""
    yield 4
    if not snapshot.count:
        yield len(_json_line(b"", _prefix(phext.ORIGIN), phext.ORIGIN, b""))
        return
    yield -1  # the first line has no comma
    section = -1
    prefix = 0
    for keys, texts in snapshot.blocks():
        length = size = 0
        for key, text in zip(keys, texts, strict=True):
            if key >> _SCROLL_BITS != section:
                section = key >> _SCROLL_BITS
                prefix = len(_prefix(key)) + _JSON_FRAME
            number = key & _SCROLL_MASK
            length += prefix + (1 if number < 10 else 2 if number < 100 else 3) + len(text)
            if len(text) > _PIECE_BYTES:
                for piece in _slices(text):
                    yield len(_escaped(piece)) - len(piece)
            elif _TO_ESCAPE.search(text) is not None:
                length += len(_escaped(text)) - len(text)
            size += len(text)
            if size >= _PIECE_BYTES:
                yield length
                length = size = 0
        yield length


def _json_line(comma: bytes, prefix: bytes, key: int, text: bytes) -> bytes:
    if _TO_ESCAPE.search(text) is not None:
        text = _escaped(text)
    return _json_start(comma, prefix, key) + text + _JSON_END


def _json_start(comma: bytes, prefix: bytes, key: int) -> bytes:
    return b'%b   { "coord": "%b%d", "scroll": "' % (comma, prefix, key & _SCROLL_MASK)


def _slices(text: bytes) -> Iterator[bytes]:
    # What is to be escaped is one byte each: it is the same wherever the text is cut.
    for start in range(0, len(text), _SLICE_BYTES):
        yield text[start : start + _SLICE_BYTES]


def _escaped(text: bytes) -> bytes:
    """Return UTF-8 text as the inside of a JSON string (RFC 8259 7)."""
    for byte, escape in _ESCAPES.items():
        if byte in text:
            text = text.replace(byte, escape)
    return text


def client_checksums(listing: bytes, reading: Reading) -> Job[dict[int, bytes]]:
    """Read what a client says it has: lines `COORD: CHECKSUM`, ended by LF or CRLF.

    As SQ, a line without `: ` is passed over, and of several on one coordinate the last
    counts. So is, where coordinates are read strictly, one that has not the form of a
    coordinate. Raises BadCoordinateError for one outside 1..999.
    """
    found = {}
    position = 0
    count = 0
    while position < len(listing):
        end = listing.find(b"\n", position)
        line = listing[position : end if end >= 0 else len(listing)]
        position = end + 1 if end >= 0 else len(listing)
        count += 1
        if not count % _BATCH:
            yield None
        parts = line.removesuffix(b"\r").split(b": ", 2)
        if len(parts) < 2:
            continue
        text = parts[0].decode("utf-8", "replace")
        if reading.lenient or coordinates.has_form(text):
            found[reading.of_read(text)] = parts[1]
    return found


def delta(snapshot: Snapshot, client: Mapping[int, bytes]) -> Job[Snapshot]:
    """Return what a client has to take over: scrolls that differ or that it lacks.

    A coordinate that only the client has carries a marker.
    """
    if not client:
        return snapshot
    differing = {}
    present = set()
    for keys, texts in snapshot.blocks():
        size = 0
        for key, text in zip(keys, texts, strict=True):
            known = client.get(key)
            if known is None or known != scroll_checksum(text):
                differing[key] = text
            if known is not None:
                present.add(key)
            size += len(text)
            if size > _PIECE_BYTES:
                size = 0
                yield None
        yield None
    for count, key in enumerate(client):
        # An empty phext has, for SQ, one empty scroll at the origin.
        if key not in present and (snapshot.count or key != phext.ORIGIN):
            differing[key] = MISSING
        if not count % 4096:
            yield None
    document = Document()
    for _ in document.gathering(differing):
        yield None
    return document.snapshot()


def infer_coordinate(text: bytes, algorithm: str, limit: int) -> Job[str]:
    """Return the coordinate that SQ calculates from a text (`xor` or `checksum`)."""
    if algorithm == "checksum":
        digits = scroll_checksum(text)
        parts = tuple(
            (256 * digits[index] + digits[index + 1]) % 999 or 1 for index in range(0, 18, 2)
        )
        return phext.format_key(phext.pack(parts))
    composite = phext.ORIGIN
    for count, token in enumerate(phext.tokens(text), 1):
        if token is None or not count % _BATCH:
            yield None
        if token is not None and len(token[1]) >= limit:
            # Parts are below 1024 before and after: all nine at once.
            composite ^= token[0]
    return phext.format_key(composite)


def parse_limit(text: bytes | None) -> int:
    """Read `limit` as SQ does: anything but an unsigned 64-bit number is 100."""
    if text is None or len(text) > 64 or _USIZE.fullmatch(text) is None:
        return DEFAULT_LIMIT
    number = int(text)
    return number if number <= _MAX_USIZE else DEFAULT_LIMIT
